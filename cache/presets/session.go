package presets

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

// SessionKey is session:{id}.
func SessionKey[K comparable](id K) string { return cache.Key("session", id) }

// Sessions keeps sessions by id, for SessionTTL. A session that is to last for
// SessionTTL from its last use is prolonged by [cache.Cache.Touch] with its key.
func Sessions[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: SessionKey[K], TTL: SessionTTL}, adjust)
}

// InvalidateSession removes what changes with rows of sessions: the sessions.
func InvalidateSession[K comparable](ctx context.Context, c *cache.Cache, ids ...K) error {
	return c.Delete(ctx, keysOf(ids, SessionKey[K])...)
}
