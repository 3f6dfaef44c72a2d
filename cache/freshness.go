package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

type readOption func(*settings)

func (o readOption) apply(s *settings) { o(s) }
func (readOption) read()               {}

// AtLeast makes a read see every transaction that had committed when the token
// was taken. What is in the cache is used only where Redis holds the proof, a
// position that has passed the token; else GetOrSet calls its loader, and Get
// finds nothing.
func AtLeast(t Token) ReadOption {
	return readOption(func(s *settings) { s.bounded, s.token = true, &t })
}

// Within makes a read see everything that was committed longer than d ago.
// Config.ClockSkew is taken off d. What is in the cache is used only where
// Redis holds the proof; else GetOrSet calls its loader, and Get finds nothing.
func Within(d time.Duration) ReadOption {
	return readOption(func(s *settings) { s.bounded, s.within = true, &d })
}

// OrStaleError makes a read with AtLeast or Within return ErrStale where
// nothing in the cache is proven to be fresh enough.
func OrStaleError() ReadOption {
	return readOption(func(s *settings) { s.staleError = true })
}

// satisfies reports whether what was read after this position meets the bound.
func (s *settings) satisfies(p Position, now time.Time, skew time.Duration) bool {
	if s.token != nil && !s.token.reached(p) {
		return false
	}
	// While a flush is due, the position's time vouches for nothing.
	return s.within == nil || p.Hold == 0 && now.Add(skew).Sub(p.Time) <= *s.within
}

// bounded is what a read with a bound found.
type bounded struct {
	value    []byte
	ok       bool   // there is a value
	position string // of the key's master, read before the value; empty: none
}

// fresh reads a value with a bound. stale reports that nothing proves what is
// there, or that nothing is there, to be fresh enough.
func (c *Cache) fresh(ctx context.Context, full string, s *settings) (value []byte, ok, stale bool, err error) {
	if c.cfg.Source == "" {
		return nil, false, true, nil
	}
	got, err := c.store.getBounded(ctx, full, c.cfg.Source)
	if err != nil {
		return nil, false, true, err
	}
	if got.position == "" {
		return nil, false, true, nil
	}
	p, err := decodePosition(got.position)
	if err != nil {
		c.cfg.Logger.Warn("the position cannot be read: reads with a bound go to the database", "error", err)
		return nil, false, true, nil
	}
	if !s.satisfies(p, time.Now(), c.cfg.ClockSkew) {
		return nil, false, true, nil
	}
	return got.value, got.ok, false, nil
}

// read reads a value with or without a bound. A stale one is ErrMiss, or
// ErrStale where the caller asked for that.
func (c *Cache) read(ctx context.Context, key, full string, s *settings) (value []byte, ok bool, err error) {
	if !s.bounded {
		value, ok, err = c.store.get(ctx, full)
		return value, ok, c.failed("get", key, err)
	}
	value, ok, stale, err := c.fresh(ctx, full, s)
	switch {
	case err != nil:
		return nil, false, c.failed("get", key, err)
	case stale:
		c.counters.stale.Add(1)
		if s.staleError {
			return nil, false, fmt.Errorf("get %q: %w", key, ErrStale)
		}
	}
	return value, ok, nil
}

func (s *memoryStore) getBounded(_ context.Context, key, source string) (bounded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.value(key)
	b := bounded{value: e.value, ok: ok}
	if book := s.books[source]; book != nil {
		b.position = book.position.encode()
	}
	return b, nil
}

// getBounded reads the position of the key's master and then the value, in one
// round trip to that master. Where it turns out not to be that master, there is
// no position.
func (s *redisStore) getBounded(ctx context.Context, key, source string) (bounded, error) {
	if s.nodes == nil {
		return bounded{}, errNoMasters
	}
	topo, err := s.masters(ctx)
	if err != nil {
		return bounded{}, err
	}
	m, err := topo.of(key)
	if err != nil {
		s.forgetMasters(topo)
		return bounded{}, nil //nolint:nilerr // a slot without a master: nothing is vouched for
	}
	pipe := m.client.Pipeline()
	position, value := pipe.Get(ctx, m.key(positionPrefix, source)), pipe.Get(ctx, key)
	_, _ = pipe.Exec(ctx) // each reply is looked at
	if err := position.Err(); err != nil {
		if topo.bySlot != nil {
			s.forgetMasters(topo) // another slot may be the master's lowest by now
		}
		if isServerReply(err) {
			return bounded{}, nil // missing, or moved
		}
		return bounded{}, err
	}
	raw, err := value.Bytes()
	switch {
	case err == nil:
		return bounded{value: raw, ok: true, position: position.Val()}, nil
	case errors.Is(err, redis.Nil):
		return bounded{position: position.Val()}, nil
	case redirected(err):
		s.forgetMasters(topo)
		return bounded{}, nil
	default:
		return bounded{}, err
	}
}

func redirected(err error) bool {
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask
}

// masters returns the masters as they were found last.
func (s *redisStore) masters(ctx context.Context) (*topology, error) {
	if topo := s.topo.Load(); topo != nil {
		return topo, nil
	}
	topo, err := s.nodes.discover(ctx)
	if err == nil {
		s.topo.Store(topo)
	}
	return topo, err
}

// forgetMasters makes the next read with a bound find the masters anew.
func (s *redisStore) forgetMasters(topo *topology) { s.topo.CompareAndSwap(topo, nil) }
