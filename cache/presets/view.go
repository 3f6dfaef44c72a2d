package presets

import (
	"context"
	"errors"

	"github.com/freshet-dev/freshet/cache"
)

// view returns the typed view that a spec describes once it is adjusted.
func view[T any, K comparable](c *cache.Cache, spec cache.Spec[K], adjust []func(*cache.Spec[K])) cache.Typed[K, T] {
	for _, f := range adjust {
		f(&spec)
	}
	return cache.For[T](c, spec)
}

// invalidation collects what a change makes stale: keys, and patterns where the
// keys are not known.
type invalidation struct {
	keys, patterns []string
}

func (i *invalidation) key(keys ...string)         { i.keys = append(i.keys, keys...) }
func (i *invalidation) pattern(patterns ...string) { i.patterns = append(i.patterns, patterns...) }

// each adds the keys of ids, or the pattern of all of them where none is given:
// what is not known is removed more broadly.
func each[K any](i *invalidation, ids []K, key func(K) string, all string) {
	if len(ids) == 0 {
		i.pattern(all)
	}
	for _, id := range ids {
		i.key(key(id))
	}
}

// apply removes everything, whatever fails on the way.
func (i *invalidation) apply(ctx context.Context, c *cache.Cache) error {
	deleted := c.Delete(ctx, distinct(i.keys)...)
	_, err := c.InvalidatePattern(ctx, distinct(i.patterns)...)
	return errors.Join(deleted, err)
}

func distinct(names []string) []string {
	seen := make(map[string]struct{}, len(names))
	var once []string
	for _, name := range names {
		if _, found := seen[name]; !found {
			seen[name] = struct{}{}
			once = append(once, name)
		}
	}
	return once
}

// keysOf returns the keys of ids.
func keysOf[K any](ids []K, key func(K) string) []string {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = key(id)
	}
	return keys
}
