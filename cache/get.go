package cache

import (
	"context"
	"fmt"
)

// Get returns the value of a key, or ErrMiss.
func Get[T any](ctx context.Context, c *Cache, key string, opts ...ReadOption) (T, error) {
	var value T
	_ = settingsOf(opts)
	full, err := c.key(key)
	if err != nil {
		return value, err
	}
	raw, ok, err := c.store.get(ctx, full)
	switch {
	case err != nil:
		return value, c.failed("get", key, err)
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
// in the result.
func GetMany[T any](ctx context.Context, c *Cache, keys []string, opts ...ReadOption) (map[string]T, error) {
	_ = settingsOf(opts)
	values := make(map[string]T, len(keys))
	if len(keys) == 0 {
		return values, nil
	}
	full, err := c.keys(keys)
	if err != nil {
		return nil, err
	}
	all, err := c.store.getMany(ctx, full)
	if err != nil {
		return nil, c.failed("get", keys[0], err)
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
