package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/freshet-dev/freshet/internal/monitor"
)

const (
	// clearScreen moves to the top left; eraseBelow clears what is left of before.
	clearScreen = "\x1b[H"
	eraseBelow  = "\x1b[J"
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

func newTopCommand() *cobra.Command {
	var flags remoteFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a running instance live",
		Long: `Draws the pipeline of a running instance from left to right, once a second, from
what its processes publish on NATS: rates, how far behind, latency, tables,
rules, processes, and what is wrong with the remedy. q or Ctrl-C quits.`,
		Example: `  freshet top
  freshet top --nats nats://nats.internal:4222 --name shop`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !isTerminal(os.Stdout) || !isTerminal(os.Stdin) {
				return usageErrorf("top needs a terminal; `freshet status` prints once, with -o json for programs")
			}
			r, err := flags.dial()
			if err != nil {
				return err
			}
			screen := &topScreen{remote: r, board: newBoard(r.subjects.Name), dial: flags.dial, messages: make(chan *nats.Msg, 256)} // more parts than anybody runs
			return screen.run(cmd.Context(), os.Stdout)
		},
	}
	flags.add(cmd)
	return cmd
}

// topScreen is the screen of top, and the connection that feeds it, which is made
// again when it is lost: whoever watches an outage wants to see its end.
type topScreen struct {
	remote   *remote
	board    *board
	dial     func() (*remote, error)
	messages chan *nats.Msg
	dialled  chan *remote // nil while nobody dials; nil is received where it failed
}

// run draws until q is typed or ctx ends. The terminal is left as it was found.
func (s *topScreen) run(ctx context.Context, out *os.File) error {
	defer func() { s.remote.close() }()
	if err := s.listen(); err != nil {
		return err
	}
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return fmt.Errorf("read keys from the terminal: %w", err)
	}
	defer func() { _ = term.Restore(int(os.Stdin.Fd()), before) }() // the terminal may have gone
	if _, err := io.WriteString(out, enterScreen); err != nil {
		return err
	}
	defer func() { _, _ = io.WriteString(out, leaveScreen) }() // likewise

	keys := make(chan byte, 16)
	go func() { // ends with the process: a read from a terminal cannot be called off
		for {
			var key [1]byte
			if _, err := os.Stdin.Read(key[:]); err != nil {
				return
			}
			keys <- key[0]
		}
	}()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := s.draw(out); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case key := <-keys:
			if key == 'q' || key == 'Q' || key == 3 { // Ctrl-C, which raw mode does not turn into a signal
				return nil
			}
		case <-resized:
		case again := <-s.dialled:
			s.dialled = nil
			if again != nil {
				s.remote.close()
				s.remote = again
				if err := s.listen(); err != nil && again.conn.IsConnected() { // else it is made once more
					return err
				}
			}
		case <-tick.C:
			s.reconnect()
		}
		s.hear()
	}
}

func (s *topScreen) listen() error {
	_, err := s.remote.follow(s.messages, "freshet."+s.remote.subjects.Name+".status.*.*")
	return err
}

func (s *topScreen) draw(out *os.File) error {
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	text := s.board.draw(time.Now(), width, height, s.remote.conn.IsConnected(), colourful(out))
	_, err = out.WriteString(clearScreen + text + eraseBelow)
	return err
}

func (s *topScreen) hear() {
	for len(s.messages) > 0 {
		var report monitor.Report
		if json.Unmarshal((<-s.messages).Data, &report) == nil {
			s.board.hear(report, time.Now())
		}
	}
}

// reconnect begins to dial where the connection was lost and nobody does.
func (s *topScreen) reconnect() {
	if s.remote.conn.IsConnected() || s.dialled != nil {
		return
	}
	s.dialled = make(chan *remote, 1) // 1: the screen may have gone
	go func(dialled chan<- *remote) {
		again, err := s.dial()
		if err != nil {
			again = nil
		}
		dialled <- again
	}(s.dialled)
}
