package cache

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Set stores a value and voids fills of the key that are under way. Nothing
// fences it: a value that was read from the database may be older than an
// invalidation by the time it is stored. Such values go through GetOrSet, or
// Lease and Fill.
func Set[T any](ctx context.Context, c *Cache, key string, value T, ttl time.Duration, opts ...WriteOption) error {
	s := settingsOf(opts)
	if err := checkWrite(ttl, &s); err != nil {
		return fmt.Errorf("set %q: %w", key, err)
	}
	full, err := c.key(key)
	if err != nil {
		return err
	}
	raw, err := c.marshal(value)
	if err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	ctx, end := c.observe(ctx, OpSet, key)
	meta, err := c.setMeta(ctx, ttl, &s)
	if err == nil {
		err = c.store.set(ctx, []entry{{key: full, value: c.encode(raw, meta), ttl: s.entryTTL(ttl) + s.failSafe}})[0]
	}
	c.changed(Invalidation{Keys: []string{full}})
	if err == nil {
		c.recent.add(full)
	}
	err = c.failed("set", key, err)
	end("", err)
	return err
}

func checkWrite(ttl time.Duration, s *settings) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	return checkTags(s.tags)
}

// setMeta returns the header for values that are set.
func (c *Cache) setMeta(ctx context.Context, ttl time.Duration, s *settings) (entryMeta, error) {
	m := entryMeta{grace: s.failSafe}
	if len(s.tags) == 0 {
		return m, nil
	}
	names := c.tagNames(s.tags)
	gens, err := c.capture(ctx, names, c.tagTTL(ttl+s.failSafe))
	if err == nil {
		m.withTags(names, gens)
	}
	return m, err
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
	return setMany(ctx, c, values, nil, ttl, opts)
}

// setMany is SetMany with tags for each key.
func setMany[T any](
	ctx context.Context, c *Cache, values map[string]T, tags map[string][]string, ttl time.Duration, opts []WriteOption,
) error {
	s := settingsOf(opts)
	if err := checkWrite(ttl, &s); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if len(values) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(values))
	full, err := c.keys(keys)
	if err != nil {
		return err
	}
	ctx, end := c.observeKeys(ctx, OpSetMany, keys)
	err = c.setAll(ctx, keys, full, tags, ttl, &s, func(key string) ([]byte, error) { return c.marshal(values[key]) })
	end("", err)
	return err
}

func (c *Cache) setAll(
	ctx context.Context, keys, full []string, tags map[string][]string, ttl time.Duration, s *settings,
	marshal func(key string) ([]byte, error),
) error {
	all := *s
	all.tags = slices.Clone(s.tags)
	for _, own := range tags {
		if err := checkTags(own); err != nil {
			return fmt.Errorf("set: %w", err)
		}
		all.tags = append(all.tags, own...)
	}
	captured, err := c.setMeta(ctx, ttl, &all)
	if err != nil {
		return c.failed("set", keys[0], err)
	}
	gens := captured.byName()
	failed := map[string]error{}
	entries, names := make([]entry, 0, len(keys)), make([]string, 0, len(keys))
	for i, key := range keys {
		raw, err := marshal(key)
		if err != nil {
			failed[key] = fmt.Errorf("encode: %w", err)
			continue
		}
		own := c.tagNames(append(s.tags[:len(s.tags):len(s.tags)], tags[key]...))[1:]
		meta := captured
		meta.tags = make([]generation, len(own))
		for j, name := range own {
			meta.tags[j] = generation{tag: name, gen: gens[name]}
		}
		meta.tagged = len(own) > 0
		entries = append(entries, entry{key: full[i], value: c.encode(raw, meta), ttl: s.entryTTL(ttl) + s.failSafe})
		names = append(names, key)
	}
	if len(entries) > 0 {
		for i, err := range c.store.set(ctx, entries) {
			if err != nil {
				failed[names[i]] = c.failed("set", names[i], err)
			}
		}
		c.changed(Invalidation{Keys: full})
		for _, e := range entries {
			c.recent.add(e.key)
		}
	}
	if len(failed) > 0 {
		return &BatchError{Failed: failed}
	}
	return nil
}

// Increment adds delta to a counter and returns the sum. A counter that is not
// there begins at 0 and lasts for ttl, which later calls do not change. It is for
// counts that have no home in a table; its value is a plain integer that Get
// reads too. If the reply is lost and the client sends the command again, it
// counts twice; package ratelimit does not.
func (c *Cache) Increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if err := checkTTL(ttl); err != nil {
		return 0, fmt.Errorf("increment %q: %w", key, err)
	}
	full, err := c.key(key)
	if err != nil {
		return 0, err
	}
	ctx, end := c.observe(ctx, OpIncrement, key)
	sum, err := c.store.increment(ctx, full, delta, ttl)
	c.changed(Invalidation{Keys: []string{full}})
	err = c.failed("increment", key, err)
	end("", err)
	return sum, err
}

// Decrement subtracts delta, and is otherwise like Increment.
func (c *Cache) Decrement(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	if delta == math.MinInt64 { // it is its own negative
		return 0, fmt.Errorf("decrement %q: the delta is out of range", key)
	}
	return c.Increment(ctx, key, -delta, ttl)
}
