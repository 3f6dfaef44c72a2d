package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// GetOrSet returns the value of a key; where there is none it calls load and
// stores what that returns for ttl.
//
// Of all callers that miss a key at the same time, in all processes, one loads
// and the others wait for it. If the key is invalidated while the loader runs,
// its value is returned to the callers that waited and not stored. A process hears
// of what others invalidate by its near layer: without one, that value is returned
// also to those who come before the loader is done, so that without a bound a value
// may be as old as a load takes. When load returns ErrNotFound, wrapped or as it is,
// that is remembered for Config.NegativeTTL and returned. Any other error is
// returned to all who waited, as it is, and nothing is remembered.
//
// The caller whose loader ran gets what that returned. All others get what the
// codec makes of it: with JSON, without the fields that JSON leaves out.
//
// The loader runs detached from the caller, with the values of its context and
// a deadline of its own (Config.LoadTimeout); a caller whose context ends stops
// waiting and disturbs nobody. A loader that panics does so in its callers.
//
// The loader's view of the database must begin within the call: inside an open
// REPEATABLE READ or SERIALIZABLE transaction, and inside any transaction that
// has written, pass NoFill. A loader may read other keys of the cache, with the
// context that it is given: what is cached is used there only once every
// invalidation that had begun before the load has ended, and else loaded, and the
// bound of the call holds for them too. That takes one round trip for each load, and
// Config.Source. Its own key a loader must not ask for: it would wait for itself.
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
	var s settings
	if len(opts) > 0 {
		s = settingsOf(opts)
		if err := checkTags(s.tags); err != nil {
			return value, fmt.Errorf("get or set %q: %w", key, err)
		}
	}
	ctx, end := c.observe(ctx, OpGetOrSet, key)
	c.nest(ctx, &s)
	// Here, as each further function would copy the value once more.
	if !s.own() && c.cfg.Near != nil {
		if value, ok := nearGet[T](c, full, &s); ok {
			c.counters.of(key).near.Add(1)
			end(OutcomeNear, nil)
			return value, nil
		}
	}
	outcome, err := Outcome(""), errThrown
	defer func() { end(outcome, err) }()
	value, outcome, err = getOrSet(ctx, c, key, full, ttl, load, &s)
	return value, err
}

// getOrSet is GetOrSet for what the near layer does not have.
func getOrSet[T any](
	ctx context.Context, c *Cache, key, full string, ttl time.Duration, load func(context.Context) (T, error), s *settings,
) (T, Outcome, error) {
	n := c.counters.of(key)
	var value T
	predicted := c.recent.predict(full)
	if !s.own() && !s.noFill && s.refreshAhead == 0 &&
		(predicted == gone || predicted == unknown && !n.strangers.expectsValue()) {
		// Likely a miss: the value is asked for together with the lease.
		ld := newLeader(c, n, full, ttl, s)
		ld.unread, ld.stranger = true, predicted == unknown
		value, err := fly(ctx, ld, load)
		if !errors.Is(err, errDecode) {
			return value, ld.outcome(), err
		}
	}
	l := c.lookup(ctx, full, s)
	switch {
	case l.err != nil && ctx.Err() != nil:
		return value, "", fmt.Errorf("get or set %q: %w", key, context.Cause(ctx))
	case l.err != nil:
		n.errors.Add(1)
	case l.ok:
		err := c.unmarshal(l.payload, &value)
		if err == nil {
			n.hits.Add(1)
			if predicted != present {
				c.recent.add(full)
				n.strangers.saw(true)
			}
			nearPut(c, full, value, &l)
			if s.refreshAhead > 0 && l.left > 0 && l.left < s.refreshAhead && !s.noFill {
				refresh(ctx, c, key, full, ttl, load, s)
			}
			return value, OutcomeHit, nil
		}
		c.warnGarbled(n, key, err)
		l.useless, value = l.ident, *new(T)
	}
	if l.stale {
		n.stale.Add(1)
		if s.bounded && s.staleError {
			return value, OutcomeStale, errors.Join(fmt.Errorf("get or set %q: %w", key, ErrStale), l.err)
		}
	}
	n.misses.Add(1)
	if predicted == unknown {
		n.strangers.saw(false)
	}
	c.recent.remove(full)
	if s.noFill {
		value, err := loadOnly(ctx, c, n, []string{full}, s, load)
		return value, OutcomeMiss, err
	}
	ld := newLeader(c, n, full, ttl, s)
	ld.storeDown, ld.useless, ld.keep = l.err != nil, l.useless, l.keep
	if s.own() {
		// Nor may an expired value stand in: it was proven for this caller's bound,
		// and those who share the load have others.
		value, err := flyBounded(ctx, ld, load)
		return value, OutcomeMiss, err
	}
	ld.expired = l.expired
	value, err := fly(ctx, ld, load)
	return value, OutcomeMiss, err
}

