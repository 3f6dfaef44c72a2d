package invalidator

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet/cache"
)

// ErrNotActive is returned for what only the active invalidator can do.
var ErrNotActive = errors.New("invalidator: not the active one, or not yet")

// Targets is what an order invalidates: names without the cache's prefix.
type Targets struct {
	Keys     []string
	Patterns []string
	Tags     []string
	AllTags  bool
}

func (t Targets) empty() bool {
	return len(t.Keys) == 0 && len(t.Patterns) == 0 && len(t.Tags) == 0 && !t.AllTags
}

// order is an invalidation that does not come with the stream's order: made by
// hand, or by a replay. It is applied between two batches, the same way, and moves
// nothing.
type order struct {
	targets Targets
	done    chan int // size 1: how many values were there
}

// Invalidate removes what the targets name, lease first, tells near caches, and
// returns how many values were there, once patterns have had a whole pass. It fails
// with ErrNotActive where this is not the active invalidator, and with ctx's error
// when that ends first: then it may or may not be applied, and may be repeated.
func (v *Invalidator) Invalidate(ctx context.Context, t Targets) (removed int, err error) {
	if t.empty() {
		return 0, nil
	}
	if !v.Status().Active {
		return 0, ErrNotActive
	}
	o := &order{targets: t, done: make(chan int, 1)}
	select {
	case v.orders <- o:
	case <-ctx.Done():
		return 0, fmt.Errorf("invalidate: %w", context.Cause(ctx))
	}
	select {
	case removed = <-o.done:
		return removed, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("invalidate: %w", context.Cause(ctx))
	}
}

// obey applies an order.
func (s *applying) obey(ctx context.Context, o *order) error {
	todo := cache.Batch{Keys: o.targets.Keys, Tags: o.targets.Tags, AllTags: o.targets.AllTags}
	var done cache.Applied
	if len(todo.Keys) > 0 || len(todo.Tags) > 0 || todo.AllTags {
		var err error
		if done, err = s.remove(ctx, todo); err != nil || ctx.Err() != nil {
			return err
		}
		s.broadcastRemoved(todo)
	}
	s.v.stats.ordered(o.targets, done.Removed)
	if len(o.targets.Patterns) == 0 {
		o.done <- done.Removed
		return nil
	}
	s.sweeps.add(passWork{
		// The position moves over entries of its queue only; this one is in none.
		patterns: distinct(o.targets.Patterns), entry: &entry{},
		finished: func(removed int) { o.done <- done.Removed + removed },
	})
	return nil
}
