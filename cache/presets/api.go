package presets

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

// APICall names a response of an API: its endpoint, such as "GET /v1/rates", and
// what stands for its parameters.
type APICall struct {
	Endpoint string
	Params   Filters
}

// APIKey is api:{endpoint}:{params}.
func APIKey(call APICall) string { return cache.Key("api", call.Endpoint, call.Params) }

// APIResponses keeps responses of APIs, for APIResponseTTL. It is for calls that
// this program makes; the responses that it gives are kept by package httpcache.
func APIResponses[T any](c *cache.Cache, adjust ...func(*cache.Spec[APICall])) cache.Typed[APICall, T] {
	return view[T](c, cache.Spec[APICall]{Key: APIKey, TTL: APIResponseTTL}, adjust)
}

// InvalidateAPI removes the responses of endpoints, for all parameters, each at
// the cost of [cache.Cache.InvalidatePattern].
func InvalidateAPI(ctx context.Context, c *cache.Cache, endpoints ...string) error {
	var i invalidation
	for _, endpoint := range endpoints {
		i.pattern(cache.EscapePattern(cache.Key("api", endpoint)) + ":*")
	}
	return i.apply(ctx, c)
}
