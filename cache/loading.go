package cache

import (
	"context"
	"slices"
	"sync"
	"time"
)

// loading is a load under a lease, as its loader can reach it through the
// context: to tag what it loads, and to say where it was read.
type loading struct {
	c    *Cache
	keys []string      // whose leases are held
	ttl  time.Duration // of what is stored

	lending sync.Once
	lent    chan struct{} // closed when a loader that has a slot waits for this load

	mu      sync.Mutex
	names   []string      // of tags, that of all tags first; guarded by mu
	gens    []string      // as they were captured, empty before; guarded by mu
	shared  []string      // those of the names that are every key's; guarded by mu
	refused bool          // what is loaded must not be stored; guarded by mu
	limit   time.Duration // of the TTL; 0: none; guarded by mu
	standby *LSN          // the least that a standby it reads had replayed; nil: it reads none; guarded by mu

	nest nest
}

func newLoading(c *Cache, keys []string, ttl time.Duration, s *settings) *loading {
	return &loading{c: c, keys: keys, ttl: ttl, lent: make(chan struct{}), nest: nest{tokens: s.tokens, within: s.within}}
}

// lend lets the load use the slot of the loader whose context this is, if it is
// one's: that is about to wait for the load, and must not wait for a load that
// waits for its slot.
func (l *loading) lend(ctx context.Context) {
	if l.c.hasSlot(ctx) {
		l.lending.Do(func() { close(l.lent) })
	}
}

type loadingKey struct{}

func withLoading(ctx context.Context, l *loading) context.Context {
	return context.WithValue(ctx, loadingKey{}, l)
}

func loadOf(ctx context.Context) *loading {
	l, _ := ctx.Value(loadingKey{}).(*loading)
	return l
}

// tag captures further tags.
func (l *loading) tag(ctx context.Context, tags []string) error {
	if err := checkTags(tags); err != nil {
		l.refuse()
		return err
	}
	// They are named before they are captured, so that nobody joins this load who
	// comes after one of them was invalidated.
	names := l.name(tags, true)
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, captureTimeout)
	defer cancel()
	gens, err := l.c.capture(ctx, names, l.c.tagTTL(l.ttl))
	if err != nil {
		l.refuse()
		return l.c.failed("tag", l.c.bare(l.keys[0]), err)
	}
	l.captured(names, gens)
	l.mu.Lock()
	standby := l.standby
	l.mu.Unlock()
	if standby != nil {
		// The tags may have been invalidated since the standby was compared.
		l.readStandby(ctx, *standby)
	}
	return nil
}

// name notes tags that will be captured, of every key that is being loaded or of
// some, and returns the names that have not been.
func (l *loading) name(tags []string, shared bool) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for _, name := range l.c.tagNames(tags) {
		if shared && !slices.Contains(l.shared, name) {
			l.shared = append(l.shared, name)
		}
		if !slices.Contains(l.names, name) {
			names = append(names, name)
		}
	}
	l.names = append(l.names, names...)
	l.gens = append(l.gens, make([]string, len(names))...)
	return names
}

// captured notes the generations of tags that were named.
func (l *loading) captured(names, gens []string) {
	l.nest.again()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, name := range names {
		l.gens[slices.Index(l.names, name)] = gens[i]
	}
}

// everyKeys returns the tags that are every key's.
func (l *loading) everyKeys() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.shared)
}

// refuse makes what is loaded not be stored.
func (l *loading) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = true
}

// sources returns whether what is loaded must not be stored, and what is known of a
// standby that it was read from.
func (l *loading) sources() (refused bool, standby *LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused, l.standby
}

// noteStandby notes how far a standby had replayed that is read.
func (l *loading) noteStandby(replayed LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.standby == nil || replayed < *l.standby {
		l.standby = &replayed
	}
}

// fenced returns the names whose removal keeps what is loaded from being stored. A
// master is told of the removals that are sent to it, and no others.
func (l *loading) fenced() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := slices.Clone(l.keys)
	for _, name := range l.names {
		keys = append(keys, tagPrefix+name)
	}
	return keys
}

// readStandby decides whether a standby that has replayed so much may be a
// source.
func (l *loading) readStandby(ctx context.Context, replayed LSN) {
	l.noteStandby(replayed)
	l.mu.Lock()
	replayed = *l.standby
	l.mu.Unlock()
	keys := l.fenced()
	fresh := false
	if l.c.cfg.Source != "" {
		ctx, cancel := context.WithTimeout(ctx, captureTimeout)
		defer cancel()
		// Read after the lease was taken and the tags were captured: deletes that
		// follow void those.
		ahead, ok, err := l.c.store.ahead(ctx, l.c.cfg.Source, keys)
		_ = l.c.failed("read how far deletes are", l.c.bare(l.keys[0]), err)
		fresh = err == nil && ok && replayed > ahead
	}
	if !fresh {
		l.refuse()
	}
}

// meta returns what the header of the entry says, and false if it must not be
// stored.
func (l *loading) meta(failSafe time.Duration) (entryMeta, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := entryMeta{grace: failSafe}
	m.withTags(l.names, l.gens)
	return m, !l.refused && !slices.Contains(l.gens, "")
}

// limited returns the TTL that the loader permits.
func (l *loading) limited(ttl time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit > 0 {
		return min(ttl, l.limit)
	}
	return ttl
}

// LimitTTL shortens, inside a loader, the time for which what it loads is stored,
// as for a value that says itself when it ends. It never lengthens it, and leaves
// the time of WithFailSafe as it is. Zero or less means that it is not stored at all. Outside a loader it does nothing.
func LimitTTL(ctx context.Context, ttl time.Duration) {
	l := nestOf(ctx)
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ttl <= 0:
		l.refused = true
	case l.limit == 0 || ttl < l.limit:
		l.limit = ttl
	}
}

// touches reports whether the load has captured one of the tags, or any.
func (l *loading) touches(i *Invalidation) bool {
	if len(i.Tags) == 0 && !i.AllTags {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return i.AllTags && len(l.names) > 0 || slices.ContainsFunc(l.names, func(name string) bool {
		return slices.Contains(i.Tags, name)
	})
}

// encode turns a payload into what is stored, with the time it lasts.
func (c *Cache) encode(payload []byte, m entryMeta) []byte {
	if c.cfg.CompressAbove > 0 && len(payload) > c.cfg.CompressAbove {
		payload, m.compressed = c.packer.pack(payload)
	}
	return encodeEntry(payload, &m)
}

// changed is called when this process has changed the store: callers that come
// later must not join a load that began before, and the near layers must hear.
func (c *Cache) changed(i Invalidation) {
	c.heard(i)
	if c.cfg.Near != nil {
		c.cfg.Near.Invalidated(i)
	}
}

// heard is called for what another process has invalidated.
func (c *Cache) heard(i Invalidation) {
	c.flights.forget(&i)
	c.recent.remove(i.Keys...)
}
