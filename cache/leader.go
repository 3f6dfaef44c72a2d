package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// leader loads one key for all callers in this process.
type leader struct {
	c       *Cache
	n       *counters
	key     string
	ttl     time.Duration
	s       settings // a copy: what a hit needs of them stays on its stack
	loading *loading

	unread    bool        // nothing has been read before: this may be a hit
	stranger  bool        // nothing is remembered of the key
	hit       atomic.Bool // it was
	storeDown bool        // the read before has failed: do not try the lease
	useless   []byte      // of what is there, as in lookup
	keep      bool
	expired   []byte // what to return if the loader fails
}

func newLeader(c *Cache, n *counters, key string, ttl time.Duration, s *settings) *leader {
	return &leader{c: c, n: n, key: key, ttl: ttl, s: *s, loading: newLoading(c, []string{key}, ttl+s.failSafe, s)}
}

type loadFunc func(context.Context) ([]byte, error)

// lead returns a value for the key: another process', or what load returns.
func (l *leader) lead(ctx context.Context, load loadFunc) ([]byte, error) {
	if l.storeDown {
		return l.loadOrExpired(ctx, load)
	}
	deadline := time.Now().Add(l.c.cfg.WaitLimit)
	for pause := time.Millisecond; ; pause = min(2*pause, maxPause) {
		m, token, err := l.miss(ctx)
		if l.unread && (err != nil || m.outcome != outcomePresent) {
			l.unread = false
			l.countRead(false)
		}
		if err != nil {
			l.n.errors.Add(1)
			return l.loadOrExpired(ctx, load)
		}
		switch m.outcome {
		case outcomePresent:
			payload, ok, err := l.present(ctx, m)
			if ok {
				l.c.recent.add(l.key)
			}
			if l.unread {
				l.unread = false
				l.countRead(ok)
			}
			if ok {
				return payload, nil
			}
			if err != nil {
				l.n.errors.Add(1)
				return l.loadOrExpired(ctx, load)
			}
			if time.Now().Before(deadline) {
				continue // it is known now to be of no use
			}
		case outcomeAbsent:
			l.n.absent.Add(1)
			return nil, ErrNotFound
		case outcomeLoad:
			return l.loadLeased(ctx, token, load)
		case outcomeWait:
		}
		if pause == time.Millisecond {
			l.n.waits.Add(1)
		}
		if time.Now().After(deadline) || l.c.flights.impatient(l.key) {
			return l.loadOrExpired(ctx, load)
		}
		jitter := time.Duration(mathrand.Int64N(int64(pause)))
		if err := sleep(ctx, pause/2+jitter); err != nil {
			return nil, err
		}
	}
}

// maxPause is how long a waiting caller pauses at most between two looks.
const maxPause = 25 * time.Millisecond

// countRead counts what a read would have that was spared.
func (l *leader) countRead(hit bool) {
	if l.stranger {
		l.n.strangers.saw(hit)
	}
	if hit {
		l.hit.Store(true)
		l.n.hits.Add(1)
	} else {
		l.n.misses.Add(1)
	}
}

// outcome says how the call was served whose flight this leads.
func (l *leader) outcome() Outcome {
	if l.hit.Load() {
		return OutcomeHit
	}
	return OutcomeMiss
}

// miss asks for the lease, and captures the generations of the call's tags
// behind it.
func (l *leader) miss(ctx context.Context) (m missed, token string, err error) {
	q := missQuery{key: l.key, lease: l.c.cfg.LeaseTTL, useless: l.useless, keep: l.keep}
	if len(l.s.tags) > 0 {
		l.loading.name(l.s.tags, true)
		q.names, q.namesTTL = l.c.tagNames(l.s.tags), l.c.tagTTL(l.loading.ttl)
	}
	all, token, err := l.c.askLeases(ctx, []missQuery{q})
	if err != nil {
		return missed{}, "", err
	}
	l.loading.captured(q.names, all[0].gens)
	return all[0], token, nil
}

