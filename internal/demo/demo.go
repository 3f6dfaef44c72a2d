// Package demo shows the main job on servers of its own: a small shop whose
// writers only speak SQL and whose readers only speak the cache, and a
// comparison of every cached value with the database at the end.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed shop.sql
var shopSQL string

// Options say how long to run and where to write.
type Options struct {
	// For is how long the traffic runs. Defaults to 20s.
	For time.Duration
	// Serve keeps the traffic running until the context ends.
	Serve bool
	// Out is where the live view and the summary go; nil shows nothing.
	Out io.Writer
	// Colour allows terminal colours.
	Colour bool
	// Logger receives what the service logs. Defaults to discarding it.
	Logger *slog.Logger
	// folder is where temporary folders are made; empty for the system's.
	folder string
	// beforeAudit lets a test plant what the comparison must find.
	beforeAudit func(context.Context, *shop) error
}

// ErrStale is returned when a cached value was not what the database says.
var ErrStale = errors.New("demo: stale values in the cache")

// Run starts the servers and the service, runs the traffic, compares every
// cached value with the database, and stops everything. An ended context ends
// the traffic early; what follows still happens. The error is ErrStale when
// the comparison found a difference.
func Run(ctx context.Context, o Options) (summary Summary, err error) {
	if o.For == 0 {
		o.For = 20 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	view := &liveView{colour: o.Colour}
	shop, err := open(ctx, o, view)
	if err != nil {
		return summary, err
	}
	defer func() { err = errors.Join(err, shop.close()) }()

	say(o.Out, "%s", shop.describe(o.Serve))
	view.reset()
	view.show(o.Out)
	before := shop.cache.Stats()
	began := time.Now()
	if err := shop.traffic(ctx, o); err != nil {
		return summary, err
	}
	view.show(nil)
	summary.Seconds = time.Since(began).Seconds()

	// The audit also runs after an interrupt: it is the point of the demo.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := shop.settle(ctx); err != nil {
		return summary, err
	}
	if o.beforeAudit != nil {
		if err := o.beforeAudit(ctx, shop); err != nil {
			return summary, err
		}
	}
	after := shop.cache.Stats()
	compared, stale, err := audit(ctx, shop.cache, shop.db)
	if err != nil {
		return summary, err
	}
	var latency []time.Duration
	summary.Changes, summary.Removed, latency = view.measured()
	summary.setLatency(latency)
	summary.Commits = shop.writers.commits.Load()
	summary.Hits = after.Hits - before.Hits
	summary.Misses = after.Misses - before.Misses
	summary.Refused = after.Refused - before.Refused
	warmed := shop.service.Warmer.Status().Results
	summary.Warmed, summary.Voided = warmed.Filled, warmed.Refused
	summary.Tokens, summary.Waited = shop.authors.tokens.Load(), shop.authors.waited.Load()
	summary.OwnCached, summary.OwnLoaded = shop.authors.cached.Load(), shop.authors.loaded.Load()
	summary.OwnMissed = shop.authors.missed.Load()
	summary.Compared, summary.Stale = compared, len(stale)
	summary.Examples = stale[:min(len(stale), 10)]
	summary.Store = shop.store
	if o.Out != nil {
		if err := summary.print(o.Out, o.Colour); err != nil {
			return summary, err
		}
	}
	switch {
	case summary.Stale > 0:
		return summary, fmt.Errorf("%w: %d of %d", ErrStale, summary.Stale, summary.Compared)
	case summary.OwnMissed > 0:
		return summary, fmt.Errorf("%w: %d reads with a token did not show what their author had written", ErrStale, summary.OwnMissed)
	case summary.Changes == 0 || summary.Compared == 0:
		return summary, errors.New("demo: nothing was changed or nothing was cached, so nothing was shown; run it for longer")
	}
	return summary, nil
}

// traffic runs writers and readers for as long as the options say.
func (s *shop) traffic(ctx context.Context, o Options) error {
	if !o.Serve {
		limited, cancel := context.WithTimeout(ctx, o.For)
		defer cancel()
		ctx = limited
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.writers.run(ctx) })
	group.Go(func() error { return s.readers.run(ctx) })
	group.Go(func() error { return s.authors.run(ctx) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.ended:
			s.ended <- err // close reads it again
			return fmt.Errorf("the service stopped: %w", err)
		}
	})
	return group.Wait()
}

func say(out io.Writer, format string, args ...any) {
	if out != nil {
		_, _ = fmt.Fprintf(out, format, args...) // a reader that has gone is not the demo's failure
	}
}
