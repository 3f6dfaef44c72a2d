package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// logTail is how much of a server's log Log returns.
	logTail = 32 << 10
	// stopTimeout is how long an orderly stop may take before it becomes a kill.
	stopTimeout = 30 * time.Second
	// startTimeout is how long a server may take until it serves.
	startTimeout = 60 * time.Second
	// pollInterval is how often a starting or stopping server is looked at.
	pollInterval = 5 * time.Millisecond
)

// startStub announces its own id to the guard before it becomes the server, so
// that there is no moment at which the server runs unknown to its guard.
const startStub = `echo $$ >&3; exec "$0" "$@" 3>&-`

// process is one server process that can be started again after it has gone,
// in the folder of its guard.
type process struct {
	name  string
	guard *guard
	// user is who the process runs as; nil for ourselves.
	user *syscall.Credential
	// env is added to the environment.
	env []string

	mu     sync.Mutex // guards the fields below
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has been reaped
	closed bool
}

func (p *process) logPath() string { return filepath.Join(p.guard.folder, "log") }

// start runs program. Its output is appended to the log.
func (p *process) start(program string, args ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("start %s: %w", p.name, ErrClosed)
	}
	if p.runningLocked() {
		return fmt.Errorf("start %s: %w", p.name, ErrRunning)
	}
	log, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()

	// Servers end by Stop, Kill and Close, not with the context of their start.
	cmd := exec.Command("/bin/sh", append([]string{"-c", startStub, program}, args...)...) //nolint:noctx // see above
	cmd.Dir = p.guard.folder
	cmd.Env = append(environment(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: an interrupt typed at the terminal is for us, and we
	// decide when the servers go.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.user}

	p.guard.mu.Lock()
	if p.guard.pipe == nil {
		p.guard.mu.Unlock()
		return fmt.Errorf("start %s: %w", p.name, ErrClosed)
	}
	cmd.ExtraFiles = []*os.File{p.guard.pipe}
	err = cmd.Start()
	p.guard.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}

	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		// The exit status is in cmd.ProcessState for whoever asks.
		_ = cmd.Wait()
		p.guard.announce(0)
		close(exited)
	}()
	return nil
}

// environment is ours without what would change a server's behaviour.
func environment() []string {
	env := make([]string, 0, len(os.Environ())+1)
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG") {
			continue
		}
		env = append(env, v)
	}
	return append(env, "LC_ALL=C")
}

func (p *process) runningLocked() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// running reports whether the process is there.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runningLocked()
}

// pid is the id of the running process, or 0.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return 0
	}
	return p.cmd.Process.Pid
}

// gone is closed when the present process has been reaped.
func (p *process) gone() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited == nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return p.exited
}

// signal sends sig to the process, or to its whole group. Holding the mutex
// does not keep the process from ending, but until Wait has reaped it its id
// is not given to another; os.Process knows when it has.
func (p *process) signal(sig syscall.Signal, group bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return fmt.Errorf("signal %s: %w", p.name, ErrNotRunning)
	}
	err := p.cmd.Process.Signal(sig)
	if group && err == nil {
		err = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", p.name, ErrNotRunning)
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// freeze halts the process itself, so that it starts no further children, and
// lists those that it has.
func (p *process) freeze() ([]int, error) {
	pid := p.pid()
	if err := p.signal(syscall.SIGSTOP, false); err != nil {
		return nil, err
	}
	// The signal has been sent, but a fork in progress still finishes.
	if err := awaitHalt(p.name, pid); err != nil {
		return nil, err
	}
	return childrenOf(pid)
}

// pause halts the process and its children, and returns once all of them have
// come to a halt: from then on nobody answers.
func (p *process) pause() error {
	family, err := p.freeze()
	if err != nil {
		return err
	}
	if err := signalAll(family, syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitHalt(p.name, family...)
}

// resume ends a pause.
func (p *process) resume() error {
	pid := p.pid()
	if err := p.signal(syscall.SIGCONT, false); err != nil {
		return err
	}
	family, err := childrenOf(pid)
	return errors.Join(err, signalAll(family, syscall.SIGCONT))
}

// awaitHalt waits until processes that were sent SIGSTOP have halted.
func awaitHalt(name string, pids ...int) error {
	halted := func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool { return !stopped(pid) })
	}
	if !within(stopTimeout, halted) {
		return fmt.Errorf("halt %s: some of %v still running after %v", name, pids, stopTimeout)
	}
	return nil
}

func signalAll(pids []int, sig syscall.Signal) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %d: %w", pid, err)
		}
	}
	return nil
}

// kill sends SIGKILL to the process' group and waits for its end. A process
// that has gone already is no error: that is what was asked for.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL, true); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	<-p.gone()
	return nil
}

// stop sends sig and waits for the process' end; after stopTimeout it kills it
// and says so.
func (p *process) stop(sig syscall.Signal) error {
	if err := p.signal(sig, false); err != nil {
		if errors.Is(err, ErrNotRunning) {
			return nil
		}
		return err
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.gone():
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("stop %s: still running after %v, killed", p.name, stopTimeout), p.kill())
	}
}

// await polls ready until it reports true, the process ends or time is up.
func (p *process) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.gone():
			return fmt.Errorf("start %s: it ended at once; its log ends with:\n%s", p.name, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("start %s: not serving: %w (last: %w); its log ends with:\n%s", p.name, context.Cause(ctx), err, p.tail())
		case <-ticker.C:
		}
	}
}

// within polls until condition is true, and reports whether it came to be.
func within(timeout time.Duration, condition func() bool) bool {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			return condition()
		case <-ticker.C:
		}
	}
	return true
}

// tail returns the end of the log.
func (p *process) tail() string {
	log, err := os.Open(p.logPath())
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil && info.Size() > logTail {
		if _, err := log.Seek(-logTail, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	text, err := io.ReadAll(log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// close kills what runs and removes everything. It may be called again.
func (p *process) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return errors.Join(p.kill(), p.guard.close())
}
