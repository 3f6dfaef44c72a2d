package main

import (
	"context"
	"encoding/json"
	"errors"
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
			defer r.close()
			return r.top(cmd.Context(), os.Stdout)
		},
	}
	flags.add(cmd)
	return cmd
}

// top draws until q is typed or ctx ends. The terminal is left as it was found.
func (r *remote) top(ctx context.Context, out *os.File) error {
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return fmt.Errorf("read keys from the terminal: %w", err)
	}
	defer func() { _ = term.Restore(int(os.Stdin.Fd()), before) }() // the terminal may have gone
	if _, err := io.WriteString(out, enterScreen); err != nil {
		return err
	}
	defer func() { _, _ = io.WriteString(out, leaveScreen) }() // likewise

	messages := make(chan *nats.Msg, 256) // more parts than anybody runs
	sub, err := r.conn.ChanSubscribe("freshet."+r.subjects.Name+".status.*.*", messages)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // ends with the connection
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

	board := newBoard(r.subjects.Name)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		if _, err := io.WriteString(out, clearScreen+board.draw(time.Now(), width, height, colourful(out))+eraseBelow); err != nil {
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
		case <-tick.C:
		}
		if !r.conn.IsConnected() {
			return errors.New("the connection to nats was lost")
		}
		for len(messages) > 0 {
			var report monitor.Report
			if json.Unmarshal((<-messages).Data, &report) == nil {
				board.hear(report)
			}
		}
	}
}
