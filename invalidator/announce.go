package invalidator

import (
	"strconv"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// newAnnouncer returns the sender of numbered broadcasts for one term as the
// active invalidator. Every term is a sender of its own, as the numbers of a
// sender that has said goodbye cannot go on.
func (v *Invalidator) newAnnouncer() *near.Announcer {
	v.terms++
	return near.NewAnnouncer(v.stream.Conn(), v.cfg.Name, v.cfg.ID+"-"+strconv.Itoa(v.terms), near.RoleInvalidator)
}

// announce tells near caches and the observer what a batch removed. It comes
// after the effect: a near cache that reads Redis on hearing of it finds the
// value gone.
func (s *applying) announce(todo cache.Batch, b *batch, done cache.Applied, at time.Time) {
	if !s.broadcastRemoved(todo) && b.rows == 0 {
		return
	}
	if s.v.cfg.OnApplied == nil {
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

// broadcastRemoved tells near caches what was removed, and reports whether that is
// anything.
func (s *applying) broadcastRemoved(todo cache.Batch) bool {
	if len(todo.Keys) == 0 && len(todo.Tags) == 0 && !todo.AllTags {
		return false
	}
	s.broadcast(near.Broadcast{
		Keys: prefixed(s.v.cfg.Prefix, todo.Keys), Tags: prefixed(s.v.cfg.Prefix, todo.Tags), AllTags: todo.AllTags,
		Epoch: todo.Epoch, LSN: cdc.LSN(todo.Ahead).String(),
	})
	return true
}

// announcePatterns does the same after a pass.
func (r *reading) announcePatterns(patterns []string, removed int) {
	r.broadcast(near.Broadcast{Patterns: prefixed(cache.EscapePattern(r.v.cfg.Prefix), patterns)})
	if r.v.cfg.OnApplied == nil {
		return
	}
	r.v.observe(Applied{
		Patterns: patterns[:min(len(patterns), MaxObserved)],
		Removed:  removed,
		At:       time.Now(),
	})
}

// broadcast publishes b. One that fails uses up its number, by which receivers
// see that they have missed something.
func (r *reading) broadcast(b near.Broadcast) {
	if err := r.announcer.Announce(b); err != nil {
		r.v.log.Debug("an invalidation was not broadcast", "error", err)
	}
}

// observe tells the observer, one call at a time.
func (v *Invalidator) observe(a Applied) {
	v.observing.Lock()
	defer v.observing.Unlock()
	v.cfg.OnApplied(a)
}

// prefixed puts prefix before every name.
func prefixed(prefix string, names []string) []string {
	if prefix == "" {
		return names
	}
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = prefix + name
	}
	return all
}
