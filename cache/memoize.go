package cache

import (
	"context"
	"time"
)

// Memoize returns a function that calls fn through the cache: GetOrSet with the
// key that the argument gives. fn is a loader, and everything said of those holds
// for it.
func Memoize[A, T any](
	c *Cache, key func(A) string, ttl time.Duration, fn func(context.Context, A) (T, error), opts ...CallOption,
) func(context.Context, A) (T, error) {
	return func(ctx context.Context, arg A) (T, error) {
		return GetOrSet(ctx, c, key(arg), ttl, func(ctx context.Context) (T, error) { return fn(ctx, arg) }, opts...)
	}
}
