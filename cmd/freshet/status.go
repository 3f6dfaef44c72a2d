package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/monitor"
)

const (
	// listenTime is how long status listens at most: every part speaks once a second.
	listenTime = 2200 * time.Millisecond
	// listenGrace is how long it goes on when one part has spoken twice: on a busy
	// machine others are a little late.
	listenGrace = 600 * time.Millisecond
)

func newStatusCommand() *cobra.Command {
	var flags remoteFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how a running instance is doing",
		Long: `Listens to what every process of the instance publishes about itself on NATS
once a second, and prints whether the cache is fresh, what is wrong with the
remedy, and one line for each part: what it does and how far behind it is.

Exit status 0 when every part is well, 1 when one is not, none applies changes,
or none is heard.`,
		Example: `  freshet status
  freshet status --nats nats://nats.internal:4222 --name shop
  freshet status -o json | jq '.[] | select(.ready | not)'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			r, err := flags.dial()
			if err != nil {
				return err
			}
			defer r.close()
			reports, err := r.listen(cmd.Context(), listenTime)
			if err != nil {
				return err
			}
			verdict := monitor.Judge(reports, true, time.Now())
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), reports)
			} else {
				err = printStatus(cmd.OutOrStdout(), reports, verdict)
			}
			if err != nil {
				return err
			}
			return wellness(r.subjects.Name, reports, verdict)
		},
	}
	flags.add(cmd)
	outputFlag(cmd, &output)
	return cmd
}

// listen gathers the newest report of every part that is heard.
func (r *remote) listen(ctx context.Context, d time.Duration) ([]monitor.Report, error) {
	messages := make(chan *nats.Msg, 256) // more parts than anybody runs
	subs, err := r.follow(messages, "freshet."+r.subjects.Name+".status.*.*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = subs[0].Unsubscribe() }() // ends with the connection
	type part struct{ role, id string }
	newest := map[part]monitor.Report{}
	end, heardAll := time.After(d), false
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case m := <-messages:
			var report monitor.Report
			if err := json.Unmarshal(m.Data, &report); err != nil {
				return nil, fmt.Errorf("a status on %s cannot be read: %w", m.Subject, err)
			}
			name := part{report.Role, report.ID}
			if _, again := newest[name]; again && !heardAll {
				// A second has passed since it was heard, in which everybody has spoken, or is late.
				heardAll, end = true, time.After(listenGrace)
			}
			newest[name] = report
		case <-end:
			reports := make([]monitor.Report, 0, len(newest))
			for _, report := range newest {
				reports = append(reports, report)
			}
			order := map[string]int{"consumer": 1, "invalidator": 2, "warmer": 3}
			slices.SortFunc(reports, func(a, b monitor.Report) int {
				return cmp.Or(cmp.Compare(order[a.Role], order[b.Role]), cmp.Compare(a.ID, b.ID))
			})
			return reports, nil
		}
	}
}

// wellness is the exit status of reports that have been printed.
func wellness(name string, reports []monitor.Report, verdict monitor.Verdict) error {
	if len(reports) == 0 {
		return fmt.Errorf("nothing is heard of instance %s: is it running, and is this the NATS server that it uses?", name)
	}
	for _, report := range reports {
		if !report.Ready {
			return &silentError{report.Role + " is not well"}
		}
	}
	if verdict.Level == monitor.LevelStuck {
		return &silentError{"the instance is stuck"}
	}
	return nil
}

// standby is the state of a consumer while another holds the slot.
const standby = string(consumer.StateWaiting)

// partStatus is what status shows of any part's own JSON.
type partStatus struct {
	State      string  `json:"state"`
	Active     bool    `json:"active"`
	LagBytes   *int64  `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`
	Rate       float64 `json:"rate"`
	Position   struct {
		Time time.Time `json:"time"`
	} `json:"position"`
	ChangesPerSecond float64 `json:"changes_per_second"`
	Latency          struct {
		Count int           `json:"count"`
		P50   time.Duration `json:"p50"`
		P99   time.Duration `json:"p99"`
	} `json:"latency"`
	Results struct {
		Filled int64 `json:"filled"`
	} `json:"results"`
}

// printStatus prints whether the cache is fresh, what is wrong with the remedy, and
// a line for each part.
func printStatus(out io.Writer, reports []monitor.Report, verdict monitor.Verdict) error {
	if len(reports) == 0 {
		return nil
	}
	said := []string{printable(verdict.Sentence)}
	for _, reason := range verdict.Reasons {
		said = append(said, "! "+printable(reason))
	}
	if _, err := fmt.Fprintln(out, strings.Join(said, "\n")+"\n"); err != nil {
		return err
	}
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "ROLE\tPROCESS\tSTATE\tBEHIND\tRATE\tP50\tP99")
	for _, report := range reports {
		var s partStatus
		if err := json.Unmarshal(report.Status, &s); err != nil {
			return fmt.Errorf("the status of %s %s cannot be read: %w", report.Role, report.ID, err)
		}
		behind, rate, p50, p99 := "-", "-", "-", "-"
		switch {
		case report.Role == "consumer" && s.LagBytes != nil && s.State != standby:
			behind = fmt.Sprintf("%s, %s", sizeText(*s.LagBytes), secondsText(s.LagSeconds))
			rate = fmt.Sprintf("%.0f rows/s", s.Rate)
		case report.Role == "invalidator" && s.Active:
			if !s.Position.Time.IsZero() {
				behind = secondsText(report.Time.Sub(s.Position.Time).Seconds())
			}
			rate = fmt.Sprintf("%.0f rows/s", s.ChangesPerSecond)
			if s.Latency.Count > 0 {
				p50, p99 = s.Latency.P50.Round(10*time.Microsecond).String(), s.Latency.P99.Round(10*time.Microsecond).String()
			}
		case report.Role == "warmer":
			rate = fmt.Sprintf("%d filled", s.Results.Filled)
		}
		fmt.Fprintf(lines, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(report.Role), printable(report.ID), printable(s.State), behind, rate, p50, p99)
	}
	return lines.Flush()
}

func secondsText(s float64) string {
	return (time.Duration(s*1000) * time.Millisecond).String()
}

func sizeText(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, at := float64(bytes)/unit, 0
	for value >= unit && at < len(sizeUnits)-1 {
		value, at = value/unit, at+1
	}
	return fmt.Sprintf("%.1f %s", value, sizeUnits[at])
}

var sizeUnits = [...]string{"KiB", "MiB", "GiB", "TiB"}
