package cache

import (
	"context"
	"fmt"
)

// Get returns the value of a key, or ErrMiss. With AtLeast or Within a value that
// is not proven to be fresh enough counts as missing.
func Get[T any](ctx context.Context, c *Cache, key string, opts ...ReadOption) (T, error) {
	var value T
	s := settingsOf(opts)
	full, err := c.key(key)
	if err != nil {
		return value, err
	}
	raw, ok, err := c.read(ctx, key, full, &s)
	switch {
	case err != nil:
		return value, err
	case !ok:
		c.counters.misses.Add(1)
		return value, ErrMiss
	}
	c.counters.hits.Add(1)
	if err := c.cfg.Codec.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("decode %q: %w", key, err)
	}
	return value, nil
}

// GetMany returns the values of keys; those that are not in the cache are not
// in the result. With AtLeast or Within, each key costs a round trip.
func GetMany[T any](ctx context.Context, c *Cache, keys []string, opts ...ReadOption) (map[string]T, error) {
	s := settingsOf(opts)
	values := make(map[string]T, len(keys))
	if len(keys) == 0 {
		return values, nil
	}
	full, err := c.keys(keys)
	if err != nil {
		return nil, err
	}
	all, err := c.readMany(ctx, keys, full, &s)
	if err != nil {
		return nil, err
	}
	for i, raw := range all {
		if raw == nil {
			continue
		}
		var value T
		if err := c.cfg.Codec.Unmarshal(raw, &value); err != nil {
			return nil, fmt.Errorf("decode %q: %w", keys[i], err)
		}
		values[keys[i]] = value
	}
	c.counters.hits.Add(int64(len(values)))
	c.counters.misses.Add(int64(len(keys) - len(values)))
	return values, nil
}

// readMany reads values with or without a bound; nil stands for none.
func (c *Cache) readMany(ctx context.Context, keys, full []string, s *settings) ([][]byte, error) {
	if !s.bounded {
		all, err := c.store.getMany(ctx, full)
		return all, c.failed("get", keys[0], err)
	}
	all := make([][]byte, len(keys))
	for i := range keys {
		raw, ok, err := c.read(ctx, keys[i], full[i], s)
		if err != nil {
			return nil, err
		}
		if ok {
			all[i] = raw
		}
	}
	return all, nil
}
