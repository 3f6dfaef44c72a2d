package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/invalidator"
)

type latencyOptions struct {
	rate   int
	length time.Duration
	rounds int
}

// sample collects commit-to-removed times: from Postgres' own commit time
// stamp to Redis' reply, on one machine's clock.
type sample struct {
	mu   sync.Mutex
	lags []time.Duration // guarded by mu
}

func (s *sample) applied(a invalidator.Applied) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range a.Changes {
		s.lags = append(s.lags, c.Lag)
	}
}

// take returns what was collected, sorted, and begins anew.
func (s *sample) take() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	lags := s.lags
	s.lags = nil
	slices.Sort(lags)
	return lags
}

func (o *latencyOptions) run(ctx context.Context, out io.Writer, results string) (err error) {
	const rows = 10_000
	r, err := newRig(ctx, rows, "full")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	var s sample
	p, err := r.start(ctx, s.applied)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := o.settle(ctx, r, p); err != nil {
		return err
	}
	s.take()

	var report strings.Builder
	fmt.Fprintf(&report, "commit to removed key, single-row updates at %d commits/s, %s a round\n%s\n\n", o.rate, o.length, r.environment(ctx))
	table := tabwriter.NewWriter(&report, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "round\tcommits/s\tp50\tp99\tmax\t")
	var p50s, p99s []time.Duration
	for round := range o.rounds {
		began := time.Now()
		commits, err := o.commit(ctx, r, rows)
		if err != nil {
			return err
		}
		rate := float64(commits) / time.Since(began).Seconds()
		if err := o.settle(ctx, r, p); err != nil {
			return err
		}
		lags := s.take()
		if len(lags) < commits {
			return fmt.Errorf("round %d: %d commits but %d removals were seen", round+1, commits, len(lags))
		}
		p50, p99 := percentile(lags, 0.5), percentile(lags, 0.99)
		p50s, p99s = append(p50s, p50), append(p99s, p99)
		fmt.Fprintf(table, "%d\t%.0f\t%s\t%s\t%s\t\n", round+1, rate, micros(p50), micros(p99), micros(lags[len(lags)-1]))
	}
	fmt.Fprintf(table, "median\t\t%s\t%s\t\t\n", micros(median(p50s)), micros(median(p99s)))
	if err := table.Flush(); err != nil {
		return err
	}
	return publish(out, results, "latency", report.String())
}

// commit updates random rows at the rate from a few connections, and returns
// how many commits that were.
func (o *latencyOptions) commit(ctx context.Context, r *rig, rows int) (int, error) {
	const writers = 4
	group, ctx := errgroup.WithContext(ctx)
	total := int(float64(o.rate) * o.length.Seconds())
	began := time.Now()
	for w := range writers {
		group.Go(func() error {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for n := w; n < total; n += writers {
				due := began.Add(time.Duration(float64(n) / float64(o.rate) * float64(time.Second)))
				timer.Reset(max(time.Until(due), 0))
				select {
				case <-timer.C:
				case <-ctx.Done():
					return ctx.Err()
				}
				if _, err := r.db.Exec(ctx, `update orders set status = $2, updated_at = now() where id = $1`,
					1+rand.IntN(rows), strconv.Itoa(n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return total, group.Wait()
}

// settle waits until everything committed so far is applied.
func (o *latencyOptions) settle(ctx context.Context, r *rig, p *process) error {
	end, err := r.walEnd(ctx)
	if err != nil {
		return err
	}
	return until(ctx, "everything is applied", func() bool { return p.Invalidator.Status().Position.LSN >= end })
}

func micros(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }
