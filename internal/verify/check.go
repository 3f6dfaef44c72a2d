package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// outcome says what became of one key.
type outcome uint8

const (
	gone     outcome = iota // no value any more
	fresh                   // what the query gives
	stale                   // not that, and it should be
	behind                  // the watermark did not pass the read in time
	changing                // replaced at every look
	failed                  // Redis or the query gave an error
)

// finding is what was found at one key.
type finding struct {
	outcome  outcome
	mismatch Mismatch // when stale
	err      error    // when failed
}

// looks is how often a key that changes while it is looked at is looked at.
const looks = 3

// check compares one cached value. A difference at the first look is nothing: the
// value was read before the row was.
func (v *Verifier) check(ctx context.Context, t task) finding {
	for range looks {
		value, ok, err := v.read(ctx, t.key)
		switch {
		case err != nil:
			return finding{outcome: failed, err: err}
		case !ok:
			return finding{outcome: gone}
		}
		row, err := v.query(ctx, t)
		if err != nil {
			return finding{outcome: failed, err: err}
		}
		if equal(value, row) {
			return finding{outcome: fresh}
		}
		if f := v.lookAgain(ctx, t); f.outcome != changing {
			return f
		}
	}
	return finding{outcome: changing}
}

// lookAgain proves a difference: an entry that was there before the database was
// read, and is there still after all that this read can have seen has been applied,
// should have been removed, if what it holds differs.
func (v *Verifier) lookAgain(ctx context.Context, t task) finding {
	began, err := v.expiry(ctx, t.key)
	switch {
	case errors.Is(err, cache.ErrMiss):
		return finding{outcome: gone}
	case err != nil:
		return finding{outcome: failed, err: err}
	}
	row, err := v.query(ctx, t)
	if err != nil {
		return finding{outcome: failed, err: err}
	}
	if v.cfg.hooks.row != nil {
		v.cfg.hooks.row()
	}
	token, err := cache.TokenFrom(ctx, v.db)
	if err != nil {
		return finding{outcome: failed, err: err}
	}
	value, ok, err := v.readAfter(ctx, t.key, token)
	switch {
	case errors.Is(err, cache.ErrStale):
		return finding{outcome: behind}
	case err != nil:
		return finding{outcome: failed, err: err}
	case !ok:
		return finding{outcome: gone}
	}
	if v.cfg.hooks.value != nil {
		v.cfg.hooks.value()
	}
	if equal(value, row) {
		return finding{outcome: fresh}
	}
	ended, err := v.expiry(ctx, t.key)
	switch {
	case errors.Is(err, cache.ErrMiss):
		return finding{outcome: gone}
	case err != nil:
		return finding{outcome: failed, err: err}
	case !began.same(ended):
		return finding{outcome: changing} // another entry than the one that was there
	}
	// Entries without an expiry cannot be told apart; whatever is there now must
	// not be what the row has become meanwhile.
	if row, err = v.query(ctx, t); err != nil {
		return finding{outcome: failed, err: err}
	}
	if equal(value, row) {
		return finding{outcome: fresh}
	}
	m := Mismatch{
		Key: t.key, Rule: t.rule.Rule, Target: t.rule.Key,
		Cached: digest(value), Database: digest(row), Age: ended.age(t.rule.TTL),
	}
	if v.cfg.Fix {
		if err := v.cache.Delete(ctx, t.key); err != nil {
			v.cfg.Logger.Warn("a stale value could not be invalidated", "key", t.key, "error", err)
		} else {
			m.Fixed = true
		}
	}
	return finding{outcome: stale, mismatch: m}
}

// stored takes a value as it is stored, whatever the cache's codec.
type stored []byte

// MarshalCache implements cache.Marshaler.
func (s *stored) MarshalCache() ([]byte, error) { return *s, nil }

// UnmarshalCache implements cache.Unmarshaler.
func (s *stored) UnmarshalCache(data []byte) error {
	*s = bytes.Clone(data)
	return nil
}

var (
	_ cache.Marshaler   = (*stored)(nil)
	_ cache.Unmarshaler = (*stored)(nil)
)

// read gets a key's value; false where there is none.
func (v *Verifier) read(ctx context.Context, key string, opts ...cache.ReadOption) ([]byte, bool, error) {
	value, err := cache.Get[stored](ctx, v.cache, key, opts...)
	if errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrNotFound) {
		return nil, false, nil
	}
	return value, err == nil, err
}

// readAfter gets a key's value once everything before the token has been applied
// to the master that holds it. The error is cache.ErrStale when that takes too long.
func (v *Verifier) readAfter(ctx context.Context, key string, token cache.Token) ([]byte, bool, error) {
	deadline := time.Now().Add(v.cfg.Patience)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		value, ok, err := v.read(ctx, key, cache.AtLeast(token), cache.OrStaleError())
		if !errors.Is(err, cache.ErrStale) || time.Now().After(deadline) {
			return value, ok, err
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// expiry is when an entry expires, as far as the time that a reply took lets one
// tell. It stays the same for as long as the entry is the same.
type expiry struct {
	earliest, latest time.Time // zero: never
	left             time.Duration
}

func (v *Verifier) expiry(ctx context.Context, key string) (expiry, error) {
	before := time.Now()
	left, err := v.cache.TTL(ctx, key)
	if err != nil || left == 0 {
		return expiry{}, err
	}
	return expiry{earliest: before.Add(left), latest: time.Now().Add(left + time.Millisecond), left: left}, nil
}

func (e expiry) same(f expiry) bool {
	return !e.latest.Before(f.earliest) && !f.latest.Before(e.earliest)
}

// age is how long an entry has been there if it was stored with the lifetime that
// the rule gives; negative when that cannot be.
func (e expiry) age(ttl time.Duration) time.Duration {
	if e.left == 0 || e.left > ttl {
		return -1
	}
	return ttl - e.left
}

// query asks for what the key should hold; nil when there is no row.
func (v *Verifier) query(ctx context.Context, t task) ([]byte, error) {
	row, err := v.ask(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", t.rule.Rule, err)
	}
	return row, nil
}