// present looks at a value that has come to be there.
func (l *leader) present(ctx context.Context, m missed) (payload []byte, ok bool, err error) {
	if e, err := decodeEntry(m.value); err == nil && e.plain() && len(l.s.tags) == 0 {
		return e.payload, true, nil
	}
	s := l.s
	s.bounded = false
	got := l.c.lookup(ctx, l.key, &s)
	if got.err == nil && !got.ok {
		l.useless, l.keep, l.expired = got.useless, got.keep, got.expired
	}
	return got.payload, got.ok, got.err
}

// leadBounded loads for reads with a bound: always from the database, and it
// stores what it loaded only if it is granted the lease at once.
func (l *leader) leadBounded(ctx context.Context, load loadFunc) ([]byte, error) {
	if l.storeDown {
		return l.load(ctx, load)
	}
	m, token, err := l.miss(ctx)
	if err != nil {
		l.n.errors.Add(1)
	}
	if err != nil || m.outcome != outcomeLoad {
		return l.load(ctx, load)
	}
	return l.loadLeased(ctx, token, load)
}

// leadRefresh loads in place of a value that is still good, unless somebody else
// does.
func (l *leader) leadRefresh(ctx context.Context, load loadFunc) ([]byte, error) {
	token := newToken()
	granted, err := l.c.store.claim(ctx, l.key, token, l.c.cfg.LeaseTTL)
	if err != nil || !granted {
		return nil, err
	}
	if len(l.s.tags) > 0 {
		if err := l.loading.tag(ctx, l.s.tags); err != nil {
			return nil, errors.Join(err, l.c.store.release(ctx, []string{l.key}, token))
		}
	}
	l.n.refreshes.Add(1)
	return l.loadLeased(ctx, token, load)
}

// load calls the loader and stores nothing.
func (l *leader) load(ctx context.Context, load loadFunc) ([]byte, error) {
	return callLoader(ctx, l.loading, l.n, []string{l.key}, load)
}

func (l *leader) loadOrExpired(ctx context.Context, load loadFunc) ([]byte, error) {
	value, err := l.load(ctx, load)
	return l.orExpired(ctx, value, err)
}

// orExpired puts an expired value, where there is one, in the place of a
// loader's error.
func (l *leader) orExpired(ctx context.Context, value []byte, err error) ([]byte, error) {
	if err == nil || l.expired == nil || !replaceable(err) {
		return value, err
	}
	expired, ok := l.c.standIn(ctx, l.key, &l.s)
	if !ok {
		return value, err
	}
	l.n.fallbacks.Add(1)
	l.c.cfg.Logger.Warn("the loader failed: an expired value is served", "key", l.key, "error", err)
	return expired, nil
}

// replaceable reports whether an expired value may be served instead of a
// loader's error.
func replaceable(err error) bool {
	thrown := (*loaderPanicError)(nil)
	return !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrClosed) && !errors.As(err, &thrown)
}

// standIn returns what may be served instead of an error. What was read before the
// load may have been invalidated since, or replaced, so the store is asked again.
// Where the store does not answer, nothing can be known of that, and the error stands.
func (c *Cache) standIn(ctx context.Context, full string, s *settings) ([]byte, bool) {
	now := c.lookup(ctx, full, s)
	switch {
	case now.err != nil:
		return nil, false
	case now.ok:
		return now.payload, true
	default:
		return now.expired, now.expired != nil
	}
}

// callLoader calls a loader within the limits on loaders.
func callLoader[T any](ctx context.Context, l *loading, n *counters, full []string, load func(context.Context) (T, error)) (T, error) {
	c := l.c
	ctx, cancel := context.WithTimeout(ctx, c.cfg.LoadTimeout)
	defer cancel()
	if !c.hasSlot(ctx) {
		select {
		case c.loads <- struct{}{}:
			defer func() { <-c.loads }()
		case <-l.lent:
		case <-ctx.Done():
			var zero T
			return zero, fmt.Errorf("load %q: wait for other loaders: %w", c.bare(full[0]), context.Cause(ctx))
		}
		ctx = c.withSlot(ctx)
	}
	n.loads.Add(1)
	ctx, end := c.observeLoad(withNest(ctx, l), full)
	value, err := call(ctx, load)
	end("", err)
	return value, err
}

