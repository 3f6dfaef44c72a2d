package main

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// terminal is a command that believes itself in front of somebody.
type terminal struct {
	t    *testing.T
	pty  *os.File
	done chan struct{}

	mu   sync.Mutex
	text string // what was drawn since the screen was last begun anew, and that before; guarded by mu
}

// openTerminal starts a command on a terminal of rows by columns.
func openTerminal(t *testing.T, rows, columns uint16, args ...string) *terminal {
	t.Helper()
	cmd := command(context.Background(), []string{"FRESHET_CONFIG=", "TERM=xterm", "NO_COLOR="}, args...)
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, pty: f, done: make(chan struct{})}
	go term.read()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // likewise
		_ = f.Close()          // the test is over
		<-term.done
	})
	return term
}

func (t *terminal) read() {
	defer close(t.done)
	buffer := make([]byte, 64<<10)
	for {
		n, err := t.pty.Read(buffer)
		t.mu.Lock()
		t.text += string(buffer[:n])
		if frames := strings.Split(t.text, clearScreen); len(frames) > 3 {
			t.text = strings.Join(frames[len(frames)-3:], clearScreen)
		}
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// screen is the last screen that was drawn to its end.
func (t *terminal) screen() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	frames := strings.Split(t.text, clearScreen)
	for i := len(frames) - 1; i >= 0; i-- {
		if text, _, whole := strings.Cut(frames[i], eraseBelow); whole {
			return text
		}
	}
	return ""
}

func (t *terminal) press(keys string) {
	t.t.Helper()
	if _, err := t.pty.WriteString(keys); err != nil {
		t.t.Fatal(err)
	}
}

func (t *terminal) resize(rows, columns uint16) {
	t.t.Helper()
	if err := pty.Setsize(t.pty, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		t.t.Fatal(err)
	}
}

// Top draws what runs, follows the size of its terminal, and ends with q, leaving
// the terminal as it found it.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	s.settle(p)
	top := openTerminal(t, 40, 120, "top", "-c", s.config)
	servertest.Eventually(t, patience, func() (bool, string) {
		screen := top.screen()
		return strings.Contains(screen, "is applied to Redis") && strings.Contains(screen, "invalidator ─▶"), screen
	})
	top.resize(3, 30)
	servertest.Eventually(t, patience, func() (bool, string) {
		screen := top.screen()
		return strings.Count(screen, "\n") == 2, screen
	})
	top.press("x")
	top.press("q")
	select {
	case <-top.done:
	case <-t.Context().Done():
	}
	top.mu.Lock()
	defer top.mu.Unlock()
	if !strings.HasSuffix(top.text, leaveScreen) {
		t.Errorf("the terminal is left with %q", top.text[max(0, len(top.text)-200):])
	}
}
