// Package httpcache caches the responses of HTTP handlers in a cache.Cache, so
// that what the cache's keys, patterns and tags invalidate is invalidated at
// once, in all processes.
//
//	cached := httpcache.Middleware(c, httpcache.Config{TTL: time.Minute, VaryBy: []string{"Accept-Language"}})
//	http.Handle("GET /orders/{id}", cached(orders))
//	http.Handle("PUT /orders/{id}", httpcache.InvalidateOn(c, httpcache.Invalidation{
//		Patterns: func(r *http.Request) []string { return []string{httpcache.Pattern(r.URL.Path)} },
//	})(update))
//
// # What is stored
//
// Responses to GET with a status of Config.StatusCodes. A HEAD is answered from
// what a GET has stored. Refused are responses with Set-Cookie, with
// Cache-Control private, no-store or no-cache, with Vary: *, with trailers, event
// streams, and bodies above Config.MaxBody. max-age, s-maxage and Expires of the
// response shorten Config.TTL and never lengthen it. Requests with a body, a
// Range, an Upgrade, If-Match, If-Unmodified-Since or If-Range go to the handler.
//
// Requests with Authorization or Cookie are answered from the cache, and their
// responses stored, only where the response says Cache-Control: public, so that
// one user's page is never another's. This is stricter than RFC 9111.
//
// # What tells responses apart
//
// The key has host, path, query and the headers of Config.VaryBy. A response's
// Vary is honoured beside that: the entry at the key names the headers it varies
// by, and requests that differ in them have entries of their own, which can be
// reached only through it. So who invalidates the key invalidates all of them.
// A handler whose response depends on any other header of the request must say
// so in one of the two ways.
//
// # What clients can ask for
//
// Conditional requests are answered from the cache with 304. A request's
// no-store is kept from being stored, and only-if-cached is answered with 504
// where nothing is there. no-cache, max-age and the like of a request are
// ignored: the cache is kept fresh by invalidation, and a client's reload must
// not be a way to the database.
//
// # Who calls the handler
//
// Of all requests that miss a key at the same time, in all processes, one calls
// the handler, in its own goroutine, and its client gets every byte as it is
// written. The others wait for the response. As soon as that turns out not to be
// storable, they call the handler for themselves, and so does for two seconds
// whoever comes. A client that goes away does not end the handler, whose
// response the others wait for. A panic reaches only the request whose handler it
// was.
//
// What the handler reads must be read after it was called, and from the cache only
// with its request's context, as [cache.GetOrSet] says of loaders. [Tag] adds tags in the
// handler, before it reads what they stand for. An invalidation while the handler
// runs makes its response one that is not stored.
//
// # What a response says
//
// X-Cache is HIT, MISS (it was not there, and the handler was called), BYPASS (the
// cache was not asked, or had nothing for this request) or STALE. X-Cache-Key is
// the entry's key, hashed unless Config.PlainKey is set. Age and Cache-Status are
// those of RFC 9111 and RFC 9211; Cache-Status says why a response is not stored.
package httpcache
