package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

// GetOrSet returns the value of a key; where there is none it calls load and
// stores what that returns for ttl.
//
// Of all callers that miss a key at the same time, in all processes, one loads
// and the others wait for it. If the key is invalidated while the loader runs,
// its value is returned to the callers that waited and not stored. When load
// returns ErrNotFound, that is remembered for Config.NegativeTTL and returned.
//
// The loader runs detached from the caller, with the values of its context and
// a deadline of its own (Config.LoadTimeout); a caller whose context ends stops
// waiting and disturbs nobody. A loader that panics does so in its callers.
//
// The loader's view of the database must begin within the call: inside an open
// REPEATABLE READ or SERIALIZABLE transaction, and inside any transaction that
// has written, pass NoFill.
//
// With AtLeast or Within, what is in the cache, or is being loaded already, is
// used only if it is proven to be fresh enough. Otherwise the loader is called,
// and its value stored only if nobody else holds the key's lease. Such a loader
// must read the primary.
//
// When the store does not answer, the loader is called and nothing is stored.
func GetOrSet[T any](
	ctx context.Context, c *Cache, key string, ttl time.Duration,
	load func(context.Context) (T, error), opts ...CallOption,
) (T, error) {
	var value T
	if err := checkTTL(ttl); err != nil {
		return value, fmt.Errorf("get or set %q: %w", key, err)
	}
	full, err := c.key(key)
	if err != nil {
		return value, err
	}
	if len(opts) > 0 {
		if s := settingsOf(opts); s.bounded {
			return getOrSetBounded(ctx, c, key, full, ttl, load, &s)
		}
	}
	raw, ok, readErr := c.store.get(ctx, full)
	replace := false
	switch {
	case readErr != nil && ctx.Err() != nil:
		return value, fmt.Errorf("get or set %q: %w", key, context.Cause(ctx))
	case readErr != nil:
		c.counters.errors.Add(1)
	case ok:
		if err := c.cfg.Codec.Unmarshal(raw, &value); err == nil {
			c.counters.hits.Add(1)
			return value, nil
		}
		// Stored by another version of the program.
		replace = true
	}
	c.counters.misses.Add(1)
	if settingsOf(opts).noFill {
		return loadOnly(ctx, c, load)
	}
	return fly(ctx, &leader{c: c, key: full, ttl: ttl, storeDown: readErr != nil, replace: replace}, load)
}

// loadOnly calls a loader for one caller alone.
func loadOnly[T any](ctx context.Context, c *Cache, load func(context.Context) (T, error)) (T, error) {
	select {
	case c.loads <- struct{}{}:
	case <-ctx.Done():
		var zero T
		return zero, context.Cause(ctx)
	}
	defer func() { <-c.loads }()
	c.counters.loads.Add(1)
	return load(ctx)
}

// getOrSetBounded is GetOrSet with a bound.
func getOrSetBounded[T any](
	ctx context.Context, c *Cache, key, full string, ttl time.Duration,
	load func(context.Context) (T, error), s *settings,
) (T, error) {
	var value T
	raw, ok, stale, err := c.fresh(ctx, full, s)
	switch {
	case err != nil && ctx.Err() != nil:
		return value, fmt.Errorf("get or set %q: %w", key, context.Cause(ctx))
	case err != nil:
		c.counters.errors.Add(1)
	case ok:
		if err := c.cfg.Codec.Unmarshal(raw, &value); err == nil {
			c.counters.hits.Add(1)
			return value, nil
		}
	case stale:
		c.counters.stale.Add(1)
	}
	if stale && s.staleError {
		return value, errors.Join(fmt.Errorf("get or set %q: %w", key, ErrStale), err)
	}
	c.counters.misses.Add(1)
	if s.noFill {
		return loadOnly(ctx, c, load)
	}
	return flyBounded(ctx, &leader{c: c, key: full, ttl: ttl, storeDown: err != nil}, load)
}

// fly joins the flight of a key, or starts it, and waits for the outcome.
func fly[T any](ctx context.Context, l *leader, load func(context.Context) (T, error)) (T, error) {
	p := passenger[T]{ctx: ctx, l: l}
	fl, mine, err := l.c.flights.join(l.key, func() ([]byte, error) { return p.fly(l.lead, load) })
	if err != nil {
		return p.loaded, err
	}
	return p.wait(fl, mine)
}

// flyBounded does so for a read with a bound.
func flyBounded[T any](ctx context.Context, l *leader, load func(context.Context) (T, error)) (T, error) {
	p := passenger[T]{ctx: ctx, l: l}
	fl, mine, err := l.c.bounded.join(&l.c.flights, l.key, func() ([]byte, error) { return p.fly(l.leadBounded, load) })
	if err != nil {
		return p.loaded, err
	}
	return p.wait(&fl.flight, mine)
}

// passenger is a caller that waits for a flight.
type passenger[T any] struct {
	ctx    context.Context //nolint:containedctx // of the one call
	l      *leader
	loaded T    // what the flight's loader returned, for the caller whose loader it was
	fresh  bool // loaded is set
}

// fly runs in the flight's goroutine, detached from the caller.
func (p *passenger[T]) fly(lead func(context.Context, loadFunc) ([]byte, error), load func(context.Context) (T, error)) ([]byte, error) {
	c := p.l.c
	detached, cancel := context.WithCancelCause(context.WithoutCancel(p.ctx))
	defer cancel(nil)
	defer context.AfterFunc(c.base, func() { cancel(ErrClosed) })()
	return lead(detached, func(ctx context.Context) ([]byte, error) {
		v, err := load(ctx)
		if err != nil {
			return nil, err
		}
		raw, err := c.cfg.Codec.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode %q: %w", p.l.key, err)
		}
		p.loaded, p.fresh = v, true
		return raw, nil
	})
}

