package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/service"
)

// replaySilence is how long a replay may say nothing: it speaks once a second, and
// a pass over patterns may take longer.
const replaySilence = 5 * time.Minute

func newReplayCommand() *cobra.Command {
	var flags remoteFlags
	var output string
	var since time.Duration
	var request service.ReplayRequest
	cmd := &cobra.Command{
		Use:   "replay --since DURATION | --from LSN",
		Short: "Apply retained history again",
		Long: `Lets the active invalidator of a running instance apply again what the change
stream retains, beside the running stream: for values that were stored too late
or restored from somewhere. Nothing that is fresh is harmed but by a miss. Says
so when the stream no longer has all that was asked for.`,
		Example: `  freshet replay --since 10m
  freshet replay --from 0/1A2B3C8
  freshet replay --since 1h -o json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("since") {
				request.Since = since.String()
			}
			if _, err := request.From(time.Now()); err != nil {
				return usageErrorf("%w\nUsage: %s", err, cmd.UseLine())
			}
			r, err := flags.dial()
			if err != nil {
				return err
			}
			defer r.close()
			var progress io.Writer
			if !asJSON && isTerminal(os.Stderr) {
				progress = cmd.ErrOrStderr()
			}
			last, err := r.replay(cmd.Context(), request, progress)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), last)
			} else {
				err = printReplayed(cmd.OutOrStdout(), last)
			}
			if last.Error != "" {
				return errors.Join(err, errors.New("replay: "+last.Error))
			}
			return err
		},
	}
	flags.add(cmd)
	outputFlag(cmd, &output)
	cmd.Flags().DurationVar(&since, "since", 0, "what was published in the last `DURATION`")
	cmd.Flags().StringVar(&request.LSN, "from", "", "what was committed at or after an `LSN`")
	return cmd
}

// replay asks for one and follows it to its end.
func (r *remote) replay(ctx context.Context, request service.ReplayRequest, progress io.Writer) (service.ReplayEvent, error) {
	var last service.ReplayEvent
	events := make(chan *nats.Msg, 256) // one a second
	subs, err := r.follow(events, r.subjects.Event("replay"))
	if err != nil {
		return last, err
	}
	defer func() { _ = subs[0].Unsubscribe() }() // ends with the connection
	var job service.JobResult
	if err := r.ask(ctx, "replay", request, &job); err != nil {
		return last, err
	}
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("not waited for; the replay %s goes on", job.Job)
		case <-time.After(replaySilence):
			return last, fmt.Errorf("nothing was heard of %s for %s; `freshet status` tells how the invalidator is doing", job.Job, replaySilence)
		case m := <-events:
			var event struct {
				Fields service.ReplayEvent `json:"fields"`
			}
			if err := json.Unmarshal(m.Data, &event); err != nil {
				return last, fmt.Errorf("an event cannot be read: %w", err)
			}
			if event.Fields.Job != job.Job {
				continue
			}
			last = event.Fields
			if last.Done {
				if progress != nil {
					_, _ = fmt.Fprint(progress, "\r\x1b[K") // a terminal that went away
				}
				return last, nil
			}
			if progress != nil && time.Since(began) > 2*time.Second {
				drawBar(progress, int(last.Messages), int(last.Of), "messages")
			}
		}
	}
}

// drawBar draws a progress bar over the line.
func drawBar(out io.Writer, done, of int, what string) {
	const width = 30
	full := width * min(done, of) / max(of, 1)
	_, _ = fmt.Fprintf(out, "\r[%s%s] %d of %d %s\x1b[K", strings.Repeat("=", full), strings.Repeat(" ", width-full), done, of, what)
}

func printReplayed(out io.Writer, e service.ReplayEvent) error {
	_, err := fmt.Fprintf(out, "replayed %d changes of %d messages: %d keys, patterns and tags invalidated again, %d values removed\n",
		e.Changes, e.Of, e.Targets, e.Removed)
	if err == nil && !e.Complete && e.Error == "" {
		_, err = fmt.Fprintf(out, "not all that was asked for is retained: the stream began at %s (nats.stream.max_age, max_bytes);\n"+
			"`freshet invalidate --pattern` removes what may depend on it\n", e.Begins.UTC().Format(time.RFC3339))
	}
	return err
}