// loadOnly calls a loader for one caller alone, in its own goroutine.
func loadOnly[T any](
	ctx context.Context, c *Cache, n *counters, full []string, s *settings, load func(context.Context) (T, error),
) (T, error) {
	l := newLoading(c, full, 0, s)
	defer uses(ctx, l)
	if !c.hasSlot(ctx) {
		select {
		case c.loads <- struct{}{}:
		case <-ctx.Done():
			var zero T
			return zero, context.Cause(ctx)
		}
		defer func() { <-c.loads }()
		ctx = c.withSlot(ctx)
	}
	n.loads.Add(1)
	ctx, end := c.observeLoad(withNest(ctx, l), full)
	err := errThrown
	defer func() { end("", err) }()
	value, err := load(ctx)
	return value, err
}

// errThrown is what an Observer is told of a loader that panics or ends its
// goroutine.
var errThrown = errors.New("cache: the loader panicked")

// fly joins the flight of a key, or starts it, and waits for the outcome.
func fly[T any](ctx context.Context, l *leader, load func(context.Context) (T, error)) (T, error) {
	p := passenger[T]{ctx: ctx, l: l}
	fl, mine, err := l.c.flights.join(l.key, l.c.withPrefix(l.s.tags), l.loading, func() ([]byte, error) { return p.fly(l.lead, load) })
	if err != nil {
		return p.loaded, err
	}
	return p.wait(fl, mine)
}

// flyBounded does so for a read with a bound.
func flyBounded[T any](ctx context.Context, l *leader, load func(context.Context) (T, error)) (T, error) {
	p := passenger[T]{ctx: ctx, l: l}
	fl, mine, err := l.c.bounded.join(ctx, &l.c.flights, l.key, l.loading, func() ([]byte, error) { return p.fly(l.leadBounded, load) })
	if err != nil {
		return p.loaded, err
	}
	return p.wait(&fl.flight, mine)
}

// refresh loads a new value in the background while the old one is served.
func refresh[T any](
	ctx context.Context, c *Cache, key, full string, ttl time.Duration, load func(context.Context) (T, error), s *settings,
) {
	l := newLeader(c, c.counters.of(key), full, ttl, s)
	p := &passenger[T]{ctx: ctx, l: l}
	// No key may begin so: nobody waits for this flight, and each key has one.
	_, _, _ = c.flights.join(reserved+"refresh:"+full, nil, l.loading, func() ([]byte, error) {
		value, err := p.fly(l.leadRefresh, load)
		switch thrown := (*loaderPanicError)(nil); {
		case errors.As(err, &thrown): // nobody waits for it to panic in
			c.cfg.Logger.Error("a loader panicked while it refreshed a value", "key", full, "error", err)
		case err != nil && !errors.Is(err, ErrNotFound):
			c.cfg.Logger.Debug("a value was not refreshed", "key", full, "error", err)
		}
		return value, err
	})
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
		raw, err := c.marshal(v)
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
		p.l.n.shared.Add(1)
		fl.load.lend(p.ctx)
	}
	select {
	case <-fl.done:
	case <-p.ctx.Done():
		return value, fmt.Errorf("wait for the load of %q: %w", p.l.key, context.Cause(p.ctx))
	}
	if thrown := (*loaderPanicError)(nil); errors.As(fl.err, &thrown) {
		panic(thrown)
	}
	uses(p.ctx, fl.load)
	switch {
	case fl.err != nil:
		return value, fl.err
	case mine && p.fresh:
		return p.loaded, nil
	}
	// Everybody else gets a value of their own, which they may change.
	if err := c.unmarshal(fl.value, &value); err != nil {
		return *new(T), fmt.Errorf("%w of %q: %w", errDecode, p.l.key, err)
	}
	return value, nil
}

// errDecode says that what a flight brought is no value of the caller's type.
var errDecode = errors.New("cache: decode the value")
