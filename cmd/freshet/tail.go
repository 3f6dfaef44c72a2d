package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
)

// tailBuffer is how many messages wait while the terminal is slow; beyond it some
// are not shown, which is said.
const tailBuffer = 4096

func newTailCommand() *cobra.Command {
	var flags remoteFlags
	var output string
	var changes, invalidations, events bool
	var tables []string
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Follow changes, invalidations and events as they happen",
		Long: `Follows what a running instance publishes: row changes, what is invalidated
because of them, and events. Without a flag all three. With --since it begins
with the events of that time, the last 200 at most. A slow terminal misses
messages, which is said; nothing is delayed by it. Ctrl-C ends it.`,
		Example: `  freshet tail
  freshet tail --changes --table orders --table app.items
  freshet tail --events --since 1h
  freshet tail --events -o json | jq .message`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			if !changes && !invalidations && !events {
				changes, invalidations, events = true, true, true
			}
			if len(tables) > 0 && !changes {
				return usageErrorf("--table filters changes: give --changes too")
			}
			past := service.EventsRequest{}
			if cmd.Flags().Changed("since") {
				past.Since = since.String()
				if _, err := past.From(time.Now()); err != nil || !events {
					return usageErrorf("--since: want a time such as 1h, with --events")
				}
			}
			var names []cdc.TableName
			for _, text := range tables {
				name, err := rule.ParseTable(text)
				if err != nil {
					return usageErrorf("--table: %w", err)
				}
				names = append(names, name)
			}
			r, err := flags.dial()
			if err != nil {
				return err
			}
			defer r.close()
			var subjects []string
			if changes {
				subjects = append(subjects, r.changeSubjects(names)...)
			}
			if invalidations {
				subjects = append(subjects, "freshet."+r.subjects.Name+".invalidated.*")
			}
			if events {
				subjects = append(subjects, "freshet."+r.subjects.Name+".events.*")
			}
			return r.tail(cmd.Context(), subjects, past, asJSON, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags.add(cmd)
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&changes, "changes", false, "row changes")
	cmd.Flags().BoolVar(&invalidations, "invalidations", false, "keys, patterns and tags that were invalidated")
	cmd.Flags().BoolVar(&events, "events", false, "events")
	cmd.Flags().DurationVar(&since, "since", 0, "begin with the events of the last `DURATION`")
	cmd.Flags().StringArrayVar(&tables, "table", nil, "changes of this `TABLE` only; may be given again")
	return cmd
}

func (r *remote) changeSubjects(names []cdc.TableName) []string {
	if len(names) == 0 {
		return []string{"freshet." + r.subjects.Name + ".changes.>"}
	}
	subjects := make([]string, len(names))
	for i, name := range names {
		subjects[i] = r.subjects.Changes(name.Schema, name.Table)
	}
	return subjects
}

// tail shows past events, if any are asked for, and what comes.
func (r *remote) tail(ctx context.Context, subjects []string, past service.EventsRequest, asJSON bool, out, errOut io.Writer) error {
	messages := make(chan *nats.Msg, tailBuffer)
	subs, err := r.follow(messages, subjects...)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(errOut, "following %s; Ctrl-C ends it\n", strings.Join(subjects, ", ")); err != nil {
		return err
	}
	shown := map[string]bool{} // events that are past by now, and may come as well
	if past.Since != "" {
		var events []json.RawMessage
		if err := r.ask(ctx, "events", past, &events); err != nil {
			return err
		}
		for _, event := range events {
			shown[string(event)] = true
			if err := r.show(out, &nats.Msg{Subject: r.subjects.Event("past"), Data: event}, asJSON); err != nil {
				return err
			}
		}
	}
	lost := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-messages:
			if shown[string(m.Data)] {
				continue
			}
			if err := r.show(out, m, asJSON); err != nil {
				return err
			}
		case <-time.After(time.Second):
		}
		dropped := 0
		for _, sub := range subs {
			n, err := sub.Dropped()
			if err != nil {
				return fmt.Errorf("the connection to nats was lost: %w", err)
			}
			dropped += n
		}
		if dropped > lost {
			lost = dropped
			if _, err := fmt.Fprintf(errOut, "too fast for this terminal: %d messages so far were not shown\n", lost); err != nil {
				return err
			}
		}
	}
}

// show prints one message: as it came, or a line for people.
func (r *remote) show(out io.Writer, m *nats.Msg, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(out, "%s\n", m.Data)
		return err
	}
	at := time.Now()
	rest := strings.TrimPrefix(m.Subject, "freshet."+r.subjects.Name+".")
	var lines []string
	var err error
	switch kind, _, _ := strings.Cut(rest, "."); kind {
	case "changes":
		lines, err = changeLines(m.Data)
	case "invalidated":
		lines, err = invalidatedLines(m.Data)
	case "events":
		var e stream.Event
		err = json.Unmarshal(m.Data, &e)
		lines = []string{fmt.Sprintf("event   %-14s %s", e.Kind, e.Message)}
		at = e.Time
	}
	if err != nil {
		lines = []string{fmt.Sprintf("%s cannot be read: %v", m.Subject, err)}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(out, "%s  %s\n", clock(at, time.Now()), printable(line)); err != nil {
			return err
		}
	}
	return nil
}

// clock is a moment as people read it: with its day unless that is today.
func clock(at, now time.Time) string {
	if at.Local().Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return at.Local().Format("15:04:05.000")
	}
	return at.Local().Format("Jan _2 15:04:05.000")
}

func changeLines(data []byte) ([]string, error) {
	var m cdc.Message
	if err := cdc.Decode(data, &m); err != nil {
		return nil, err
	}
	lines := make([]string, 0, len(m.Changes))
	for i := range m.Changes {
		c := &m.Changes[i]
		row := c.New
		if c.Op == cdc.Delete {
			row = c.Old
		}
		lines = append(lines, fmt.Sprintf("change  %-14s %-8s %s", cdc.TableName{Schema: m.Schema, Table: m.Table}, c.Op, rowText(row)))
	}
	return lines, nil
}

// rowText shows a row's columns, each cut short.
func rowText(row cdc.Row) string {
	const most = 40 // bytes of a value
	parts := make([]string, len(row))
	for i, c := range row {
		text := c.Value.Text
		switch {
		case c.Value.Kind == cdc.Null:
			text = "null"
		case len(text) > most:
			text = strings.ToValidUTF8(text[:most], "") + "…"
		}
		parts[i] = c.Name + "=" + text
	}
	return strings.Join(parts, " ")
}

func invalidatedLines(data []byte) ([]string, error) {
	b, _, err := near.Decode(data)
	if err != nil || b == nil {
		return nil, err // else a heartbeat
	}
	var names []string
	names = append(names, b.Keys...)
	names = append(names, b.Patterns...)
	for _, tag := range b.Tags {
		names = append(names, "tag "+tag)
	}
	if b.AllTags {
		names = append(names, "all tags")
	}
	return []string{fmt.Sprintf("gone    by %s: %s", b.Sender, strings.Join(names, " "))}, nil
}