// wait waits for the flight. mine says that it calls this caller's loader.
func (p *passenger[T]) wait(fl *flight, mine bool) (T, error) {
	c := p.l.c
	var value T
	if !mine {
		c.counters.shared.Add(1)
	}
	select {
	case <-fl.done:
	case <-p.ctx.Done():
		return value, fmt.Errorf("wait for the load of %q: %w", p.l.key, context.Cause(p.ctx))
	}
	if thrown := (*loaderPanicError)(nil); errors.As(fl.err, &thrown) {
		panic(thrown)
	}
	switch {
	case fl.err != nil:
		return value, fl.err
	case mine && p.fresh:
		return p.loaded, nil
	}
	// Everybody else gets a value of their own, which they may change.
	if err := c.cfg.Codec.Unmarshal(fl.value, &value); err != nil {
		return value, fmt.Errorf("decode %q: %w", p.l.key, err)
	}
	return value, nil
}

// leader loads one key for all callers in this process.
type leader struct {
	c         *Cache
	key       string
	ttl       time.Duration
	storeDown bool // the read before has failed: do not try the lease
	replace   bool // there is a value, of no use
}

type loadFunc func(context.Context) ([]byte, error)

// lead returns a value for the key: another process', or what load returns.
func (l *leader) lead(ctx context.Context, load loadFunc) ([]byte, error) {
	if l.storeDown {
		return l.load(ctx, load)
	}
	token := newToken()
	if l.replace {
		if err := l.c.store.refresh(ctx, l.key, token, l.c.cfg.LeaseTTL); err != nil {
			l.c.counters.errors.Add(1)
			return l.load(ctx, load)
		}
		return l.loadLeased(ctx, token, load)
	}
	deadline := time.Now().Add(l.c.cfg.WaitLimit)
	for pause := time.Millisecond; ; pause = min(2*pause, maxPause) {
		m, err := l.c.store.miss(ctx, l.key, token, l.c.cfg.LeaseTTL)
		if err != nil {
			l.c.counters.errors.Add(1)
			return l.load(ctx, load)
		}
		switch m.outcome {
		case outcomePresent:
			return m.value, nil
		case outcomeAbsent:
			l.c.counters.absent.Add(1)
			return nil, ErrNotFound
		case outcomeLoad:
			return l.loadLeased(ctx, token, load)
		case outcomeWait:
		}
		if pause == time.Millisecond {
			l.c.counters.waits.Add(1)
		}
		if time.Now().After(deadline) || l.c.flights.impatient(l.key) {
			return l.load(ctx, load)
		}
		jitter := time.Duration(mathrand.Int64N(int64(pause)))
		if err := sleep(ctx, pause/2+jitter); err != nil {
			return nil, err
		}
	}
}

// maxPause is how long a waiting caller pauses at most between two looks.
const maxPause = 25 * time.Millisecond

// load calls the loader within the limits on loaders and stores nothing.
func (l *leader) load(ctx context.Context, load loadFunc) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.c.cfg.LoadTimeout)
	defer cancel()
	select {
	case l.c.loads <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("load %q: wait for other loaders: %w", l.key, context.Cause(ctx))
	}
	defer func() { <-l.c.loads }()
	l.c.counters.loads.Add(1)
	return call(ctx, load)
}

// loadLeased calls the loader while it holds the lease, and stores the outcome
// if it still does afterwards.
func (l *leader) loadLeased(ctx context.Context, token string, load loadFunc) ([]byte, error) {
	extended := l.keepLease(ctx, token)
	value, err := l.load(ctx, load)
	extended()
	// The outcome is stored also when the load took all the time there was.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	c := l.c
	switch {
	case err == nil:
		stored, fillErr := c.store.fill(ctx, l.key, token, value, l.ttl)
		l.noteFill(stored, fillErr)
	case errors.Is(err, ErrNotFound) && c.cfg.NegativeTTL > 0:
		stored, fillErr := c.store.absent(ctx, l.key, token, c.cfg.NegativeTTL)
		l.noteFill(stored, fillErr)
	default:
		if releaseErr := c.store.release(ctx, l.key, token); releaseErr != nil {
			c.counters.errors.Add(1) // it expires
		}
	}
	return value, err
}

// storeTimeout is how long the outcome of a load may take to be stored.
const storeTimeout = 5 * time.Second

func (l *leader) noteFill(stored bool, err error) {
	if err != nil {
		l.c.counters.errors.Add(1)
		l.c.cfg.Logger.Debug("a loaded value was not stored", "key", l.key, "error", err)
		return
	}
	if !stored {
		l.c.counters.refused.Add(1)
	}
	l.c.flights.filled(l.key, stored)
}

// keepLease prolongs the lease until the function it returns is called. It stops
// by itself once the lease is lost.
func (l *leader) keepLease(ctx context.Context, token string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sleep(ctx, l.c.cfg.LeaseTTL/3) == nil {
			mine, err := l.c.store.extend(ctx, l.key, token, l.c.cfg.LeaseTTL)
			if err == nil && !mine {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// newToken returns a token that no other fill has.
func newToken() string { return rand.Text() }
