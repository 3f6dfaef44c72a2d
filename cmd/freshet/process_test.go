package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// asCommand makes the test binary be freshet, so that tests can start, signal
// and kill real processes of the code under test.
const asCommand = "FRESHET_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	if urls := os.Getenv(asInstance); urls != "" {
		fmt.Fprintln(os.Stderr, serve(urls))
		os.Exit(exitFailed)
	}
	os.Exit(m.Run())
}

// patience is how long anything may take before a test gives up on it.
const patience = 90 * time.Second

// process is one running freshet.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	http   string // where health and status answer
	logged sync.WaitGroup
	mu     sync.Mutex
	log    []string // guarded by mu
}

// command prepares a freshet with the arguments; environment is added to ours.
func command(ctx context.Context, environment []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asCommand+"=1"), environment...)
	return cmd
}

// runService starts `freshet run` and waits until it is connected.
func runService(t *testing.T, config, roles string) *process {
	t.Helper()
	args := []string{"run", "-c", config}
	if roles != "" {
		args = append(args, "--roles", roles)
	}
	return startService(t, command(context.Background(), nil, args...))
}

// startService starts a service and waits until it is connected.
func startService(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p, args := &process{t: t, cmd: cmd}, cmd.Args[1:]
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("log of %v:\n%s", args, p.tail())
		}
	})
	connected := make(chan string, 1)
	p.logged.Go(func() { p.follow(stderr, connected) })
	select {
	case address, ok := <-connected:
		if !ok {
			t.Fatalf("freshet %v ended before it was connected:\n%s", args, p.tail())
		}
		p.http = address
	case <-time.After(patience):
		t.Fatalf("freshet %v is not connected after %s:\n%s", args, patience, p.tail())
	}
	return p
}

// follow keeps the log and reports the address that the service answers at.
func (p *process) follow(stderr io.Reader, connected chan<- string) {
	defer close(connected)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct {
			Message string `json:"msg"`
			HTTP    string `json:"http"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "freshet runs" {
			select {
			case connected <- line.HTTP:
			default:
			}
		}
		p.mu.Lock()
		p.log = append(p.log, lines.Text())
		p.mu.Unlock()
	}
}

func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := ""
	for _, line := range p.log[max(0, len(p.log)-40):] {
		out += line + "\n"
	}
	return out
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.logged.Wait()
	_ = p.cmd.Wait() // the status of a killed process says nothing
}

// terminate sends SIGTERM and returns the exit status and how long it took.
func (p *process) terminate() (status int, took time.Duration) {
	p.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	p.logged.Wait()
	_ = p.cmd.Wait() // the status is read below
	return p.cmd.ProcessState.ExitCode(), time.Since(began)
}

// serviceStatus is the part of /status that tests look at.
type serviceStatus struct {
	Consumer struct {
		State     string  `json:"state"`
		Confirmed cdc.LSN `json:"confirmed"`
		LagBytes  int64   `json:"lag_bytes"`
	} `json:"consumer"`
	Invalidator struct {
		State   string `json:"state"`
		Active  bool   `json:"active"`
		Pending int    `json:"pending_patterns"`

		WarmTasks     int64 `json:"warm_tasks"`
		WarmPublished int64 `json:"warm_published"`
		WarmMerged    int64 `json:"warm_merged"`
		WarmDropped   int64 `json:"warm_dropped"`

		Position struct {
			LSN  cdc.LSN `json:"lsn"`
			Hold cdc.LSN `json:"hold"`
		} `json:"position"`
	} `json:"invalidator"`
}

func (p *process) status() (s serviceStatus, err error) {
	code, body, err := get(p.http + "/status")
	if err != nil {
		return s, err
	}
	if code != http.StatusOK {
		return s, fmt.Errorf("/status answers %d: %s", code, body)
	}
	var reports []monitor.Report
	if err := json.Unmarshal(body, &reports); err != nil {
		return s, err
	}
	own := map[string]json.RawMessage{}
	for _, r := range reports {
		if r.ID == reports[0].ID { // the process's own come first
			own[r.Role] = r.Status
		}
	}
	if body, err = json.Marshal(own); err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

func get(url string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// awaitActive waits until one of the processes is the active invalidator and
// returns it.
func awaitActive(t *testing.T, within time.Duration, processes ...*process) (active *process) {
	t.Helper()
	servertest.Eventually(t, within, func() (bool, string) {
		states := ""
		for i, p := range processes {
			s, err := p.status()
			if err == nil && s.Invalidator.Active {
				active = p
				return true, ""
			}
			states += fmt.Sprintf("%d: %s %v; ", i, s.Invalidator.State, err)
		}
		return false, states
	})
	return active
}

// writeConfig puts a configuration file into a folder of the test's own.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "freshet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
