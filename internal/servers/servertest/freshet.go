package servertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTime bounds how long building and starting freshet may take on a busy
// machine.
const startTime = 3 * time.Minute

// Freshet builds the command and runs it with a configuration file for the length
// of the test, or until stop is called, as an example's reader would. It returns
// when the service runs. environment is added to the test's own.
func Freshet(t testing.TB, config string, environment ...string) (stop func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "freshet")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/freshet-dev/freshet/cmd/freshet")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	log := &output{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "run", "-c", config)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself: Wait says so
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("freshet ended: %v; its log:\n%s", err, log)
		}
	})
	t.Cleanup(stop)
	Eventually(t, startTime, func() (bool, string) { return strings.Contains(log.String(), "freshet runs"), log.String() })
	return stop
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
