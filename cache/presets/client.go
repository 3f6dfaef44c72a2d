package presets

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

// ClientKey is client:{id}.
func ClientKey[K comparable](id K) string { return cache.Key("client", id) }

// Clients keeps clients by id, for ClientTTL.
func Clients[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: ClientKey[K], TTL: ClientTTL}, adjust)
}

// InvalidateClient removes what changes with rows of clients: the clients. Their
// orders change with orders.
func InvalidateClient[K comparable](ctx context.Context, c *cache.Cache, ids ...K) error {
	return c.Delete(ctx, keysOf(ids, ClientKey[K])...)
}
