package cache

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A loader may read other keys of the cache, and what it makes of them is stored
// under a key of its own. An invalidation of both removes one before the other: a
// loader that begins in between, and finds what the other key still holds, would
// store what nothing removes any more. So what is in the store is of use to a
// loader only once every invalidation that had begun when its lease was granted has
// ended. Those that begin later void the lease.
//
// Which have begun is `ahead`, and which have ended is the position: for each batch
// the applier raises the one before it removes anything, on every master before
// anything of that master's, and moves the other when all is removed everywhere.
// Position.Removing stands for what has no LSN.
//
// A value that the process itself has, in the near layer or of a load under way, is
// no more of use to a loader than to a read with a bound.

// frontier is how far invalidations of an instance have come, on all masters at one
// moment.
type frontier struct {
	epoch    string
	begun    LSN // those of commits up to this one may have begun
	ended    LSN // those of commits before this one have ended
	removing bool
}

// settled reports whether all that had begun when from was read have ended.
func (f frontier) settled(from frontier) bool {
	return f.epoch == from.epoch && f.ended > from.begun && !from.removing
}

// frontierOf is the frontier of one master, given its position and what raise.lua
// left there. Without both, or across an epoch, nothing is known.
func frontierOf(position, sent string) (frontier, bool) {
	p, err := decodePosition(position)
	if err != nil {
		return frontier{}, false
	}
	epoch, digits, ok := strings.Cut(sent, " ")
	if !ok || epoch != p.Epoch {
		return frontier{}, false
	}
	begun, err := strconv.ParseUint(digits, 16, 64)
	return frontier{epoch: epoch, begun: LSN(begun), ended: p.Watermark(), removing: p.Removing}, err == nil
}

// join is the frontier of two masters together.
func (f frontier) join(g frontier) (frontier, bool) {
	return frontier{
		epoch: f.epoch, begun: max(f.begun, g.begun), ended: min(f.ended, g.ended), removing: f.removing || g.removing,
	}, f.epoch == g.epoch
}

type nestKey struct{}

// withNest marks the context of a loader: what is read with it goes into what l
// loads.
func withNest(ctx context.Context, l *loading) context.Context {
	return context.WithValue(ctx, nestKey{}, l)
}

func nestOf(ctx context.Context) *loading {
	l, _ := ctx.Value(nestKey{}).(*loading)
	return l
}

// nest is what a load knows of the reads that its loader makes.
type nest struct {
	tokens []Token        // of the call that loads: its reads must meet them too
	within *time.Duration // likewise

	mu      sync.Mutex
	asked   bool     // began is set; guarded by mu
	began   frontier // read after the lease was granted; guarded by mu
	known   bool     // began is known; guarded by mu
	settled bool     // the cache's own store was seen beyond it; guarded by mu
	waited  bool     // it was waited for; guarded by mu
}

// require adds the bounds of another call that the load is for. It must not have
// begun.
func (n *nest) require(other *nest) {
	n.tokens = append(n.tokens[:len(n.tokens):len(n.tokens)], other.tokens...)
	if w := other.within; w != nil && (n.within == nil || *w < *n.within) {
		n.within = w
	}
}

// again makes what follows be compared with what has begun by now: another lease was
// granted, or further tags were captured.
func (n *nest) again() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked, n.settled = false, false
}

// nest makes s the settings of a read that a loader makes, if ctx is a loader's.
func (c *Cache) nest(ctx context.Context, s *settings) {
	l := nestOf(ctx)
	if l == nil {
		return
	}
	outer := settings{nested: true, tokens: l.nest.tokens, within: l.nest.within}
	outer.bounded = len(outer.tokens) > 0 || outer.within != nil
	if !l.settledIn(ctx, c) {
		outer.unsettled = l
	}
	s.inherit(&outer)
}

// inherit adds what the loader that makes a call asks of it.
func (s *settings) inherit(outer *settings) {
	s.nested, s.unsettled = outer.nested, outer.unsettled
	s.bounded = s.bounded || outer.bounded
	s.tokens = append(s.tokens[:len(s.tokens):len(s.tokens)], outer.tokens...)
	if w := outer.within; w != nil && (s.within == nil || *w < *s.within) {
		s.within = w
	}
}

// nestGet is nest for a read that cannot load: what it finds is of use to the
// loader itself, and then what that loads is not stored.
func (c *Cache) nestGet(ctx context.Context, s *settings) {
	if c.nest(ctx, s); s.unsettled != nil {
		s.unsettled.refuse()
		s.unsettled = nil
	}
}

// uses notes that the loader whose context this is, if it is one's, reads what inner
// has loaded: what is not to be stored under its own key is not to be stored under
// another, and a standby that inner read is a source of both.
func uses(ctx context.Context, inner *loading) {
	l := nestOf(ctx)
	if l == nil {
		return
	}
	switch refused, standby := inner.sources(); {
	case refused:
		l.refuse()
	case standby != nil:
		l.readStandby(ctx, *standby)
	}
}

const (
	// settlePause is the first pause before it is looked again whether invalidations
	// have ended; each is twice as long as the one before.
	settlePause = time.Millisecond
	// settleLooks is how often. Together they take about as long as a query.
	settleLooks = 4
)

// settledIn reports whether what c's store holds may go into what l loads.
func (l *loading) settledIn(ctx context.Context, c *Cache) bool {
	if l.c.cfg.Source == "" || c.cfg.Source == "" {
		return true // no instance invalidates one of them
	}
	if l.c.cfg.Source != c.cfg.Source {
		return false // two that know nothing of one another
	}
	n := &l.nest
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.settled && c == l.c {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, captureTimeout)
	defer cancel()
	if !n.asked {
		n.began, n.known = l.c.frontier(ctx, l.fenced())
		n.asked, n.waited = true, false
		if c == l.c {
			n.settled = n.known && n.began.settled(n.began)
		}
	}
	if n.settled && c == l.c {
		return true
	}
	if !n.known || n.began.removing {
		return false
	}
	for look, pause := 0, settlePause; ; look, pause = look+1, 2*pause {
		now, known := c.frontier(ctx, nil)
		if known && now.settled(n.began) {
			n.settled = n.settled || c == l.c
			return true
		}
		if !known || n.waited || look == settleLooks-1 || sleep(ctx, pause) != nil {
			n.waited = true // once for each load: whoever is far behind stays so
			return false
		}
	}
}

// frontier reads how far invalidations of the cache's instance have come, on the
// masters of keys too if they are others than before.
func (c *Cache) frontier(ctx context.Context, keys []string) (frontier, bool) {
	f, known, err := c.store.frontier(ctx, c.cfg.Source, keys)
	if err != nil {
		c.cfg.Logger.Debug("how far invalidations have come was not read", "error", err)
		return frontier{}, false
	}
	return f, known
}
