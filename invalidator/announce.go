package invalidator

import (
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// announce tells near caches and the observer what a batch removed. It comes
// after the effect: a near cache that reads Redis on hearing of it finds the
// value gone.
func (s *applying) announce(todo cache.Batch, b *batch, done cache.Applied, at time.Time) {
	if s.v.cfg.OnApplied == nil {
		return
	}
	if b.rows == 0 && len(todo.Keys) == 0 && len(todo.Tags) == 0 {
		return
	}
	for i := range b.changes {
		b.changes[i].Lag = at.Sub(b.changes[i].Commit)
	}
	s.v.observe(Applied{
		Changes: b.changes,
		Keys:    todo.Keys[:min(len(todo.Keys), MaxObserved)],
		Tags:    todo.Tags[:min(len(todo.Tags), MaxObserved)],
		Removed: done.Removed,
		Rows:    b.rows,
		At:      at,
	})
}

// announcePatterns does the same after a pass.
func (r *reading) announcePatterns(patterns []string, removed int) {
	if r.v.cfg.OnApplied == nil {
		return
	}
	r.v.observe(Applied{
		Patterns: patterns[:min(len(patterns), MaxObserved)],
		Removed:  removed,
		At:       time.Now(),
	})
}

// observe tells the observer, one call at a time.
func (v *Invalidator) observe(a Applied) {
	v.observing.Lock()
	defer v.observing.Unlock()
	v.cfg.OnApplied(a)
}
