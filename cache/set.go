package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Set stores a value and voids fills of the key that are under way. Nothing
// fences it: a value that was read from the database may be older than an
// invalidation by the time it is stored. Such values go through GetOrSet, or
// Lease and Fill.
func Set[T any](ctx context.Context, c *Cache, key string, value T, ttl time.Duration, opts ...WriteOption) error {
	_ = settingsOf(opts)
	if err := checkTTL(ttl); err != nil {
		return fmt.Errorf("set %q: %w", key, err)
	}
	full, err := c.key(key)
	if err != nil {
		return err
	}
	raw, err := c.cfg.Codec.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	errs := c.store.set(ctx, []entry{{key: full, value: raw, ttl: ttl}})
	c.flights.forget(full)
	if len(errs) > 0 {
		return c.failed("set", key, errs[0])
	}
	return nil
}

// BatchError is returned by calls on several keys of which some failed.
type BatchError struct {
	// Failed holds the error of each key that failed.
	Failed map[string]error
}

// Error lists the keys and their errors, up to three.
func (e *BatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cache: %d keys failed", len(e.Failed))
	for i, key := range slices.Sorted(maps.Keys(e.Failed)) {
		if i == 3 {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; %q: %v", key, e.Failed[key])
	}
	return b.String()
}

// Unwrap returns the errors of the keys.
func (e *BatchError) Unwrap() []error { return slices.Collect(maps.Values(e.Failed)) }

// SetMany stores values as Set does. If some fail, the error is a *BatchError
// and the others are stored.
func SetMany[T any](ctx context.Context, c *Cache, values map[string]T, ttl time.Duration, opts ...WriteOption) error {
	_ = settingsOf(opts)
	if err := checkTTL(ttl); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	keys := slices.Sorted(maps.Keys(values))
	full, err := c.keys(keys)
	if err != nil {
		return err
	}
	failed := map[string]error{}
	entries, names := make([]entry, 0, len(keys)), make([]string, 0, len(keys))
	for i, key := range keys {
		raw, err := c.cfg.Codec.Marshal(values[key])
		if err != nil {
			failed[key] = fmt.Errorf("encode: %w", err)
			continue
		}
		entries, names = append(entries, entry{key: full[i], value: raw, ttl: ttl}), append(names, key)
	}
	if len(entries) > 0 {
		for i, err := range c.store.set(ctx, entries) {
			if err != nil {
				failed[names[i]] = c.failed("set", names[i], err)
			}
		}
		c.flights.forget(full...)
	}
	if len(failed) > 0 {
		return &BatchError{Failed: failed}
	}
	return nil
}
