package cache

import (
	"context"
	"errors"
	"fmt"
)

// Get returns the value of a key, or ErrMiss. With AtLeast or Within a value that
// is not proven to be fresh enough counts as missing. A value that cannot be decoded
// into a T is another error, where GetOrSet loads it anew: values whose type changes
// from one release to the next have a VersionedKey.
func Get[T any](ctx context.Context, c *Cache, key string, opts ...ReadOption) (T, error) {
	var s settings
	if len(opts) > 0 {
		s = settingsOf(opts)
	}
	return getAs[T](ctx, c, key, &s)
}

// getAs is Get with settings.
func getAs[T any](ctx context.Context, c *Cache, key string, s *settings) (T, error) {
	full, err := c.key(key)
	if err != nil {
		var zero T
		return zero, err
	}
	ctx, end := c.observe(ctx, OpGet, key)
	if !s.bounded && c.cfg.Near != nil {
		if value, ok := nearGet[T](c, full, s); ok {
			c.counters.of(key).near.Add(1)
			end(OutcomeNear, nil)
			return value, nil
		}
	}
	value, outcome, err := get[T](ctx, c, key, full, s)
	if errors.Is(err, ErrMiss) {
		end(outcome, nil)
	} else {
		end(outcome, err)
	}
	return value, err
}

// get reads the store.
func get[T any](ctx context.Context, c *Cache, key, full string, s *settings) (T, Outcome, error) {
	n := c.counters.of(key)
	l := c.lookup(ctx, full, s)
	if l.stale {
		n.stale.Add(1)
	}
	var value T
	switch {
	case l.err != nil:
		return value, "", c.failed("get", key, l.err)
	case l.stale && s.staleError:
		return value, OutcomeStale, fmt.Errorf("get %q: %w", key, ErrStale)
	case !l.ok:
		n.misses.Add(1)
		return value, OutcomeMiss, ErrMiss
	}
	n.hits.Add(1)
	if err := c.unmarshal(l.payload, &value); err != nil {
		return *new(T), OutcomeHit, fmt.Errorf("decode %q: %w", key, err)
	}
	nearPut(c, full, value, &l)
	return value, OutcomeHit, nil
}

// GetMany returns the values of keys; those that are not in the cache are not
// in the result. If some values cannot be decoded into a T, the error is a
// *BatchError by key, and the result holds the others. With AtLeast or Within,
// each key costs a round trip.
func GetMany[T any](ctx context.Context, c *Cache, keys []string, opts ...ReadOption) (map[string]T, error) {
	s := settingsOf(opts)
	all := make([]*settings, len(keys))
	for i := range all {
		all[i] = &s
	}
	return getManyAs[T](ctx, c, keys, all)
}

// getManyAs is GetMany with settings for each key that differ in tags alone.
func getManyAs[T any](ctx context.Context, c *Cache, keys []string, of []*settings) (map[string]T, error) {
	values := make(map[string]T, len(keys))
	if len(keys) == 0 {
		return values, nil
	}
	full, err := c.keys(keys)
	if err != nil {
		return nil, err
	}
	ctx, end := c.observeKeys(ctx, OpGetMany, keys)
	err = getMany(ctx, c, keys, full, of, values)
	end("", err)
	if some := (*BatchError)(nil); err != nil && !errors.As(err, &some) {
		return nil, err
	}
	return values, err
}

func getMany[T any](ctx context.Context, c *Cache, keys, full []string, of []*settings, values map[string]T) error {
	rest := make([]int, 0, len(keys)) // what the near layer does not have
	for i, key := range keys {
		if c.cfg.Near != nil && !of[i].bounded {
			if value, ok := nearGet[T](c, full[i], of[i]); ok {
				c.counters.of(key).near.Add(1)
				values[key] = value
				continue
			}
		}
		rest = append(rest, i)
	}
	if len(rest) == 0 {
		return nil
	}
	asked := make([]string, len(rest))
	for j, i := range rest {
		asked[j] = full[i]
	}
	all, err := c.lookupMany(ctx, asked, func(j int) *settings { return of[rest[j]] })
	if err != nil {
		return c.failed("get", keys[rest[0]], err)
	}
	var failed map[string]error
	for j, l := range all {
		key := keys[rest[j]]
		n := c.counters.of(key)
		if l.stale {
			n.stale.Add(1)
			if of[rest[j]].staleError {
				return fmt.Errorf("get %q: %w", key, ErrStale)
			}
		}
		if !l.ok {
			n.misses.Add(1)
			continue
		}
		var value T
		n.hits.Add(1)
		if err := c.unmarshal(l.payload, &value); err != nil {
			if failed == nil {
				failed = map[string]error{}
			}
			failed[key] = fmt.Errorf("decode: %w", err)
			continue
		}
		values[key] = value
	}
	if failed != nil {
		return &BatchError{Failed: failed}
	}
	return nil
}
