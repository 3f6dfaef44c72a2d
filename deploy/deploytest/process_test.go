package deploytest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// built is where TestMain lets programs be built.
var built string

func TestMain(m *testing.M) {
	var err error
	if built, err = os.MkdirTemp("", "freshet-deploytest-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = os.RemoveAll(built) // in a temporary folder: at worst the system removes it
	os.Exit(status)
}

// runs is what the command says when it does.
const runs = "freshet runs"

// freshet and shop build the commands, once, as releases and images are built.
var freshet, shop = builder("./cmd/freshet"), builder("./examples/shop")

func builder(folder string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		program := filepath.Join(built, filepath.Base(folder))
		cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", program, folder)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w: %s", err, out)
		}
		return program, nil
	})
}

func program(t *testing.T) string {
	t.Helper()
	path, err := freshet()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a service for the length of the test and returns its log when that says
// that it runs. The service must end well when it is told to.
func start(t *testing.T, cmd *exec.Cmd, says string) *output {
	t.Helper()
	log := &output{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1) // 1: nobody may wait for it
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself: Wait says so
		if err := <-ended; err != nil || t.Failed() {
			t.Errorf("%v ended: %v; its log:\n%s", cmd.Args, err, log)
		}
	})
	servertest.Eventually(t, patience, func() (bool, string) { return strings.Contains(log.String(), says), log.String() })
	return log
}

// ready waits until the service at the address says that it is.
func ready(t *testing.T, address string) {
	t.Helper()
	servertest.Eventually(t, patience, func() (bool, string) {
		body, err := get(t, "http://"+address+"/readyz")
		return err == nil, fmt.Sprintf("%s %v", body, err)
	})
}

// output is what a process writes, to look at while it runs.
type output struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
