package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/verify"
)

func newVerifyCommand() *cobra.Command {
	var path, output, pace string
	cfg := verify.Config{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare cached values with what the database says now",
		Long: `Compares cached values with what their rule's warm query gives now, as JSON. A
key is found by SCAN, its template read backwards, and the query asked with the
values that the key shows; targets whose keys cannot be read backwards are
counted. A difference is looked at again after the watermark has passed the
read, so that a change on its way is not a mismatch: the service must be running.

Prints the keys of stale values and digests of what is cached and what should be,
never the values. Exit status 0 when everything checked was right, 1 when
something was not or could not be checked, 2 for wrong usage.`,
		Example: `  freshet verify --sample 1000
  freshet verify --rate 50/s --fix
  freshet verify -o json | jq '.mismatches[].key'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			if cfg.Rate, err = rateOf(pace); err != nil {
				return err
			}
			if cfg.Sample < 0 {
				return usageErrorf("--sample %d: want a number of keys, or 0 for all", cfg.Sample)
			}
			file, err := loadFile(path)
			if err != nil {
				return err
			}
			report, err := verifyOnce(cmd.Context(), file, cfg, isTerminal(os.Stderr), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printVerified(cmd.OutOrStdout(), report)
			}
			return errors.Join(err, verified(report))
		},
	}
	configFlag(cmd, &path)
	outputFlag(cmd, &output)
	cmd.Flags().IntVar(&cfg.Sample, "sample", 0, "check `N` keys of each target, chosen evenly (default 0: all)")
	cmd.Flags().StringVar(&pace, "rate", "200/s", "check at most `N/s` keys a second")
	cmd.Flags().DurationVar(&cfg.Patience, "patience", 5*time.Second, "how long the watermark may take to pass a read before its key is left out")
	cmd.Flags().BoolVar(&cfg.Fix, "fix", false, "invalidate stale values")
	return cmd
}

// rateOf reads a rate such as 50/s.
func rateOf(text string) (float64, error) {
	number, found := strings.CutSuffix(text, "/s")
	rate, err := strconv.ParseFloat(number, 64)
	if !found || err != nil || !(rate > 0 && rate <= 1e9) {
		return 0, usageErrorf("--rate %q: want a number of keys a second such as 50/s", text)
	}
	return rate, nil
}

func verifyOnce(ctx context.Context, file *config.File, cfg verify.Config, progress bool, errOut io.Writer) (*verify.Report, error) {
	db, err := verify.Open(ctx, file.Postgres.URL, file.Warmer.Timeout)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	conn, err := db.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	tables, err := catalog.AllTables(ctx, conn)
	conn.Release()
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	rules, err := file.Compile(check.Schema(tables))
	if err != nil {
		return nil, err
	}
	if !rules.Warms() {
		return nil, usageErrorf("%s: no rule has a warm query, and nothing else says what a key should hold; add warm: with key, sql and ttl", file.Path)
	}
	c, err := cache.Open(ctx, file.Cache.URL, cache.Config{Source: file.Name, Prefix: file.Cache.Prefix})
	if err != nil {
		return nil, fmt.Errorf("cache.url: %w", err)
	}
	defer func() { _ = c.Close() }() // nothing was stored through it
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	if progress {
		cfg.OnProgress = progressOn(errOut)
		defer func() { _, _ = fmt.Fprint(errOut, "\r\x1b[K") }() // a terminal that went away
	}
	v, err := verify.New(cfg, c, db, rules)
	if err != nil {
		return nil, err
	}
	return v.Run(ctx)
}

// progressOn returns a hook that draws a bar, from two seconds on.
func progressOn(out io.Writer) func(done, of int) {
	began := time.Now()
	drawn := began
	return func(done, of int) {
		if now := time.Now(); now.Sub(began) > 2*time.Second && now.Sub(drawn) > 100*time.Millisecond {
			drawn = now
			drawBar(out, done, of, "keys")
		}
	}
}

func printVerified(out io.Writer, r *verify.Report) error {
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "RULE\tTARGET\tKEYS\tCHECKED\tSTALE\tLEFT OUT\tFAILED\tNOTE")
	for _, t := range r.Targets {
		note := t.Error
		switch {
		case note != "":
		case !t.Verifiable:
			note = "not verifiable: " + t.Why
		case t.Unread > 0:
			note = fmt.Sprintf("%d keys not verifiable: %s", t.Unread, t.Why)
		case t.Behind > 0:
			note = fmt.Sprintf("the watermark did not pass %d reads in time: is the service running?", t.Behind)
		}
		fmt.Fprintf(lines, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", t.Rule, t.Key, t.Keys, t.Checked, t.Mismatches, t.Behind+t.Changing, t.Failed, orDash(note))
	}
	if len(r.Mismatches) > 0 {
		fmt.Fprintln(lines, "\nSTALE KEY\tRULE\tCACHED\tDATABASE\tAGE\t")
		for _, m := range r.Mismatches {
			age := "unknown"
			if m.Age >= 0 {
				age = m.Age.Round(time.Second).String()
			}
			fixed := ""
			if m.Fixed {
				fixed = "invalidated"
			}
			fmt.Fprintf(lines, "%q\t%s\t%s\t%s\t%s\t%s\n", m.Key, m.Rule, m.Cached, m.Database, age, fixed)
		}
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nchecked %d, stale %d, left out %d; with 95 %% confidence at most %.3g %% are stale\n",
		r.Checked, len(r.Mismatches), r.Skipped, 100*r.Bound)
	return err
}

// verified is the exit status of a report that has been printed.
func verified(r *verify.Report) error {
	switch {
	case len(r.Mismatches) > 0:
		return &silentError{fmt.Sprintf("%d stale values", len(r.Mismatches))}
	case r.Failed > 0:
		return &silentError{fmt.Sprintf("%d keys could not be checked", r.Failed)}
	case r.Checked == 0 && r.Skipped > 0:
		return &silentError{"nothing could be checked: the watermark stands still"}
	}
	return nil
}
