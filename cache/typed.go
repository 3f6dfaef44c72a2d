package cache

import (
	"context"
	"fmt"
	"time"
)

// Spec says once, for a Typed view, how one kind of value is kept.
type Spec[K comparable] struct {
	// Prefix is the first part of every key, such as "order". Defaults to none.
	Prefix string
	// Key returns the rest of the key. Defaults to what fmt prints.
	Key func(K) string
	// Version is appended to the key as VersionedKey does. Defaults to 0: none is.
	Version int
	// TTL is how long values last. It must be set.
	TTL time.Duration
	// Tags returns the tags of a value, as in WithTags. Defaults to none.
	Tags func(K) []string
	// Jitter is as in WithJitter. Defaults to 0.
	Jitter float64
	// NegativeTTL is as in WithNegativeTTL. Defaults to Config.NegativeTTL.
	NegativeTTL time.Duration
	// RefreshAhead is as in WithRefreshAhead. Defaults to 0: values are loaded
	// when they have expired.
	RefreshAhead time.Duration
	// FailSafe is as in WithFailSafe. Defaults to 0: values end with their TTL.
	FailSafe time.Duration
}

// Typed is a view of a cache for one kind of value. Its calls are those of the
// same name in this package, with key, TTL and options as its Spec says. Options
// that are passed come after those.
type Typed[K comparable, T any] struct {
	c    *Cache
	spec Spec[K]
}

// For returns a view of c. Its type parameters are the values' type and the
// ids': For[Order](c, cache.Spec[int64]{Prefix: "order", TTL: 10 * time.Minute}).
func For[T any, K comparable](c *Cache, spec Spec[K]) Typed[K, T] {
	return Typed[K, T]{c: c, spec: spec}
}

// Key returns the key of an id, without Config.Prefix.
func (t Typed[K, T]) Key(id K) string {
	parts := make([]any, 0, 2)
	if t.spec.Prefix != "" {
		parts = append(parts, t.spec.Prefix)
	}
	if t.spec.Key != nil {
		parts = append(parts, t.spec.Key(id))
	} else {
		parts = append(parts, id)
	}
	if t.spec.Version != 0 {
		return VersionedKey(t.spec.Version, parts...)
	}
	return Key(parts...)
}

// Delete invalidates ids, as Cache.Delete does.
func (t Typed[K, T]) Delete(ctx context.Context, ids ...K) error {
	return t.c.Delete(ctx, t.keys(ids)...)
}

// Exists reports whether there is a value for an id.
func (t Typed[K, T]) Exists(ctx context.Context, id K) (bool, error) {
	return t.c.Exists(ctx, t.Key(id))
}

// TTL returns how long the value of an id lasts, as Cache.TTL does.
func (t Typed[K, T]) TTL(ctx context.Context, id K) (time.Duration, error) {
	return t.c.TTL(ctx, t.Key(id))
}

// Touch makes the value of an id last for the Spec's TTL from now, and reports
// whether there is one.
func (t Typed[K, T]) Touch(ctx context.Context, id K) (bool, error) {
	return t.c.Touch(ctx, t.Key(id), t.spec.TTL)
}

// Lease takes the lease of an id's key, as Cache.Lease does.
func (t Typed[K, T]) Lease(ctx context.Context, id K) (Lease, error) {
	return t.c.Lease(ctx, t.Key(id))
}

// Get returns the value of an id, or ErrMiss.
func (t Typed[K, T]) Get(ctx context.Context, id K, opts ...ReadOption) (T, error) {
	s := t.settings(id)
	for _, o := range opts {
		o.apply(&s)
	}
	return getAs[T](ctx, t.c, t.Key(id), &s)
}

// GetMany returns the values of those ids that are in the cache.
func (t Typed[K, T]) GetMany(ctx context.Context, ids []K, opts ...ReadOption) (map[K]T, error) {
	keys, all := t.keys(ids), make([]*settings, len(ids))
	for i, id := range ids {
		s := t.settings(id)
		for _, o := range opts {
			o.apply(&s)
		}
		all[i] = &s
	}
	found, err := getManyAs[T](ctx, t.c, keys, all)
	if found == nil {
		return nil, err
	}
	values := make(map[K]T, len(found))
	for i, id := range ids {
		if value, ok := found[keys[i]]; ok {
			values[id] = value
		}
	}
	return values, err
}

// GetOrSet returns the value of an id, and has it loaded where there is none.
func (t Typed[K, T]) GetOrSet(ctx context.Context, id K, load func(context.Context) (T, error), opts ...CallOption) (T, error) {
	return GetOrSet(ctx, t.c, t.Key(id), t.spec.TTL, load, append([]CallOption{t.option(id)}, opts...)...)
}

// GetOrSetMany returns the values of ids, and has those loaded that are not in
// the cache.
func (t Typed[K, T]) GetOrSetMany(
	ctx context.Context, ids []K, load func(ctx context.Context, missing []K) (map[K]T, error), opts ...CallOption,
) (map[K]T, error) {
	return getOrSetMany(ctx, t.c, ids, t.Key, t.spec.Tags, t.spec.TTL, load, append([]CallOption{t.untagged()}, opts...))
}

// Set stores the value of an id, unfenced as Set is.
func (t Typed[K, T]) Set(ctx context.Context, id K, value T, opts ...WriteOption) error {
	return Set(ctx, t.c, t.Key(id), value, t.spec.TTL, append([]WriteOption{t.option(id)}, opts...)...)
}

// SetMany stores the values of ids, unfenced as SetMany is. Two ids must not have
// the same key.
func (t Typed[K, T]) SetMany(ctx context.Context, values map[K]T, opts ...WriteOption) error {
	byKey, tags := make(map[string]T, len(values)), make(map[string][]string, len(values))
	for id, value := range values {
		key := t.Key(id)
		if _, ok := byKey[key]; ok {
			return fmt.Errorf("set: %w: two ids have the key %q", ErrKey, key)
		}
		byKey[key] = value
		if t.spec.Tags != nil {
			tags[key] = t.spec.Tags(id)
		}
	}
	return setMany(ctx, t.c, byKey, tags, t.spec.TTL, append([]WriteOption{t.untagged()}, opts...))
}

func (t Typed[K, T]) keys(ids []K) []string {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = t.Key(id)
	}
	return keys
}

// untagged is what the Spec says of every id.
func (t Typed[K, T]) untagged() WriteOption {
	return writeOption(func(s *settings) {
		s.jitter = min(max(t.spec.Jitter, 0), 1)
		s.negativeTTL, s.refreshAhead, s.failSafe = t.spec.NegativeTTL, t.spec.RefreshAhead, t.spec.FailSafe
	})
}

func (t Typed[K, T]) option(id K) WriteOption {
	return writeOption(func(s *settings) { *s = t.settings(id) })
}

func (t Typed[K, T]) settings(id K) settings {
	var s settings
	t.untagged().apply(&s)
	if t.spec.Tags != nil {
		s.tags = t.spec.Tags(id)
	}
	return s
}
