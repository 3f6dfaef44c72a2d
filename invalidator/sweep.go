package invalidator

import (
	"context"
	"sync"

	"github.com/freshet-dev/freshet/cache"
)

// passWork is what waits for a pass: the patterns of one batch, or a flush.
type passWork struct {
	patterns []string
	entry    *entry
	flush    *flush // nil for the patterns of a batch

	// finished is told how many values the pass has removed, all its work's
	// together. It may be nil and must not block.
	finished func(removed int)
}

// sweeper runs passes over Redis one after the other, beside the applying
// side. Work that arrives while a pass runs waits for the next one and shares
// it: a pass vouches only for what had arrived when it started, because it may
// already be past the place where a later fill put its value.
type sweeper struct {
	pass    func(ctx context.Context, work []passWork) error // returns when the pass has succeeded
	pending func(patterns int)                               // told how many more or fewer wait

	mu      sync.Mutex // guards waiting
	waiting []passWork

	wake chan struct{} // size 1: there is work
	done chan struct{} // size 1: a pass has ended
}

func newSweeper(done chan struct{}, pending func(int), pass func(context.Context, []passWork) error) *sweeper {
	return &sweeper{pass: pass, pending: pending, wake: make(chan struct{}, 1), done: done}
}

// add hands w over; the entry is pending until its pass has ended.
func (s *sweeper) add(w passWork) {
	w.entry.pending.Add(1)
	s.pending(len(w.patterns))
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	signal(s.wake)
}

// run serves until ctx ends or a pass cannot be repeated.
func (s *sweeper) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		s.mu.Lock()
		work := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		if len(work) == 0 {
			continue
		}
		if err := s.pass(ctx, work); err != nil {
			return err
		}
		if ctx.Err() != nil {
			continue // the pass may have been cut short
		}
		for _, w := range work {
			w.entry.pending.Add(-1)
			s.pending(-len(w.patterns))
		}
		signal(s.done)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sweepPatterns is the pass over the patterns of batches.
func (r *reading) sweepPatterns(ctx context.Context, work []passWork) error {
	var patterns []string
	for _, w := range work {
		patterns = append(patterns, w.patterns...)
	}
	patterns = distinct(patterns)
	if r.v.cfg.hooks.swept != nil {
		r.v.cfg.hooks.swept(ctx)
	}
	var swept cache.Swept
	err := r.untilDone(ctx, func(ctx context.Context) (err error) {
		swept, err = r.v.applier.Sweep(ctx, patterns)
		return err
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	r.v.stats.pass(len(patterns), swept)
	r.announcePatterns(patterns, int(swept.Removed))
	for _, w := range work {
		if w.finished != nil {
			w.finished(int(swept.Removed))
		}
	}
	return nil
}

// sweepCoverage is the pass of flushes: paced, and announced as an event.
func (r *reading) sweepCoverage(ctx context.Context, work []passWork) error {
	var patterns []string
	for _, w := range work {
		patterns = append(patterns, w.patterns...)
	}
	patterns = distinct(patterns)
	r.v.stats.flushing(1)
	defer r.v.stats.flushing(-1)
	if r.v.cfg.hooks.flushes != nil {
		r.v.cfg.hooks.flushes(ctx)
	}
	var swept cache.Swept
	if len(patterns) > 0 {
		err := r.untilDone(ctx, func(ctx context.Context) (err error) {
			swept, err = r.v.applier.Flush(ctx, patterns, r.v.cfg.FlushRate, r.v.stats.flushed)
			return err
		})
		if err != nil || ctx.Err() != nil {
			return err
		}
		r.announcePatterns(patterns, int(swept.Removed))
	}
	for _, w := range work {
		fields := map[string]any{
			"reason": w.flush.reason, "patterns": w.flush.patterns, "keys": len(w.flush.keys), "tags": len(w.flush.tags),
			"removed": swept.Removed, "scanned": swept.Scanned, "took_ms": swept.Took.Milliseconds(),
		}
		r.v.emit("flushed", "coverage flushed: "+w.flush.reason, fields)
		if w.flush.finished != nil {
			w.flush.finished()
		}
	}
	return nil
}
