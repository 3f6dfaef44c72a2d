package invalidator

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// warming makes warm tasks of what was removed, and leaves them to a publisher that
// never makes it wait. It is nil where no rule warms.
type warming struct {
	rules     *rule.Set
	publisher *stream.WarmPublisher
	tasks     []stream.WarmTask // to be used again
}

func newWarming(s *stream.Stream, rules *rule.Set) (*warming, error) {
	if !rules.Warms() {
		return nil, nil //nolint:nilnil // nothing is to be warmed, and that is no error
	}
	p, err := s.NewWarmPublisher()
	if err != nil {
		return nil, fmt.Errorf("publisher of warm tasks: %w", err)
	}
	return &warming{rules: rules, publisher: p}, nil
}

// start publishes until the returned function is called.
func (w *warming) start(ctx context.Context) (stop func()) {
	if w == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = w.publisher.Run(ctx) }) // it has no error to tell
	return func() { cancel(); running.Wait() }
}

// asks reports whether it matters which of the keys there were.
func (w *warming) asks(r *rule.Result) bool {
	return w != nil && slices.ContainsFunc(r.Warm, func(t rule.WarmTask) bool {
		q, ok := w.rules.Warm(t.Rule, t.Warm)
		return ok && q.Only == rule.OnlyCached
	})
}

// offer makes tasks for the keys of a batch that were there, or that are to be
// filled anyway. It comes after the deletes: what a warmer then stores is newer than
// what they were for. Nothing that was widened or flushed is among the result's tasks.
func (w *warming) offer(r *rule.Result, done cache.Applied) (made int) {
	if w == nil || len(r.Warm) == 0 {
		return 0
	}
	w.tasks = w.tasks[:0]
	for _, t := range r.Warm {
		q, ok := w.rules.Warm(t.Rule, t.Warm)
		if !ok {
			continue
		}
		if _, existed := done.Existed[t.Key]; !existed && q.Only == rule.OnlyCached {
			continue
		}
		task := stream.WarmTask{Query: q.ID, Rule: q.Rule, Key: t.Key}
		for i := range t.Args {
			if t.Null != nil && t.Null[i] {
				task.Args = append(task.Args, nil)
			} else {
				task.Args = append(task.Args, &t.Args[i])
			}
		}
		w.tasks = append(w.tasks, task)
	}
	w.publisher.Offer(w.tasks)
	return len(w.tasks)
}

// counts returns what became of the tasks.
func (w *warming) counts() (published, merged, dropped int64) {
	if w == nil {
		return 0, 0, 0
	}
	return w.publisher.Counts()
}
