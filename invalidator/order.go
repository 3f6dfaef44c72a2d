package invalidator

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// activeLook is how often whoever waits for an order looks whether this process
// is still the active one.
const activeLook = time.Second

// order is an invalidation that does not come with the stream's order: made by
// hand, or by a replay. It is applied between two batches, the same way, and moves
// nothing.
type order struct {
	targets Targets
	over    chan (<-chan struct{}) // size 1: closed when the reading that took it ends
	done    chan int               // size 1: how many values were there
}

// Invalidate removes what the targets name, lease first, tells near caches, and
// returns how many values were there, once patterns have had a whole pass. It waits
// for as long as Redis and passes take. It fails with ErrNotActive where this is not
// the active invalidator, or is not any more, and with ctx's error when that ends:
// then it may or may not be applied, and may be repeated.
func (v *Invalidator) Invalidate(ctx context.Context, t Targets) (removed int, err error) {
	if t.empty() {
		return 0, nil
	}
	look := time.NewTicker(activeLook)
	defer look.Stop()
	var o *order             // taken, and not yet done
	var over <-chan struct{} // of the reading that has it
	for v.stats.leads() {
		next := &order{targets: t, over: make(chan (<-chan struct{}), 1), done: make(chan int, 1)}
		give, done := v.orders, (<-chan int)(nil)
		if o != nil {
			give, done = nil, o.done
		}
		select {
		case give <- next:
			o, over = next, <-next.over
		case removed = <-done:
			return removed, nil
		case <-over:
			select {
			case removed = <-done:
				return removed, nil
			default:
			}
			// The reading ended before it, as after a rollback. The next one takes
			// it again.
			o, over = nil, nil
		case <-look.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("invalidate: %w", context.Cause(ctx))
		}
	}
	return 0, ErrNotActive
}

// obey applies an order.
func (s *applying) obey(ctx context.Context, o *order) error {
	o.over <- ctx.Done()
	if err := s.unlead(ctx); err != nil || ctx.Err() != nil {
		return err
	}
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
	// The position moves over entries of its queue only; this one is in none.
	e := &entry{}
	s.unled = append(s.unled, e)
	if len(o.targets.Patterns) == 0 {
		o.done <- done.Removed
		return nil
	}
	s.sweeps.add(passWork{
		patterns: distinct(o.targets.Patterns), entry: e,
		finished: func(removed int) { o.done <- done.Removed + removed },
	})
	return nil
}
