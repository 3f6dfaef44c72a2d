package servers

import (
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

//go:embed guard.sh
var guardScript string

// guard owns one temporary folder and the shell that removes it, together with
// the process last announced to it, when the pipe to it closes. The kernel
// closes the pipe when we die, whatever we die of.
type guard struct {
	folder string
	shell  *exec.Cmd

	mu   sync.Mutex // guards pipe
	pipe *os.File   // nil once closed
}

// newGuard creates a folder named after kind in parent ("" for the default
// temporary folder) and starts its guard.
func newGuard(parent, kind string) (*guard, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	folder := filepath.Join(parent, fmt.Sprintf("freshet-%s-%016x", kind, rand.Uint64()))
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("guard %s: %w", folder, err)
	}
	defer read.Close()

	// The guard outlives us by design, so no context ends it. Standard output
	// and error stay closed to it: `go test` waits for whoever holds its own.
	shell := exec.Command("/bin/sh", "-c", guardScript, "freshet-guard", folder) //nolint:noctx // see above
	shell.Stdin = read
	shell.Dir = "/"
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := shell.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("guard %s: %w", folder, err)
	}

	// The folder comes after its guard: at no moment is it unguarded.
	g := &guard{folder: folder, shell: shell, pipe: write}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("create folder %s: %w", folder, err), g.close())
	}
	return g, nil
}

// announce tells the guard which process to kill; 0 for none.
func (g *guard) announce(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe != nil {
		// A guard that has gone cannot be told; nothing is lost but the guard.
		_, _ = g.pipe.WriteString(strconv.Itoa(pid) + "\n")
	}
}

// close lets the guard do its work and waits until it has.
func (g *guard) close() error {
	g.mu.Lock()
	pipe := g.pipe
	g.pipe = nil
	g.mu.Unlock()
	if pipe == nil {
		return nil
	}
	pipe.Close()
	if err := g.shell.Wait(); err != nil {
		return fmt.Errorf("guard %s: %w", g.folder, err)
	}
	if _, err := os.Lstat(g.folder); err == nil {
		return fmt.Errorf("remove folder %s: still there", g.folder)
	}
	return nil
}