// slotKey marks the context of a loader of one cache. What it loads within needs
// no slot of its own: all of them could be held by loaders that wait for one.
type slotKey struct{ c *Cache }

func (c *Cache) withSlot(ctx context.Context) context.Context {
	return context.WithValue(ctx, slotKey{c}, true)
}

func (c *Cache) hasSlot(ctx context.Context) bool { return ctx.Value(slotKey{c}) != nil }

// loadLeased calls the loader while it holds the lease, and stores the outcome
// if it still does afterwards.
func (l *leader) loadLeased(ctx context.Context, token string, load loadFunc) ([]byte, error) {
	c, keys := l.c, []string{l.key}
	extended := c.keepLeases(ctx, keys, token)
	value, err := l.load(withLoading(ctx, l.loading), load)
	extended()
	// The outcome is stored also when the load took all the time there was.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	meta, storable := l.loading.meta(l.s.failSafe)
	negative := c.negativeTTL(&l.s)
	switch {
	case err == nil && storable:
		e := entry{key: l.key, value: c.encode(value, meta), ttl: l.s.entryTTL(l.loading.limited(l.ttl)) + l.s.failSafe}
		f := c.store.fill(ctx, token, []entry{e})[0]
		if f.stored {
			c.recent.add(l.key)
		}
		l.noteFill(f)
	case errors.Is(err, ErrNotFound) && storable && negative > 0 && !meta.tagged:
		l.noteFill(c.store.absent(ctx, keys, token, negative)[0])
	default:
		if err == nil {
			l.n.refused.Add(1)
		}
		if releaseErr := c.store.release(ctx, keys, token); releaseErr != nil {
			l.n.errors.Add(1) // it expires
		}
	}
	return l.orExpired(ctx, value, err)
}

// negativeTTL is for how long "not found" is remembered; 0: not at all.
func (c *Cache) negativeTTL(s *settings) time.Duration {
	ttl := or(s.negativeTTL, c.cfg.NegativeTTL)
	if ttl <= 0 {
		return 0
	}
	return max(ttl, time.Millisecond)
}

// storeTimeout is how long the outcome of a load may take to be stored.
const storeTimeout = 5 * time.Second

func (l *leader) noteFill(f filled) { l.c.noteFill(l.n, l.key, f) }

func (c *Cache) noteFill(n *counters, key string, f filled) {
	if f.err != nil {
		n.errors.Add(1)
		c.cfg.Logger.Debug("a loaded value was not stored", "key", key, "error", f.err)
		return
	}
	if !f.stored {
		n.refused.Add(1)
	}
	c.flights.filled(key, f.stored)
}

// keepLeases prolongs leases until the function it returns is called. It stops
// by itself once they are all lost.
func (c *Cache) keepLeases(ctx context.Context, keys []string, token string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, c.cfg.LeaseTTL/3) == nil {
			mine, err := c.store.extend(ctx, keys, token, c.cfg.LeaseTTL)
			if err == nil && !slices.Contains(mine, true) {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// askLeases asks for the leases of keys, all with one token that was never used. A
// command without a reply is repeated with another token, which takes the lease
// over that the first may have got: see once.
func (c *Cache) askLeases(ctx context.Context, queries []missQuery) (all []missed, token string, err error) {
	for range 2 {
		former := token
		token = newToken()
		for i := range queries {
			queries[i].token, queries[i].former = token, former
		}
		if all, err = c.store.miss(ctx, queries); err == nil || !unanswered(ctx, err) {
			break
		}
	}
	return all, token, err
}

// capture reads and mints generations. Those of a command without a reply are not
// used.
func (c *Cache) capture(ctx context.Context, names []string, ttl time.Duration) (gens []string, err error) {
	for range 2 {
		if gens, err = c.store.capture(ctx, names, ttl); err == nil || !unanswered(ctx, err) {
			break
		}
	}
	return gens, err
}

// unanswered reports whether a command may or may not have been executed, and it
// makes sense to try again.
func unanswered(ctx context.Context, err error) bool {
	return ctx.Err() == nil && unavailable(err) && !isServerReply(err) && !errors.Is(err, errBroken)
}

// newToken returns a token that no other fill has.
func newToken() string { return rand.Text() }
