package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/warmer"
)

type warmOptions struct {
	keys    int
	updates int
	rate    int
	length  time.Duration
	rounds  int
}

// readAgain is how often readers of a key put it back where it is missing.
const readAgain = 5 * time.Millisecond

// arm is one side of the comparison.
type arm struct {
	name      string
	rate      int  // of queries; 0: without warming
	elsewhere bool // no warmer runs here: tasks are made, and nobody takes them
	p50, p99  []time.Duration
	committed []float64 // commits a second
	queries   []float64 // a second, on average
	most      []int     // in any second
	results   warmer.Results
}

func (o *warmOptions) run(ctx context.Context, out io.Writer, results string) (err error) {
	r, err := newRig(ctx, o.keys, "full")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	arms := []*arm{{name: "off"}, {name: "tasks only", rate: o.rate, elsewhere: true}, {name: "on", rate: o.rate}}
	for round := range o.rounds {
		for i := range arms {
			a := arms[(i+round)%len(arms)] // neither is always first
			if err := o.round(ctx, r, a); err != nil {
				return fmt.Errorf("round %d, warming %s: %w", round+1, a.name, err)
			}
		}
	}

	off := arms[0]
	var report strings.Builder
	fmt.Fprintf(&report, "%d keys, %d updates/s of each, readers that put a missing key back every %s; warming off, its tasks made and left, and on in turn, %s each, %d rounds; at most %d warm queries/s\n%s\n\n",
		o.keys, o.updates, readAgain, o.length, o.rounds, o.rate, r.environment(ctx))
	table := tabwriter.NewWriter(&report, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "warming\tround\tcommits/s\tp50\tp99\tqueries/s\tmost in a second\t")
	for round := range o.rounds {
		for _, a := range arms {
			fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%.0f\t%d\t\n", a.name, round+1, a.committed[round], micros(a.p50[round]), micros(a.p99[round]), a.queries[round], a.most[round])
		}
	}
	for _, a := range arms {
		fmt.Fprintf(table, "%s\tmedian\t%.0f\t%s\t%s\t%.0f\t%d\t\n", a.name, median(a.committed), micros(median(a.p50)), micros(median(a.p99)), median(a.queries), median(a.most))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(&report)
	for _, a := range arms[1:] {
		fmt.Fprintf(&report, "commit to removed key, %s against off, medians: p50 %.2f, p99 %.2f\n", a.name,
			float64(median(a.p50))/float64(median(off.p50)), float64(median(a.p99))/float64(median(off.p99)))
	}
	on := arms[2]
	fmt.Fprintf(&report, "warm fills stored %d, refused because the key had changed meanwhile %d\n", on.results.Filled, on.results.Refused)
	return publish(out, results, fmt.Sprintf("warm-%d", o.keys*o.updates), report.String())
}

// round hammers the keys once, with warming or without.
func (o *warmOptions) round(ctx context.Context, r *rig, a *arm) (err error) {
	r.warmRate = a.rate
	if err := r.slotsFree(ctx); err != nil { // the round before has gone
		return err
	}
	roles := []string{service.RoleConsumer, service.RoleInvalidator}
	if a.rate > 0 && !a.elsewhere {
		roles = append(roles, service.RoleWarmer)
	}
	var s sample
	p, err := r.start(ctx, s.applied, roles...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	l := latencyOptions{}
	// Changes of the round before may come once more, and are not measured: a commit
	// of its own stands behind them.
	if _, err := r.db.Exec(ctx, `update orders set updated_at = now() where id = 1`); err != nil {
		return err
	}
	if err := l.settle(ctx, r, p); err != nil {
		return err
	}
	s.take()

	var queries querySample
	reading, stop := context.WithCancel(ctx)
	defer stop()
	readers, reading := errgroup.WithContext(reading)
	readers.Go(func() error { return o.read(reading, r) })
	if p.Warmer != nil {
		readers.Go(func() error { return queries.watch(reading, p.Warmer) })
	}
	began := time.Now()
	commits, err := o.commit(ctx, r)
	took := time.Since(began)
	stop()
	if err = errors.Join(err, readers.Wait()); err != nil {
		return err
	}
	if err := l.settle(ctx, r, p); err != nil {
		return err
	}
	lags := s.take()
	if len(lags) == 0 {
		return errors.New("no removal was seen")
	}
	a.p50, a.p99 = append(a.p50, percentile(lags, 0.5)), append(a.p99, percentile(lags, 0.99))
	a.committed = append(a.committed, float64(commits)/took.Seconds())
	a.queries, a.most = append(a.queries, queries.mean()), append(a.most, queries.most())
	if p.Warmer != nil {
		got := p.Warmer.Status().Results
		a.results.Filled += got.Filled
		a.results.Refused += got.Refused
	}
	return nil
}

// commit updates each row at its rate, over a connection of its own.
func (o *warmOptions) commit(ctx context.Context, r *rig) (int, error) {
	group, ctx := errgroup.WithContext(ctx)
	each := int(float64(o.updates) * o.length.Seconds())
	began := time.Now()
	for key := range o.keys {
		group.Go(func() error {
			conn, err := r.db.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			timer := time.NewTimer(0)
			defer timer.Stop()
			for n := range each {
				timer.Reset(max(time.Until(began.Add(time.Duration(n)*time.Second/time.Duration(o.updates))), 0))
				select {
				case <-timer.C:
				case <-ctx.Done():
					return ctx.Err()
				}
				if _, err := conn.Exec(ctx, `update orders set status = $2, updated_at = now() where id = $1`, key+1, strconv.Itoa(n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return each * o.keys, group.Wait()
}

// read keeps the keys cached, as readers would. What it stores is not looked at.
func (o *warmOptions) read(ctx context.Context, r *rig) error {
	tick := time.NewTicker(readAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		pipe := r.rdb.Pipeline()
		for key := range o.keys {
			pipe.SetNX(ctx, "order:"+strconv.Itoa(key+1), "{}", time.Minute)
		}
		if _, err := pipe.Exec(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// querySample is how many queries had been sent when.
type querySample struct {
	at    []time.Time
	count []int64
}

// watch looks at a warmer until ctx ends.
func (q *querySample) watch(ctx context.Context, w *warmer.Warmer) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		q.at, q.count = append(q.at, time.Now()), append(q.count, w.Status().Queries)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// mean is the number of queries a second; 0 for none.
func (q *querySample) mean() float64 {
	if len(q.at) < 2 {
		return 0
	}
	last := len(q.at) - 1
	return float64(q.count[last]-q.count[0]) / q.at[last].Sub(q.at[0]).Seconds()
}

// most is the highest number of queries between two looks that are a second apart at
// most.
func (q *querySample) most() int {
	most, first := int64(0), 0
	for i := range q.at {
		for q.at[i].Sub(q.at[first]) > time.Second {
			first++
		}
		most = max(most, q.count[i]-q.count[first])
	}
	return int(most)
}
