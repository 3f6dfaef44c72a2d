package httpcache

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// Invalidation says what a request that changes something invalidates. At least
// one of the functions must be set. They are called after the handler, with the
// request that it was given.
type Invalidation struct {
	// Keys returns keys, of this package or others. Defaults to none.
	Keys func(*http.Request) []string
	// Tags returns tags: the cheapest way to invalidate many responses. Defaults
	// to none.
	Tags func(*http.Request) []string
	// Patterns returns Redis globs, as Pattern makes them. They cost the more the
	// more keys there are in Redis, and the client waits for that. Defaults to
	// none.
	Patterns func(*http.Request) []string
	// Logger is told when the cache could not be reached: what should have been
	// invalidated then lasts until its TTL. Defaults to slog.Default().
	Logger *slog.Logger
}

const (
	// invalidateTimeout is how long a response is held up by its invalidation.
	invalidateTimeout = 10 * time.Second
	// invalidateTries is how often it is tried within that.
	invalidateTries = 3
)

// InvalidateOn returns a middleware for handlers that change something. After a
// request with another method than GET, HEAD, OPTIONS or TRACE it invalidates,
// unless the answer is a 4xx, which says that nothing has changed; a 5xx, and a
// panic, leave that open.
//
// The response is held back until that is done, so a client that reads after its
// write gets what it has written. That holds of this process. Another one has the
// old response until its near layer hears of it, a moment later; without such a
// layer it gives that of a handler that began before to who comes while it runs.
//
// A response that is flushed, or longer than 64 KiB, is held back only until then:
// it is preceded by an invalidation, and followed by a second one when the handler
// has returned. The handler should have committed by the time it flushes. Should
// the cache not be reachable, the client gets its response all the same.
//
// InvalidateOn panics where nothing is to be invalidated.
func InvalidateOn(c *cache.Cache, what Invalidation) func(http.Handler) http.Handler {
	if what.Keys == nil && what.Tags == nil && what.Patterns == nil {
		panic("httpcache: InvalidateOn invalidates nothing")
	}
	if what.Logger == nil {
		what.Logger = slog.Default()
	}
	return func(next http.Handler) http.Handler {
		return &invalidator{c: c, what: what, next: next}
	}
}

type invalidator struct {
	c    *cache.Cache
	what Invalidation
	next http.Handler
}

var _ http.Handler = (*invalidator)(nil)

// ServeHTTP calls the handler and invalidates.
func (i *invalidator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		i.next.ServeHTTP(w, r)
		return
	}
	h := &holder{w: w, changed: func() { i.invalidate(r) }}
	returned := false
	defer func() {
		if !returned { // it panics, and may have changed something before
			i.invalidate(r)
		}
	}()
	i.next.ServeHTTP(h, r)
	returned = true
	h.finish()
}

// invalidate does so also when the client has gone.
func (i *invalidator) invalidate(r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), invalidateTimeout)
	defer cancel()
	keys, tags, patterns := of(i.what.Keys, r), of(i.what.Tags, r), of(i.what.Patterns, r)
	var err error
	for try := range invalidateTries {
		if wait(ctx, time.Duration(try*try)*50*time.Millisecond) != nil {
			break
		}
		if err = i.tryOnce(ctx, keys, tags, patterns); err == nil {
			return
		}
	}
	i.what.Logger.ErrorContext(ctx, "a change was not invalidated", "method", r.Method, "path", r.URL.Path,
		"keys", keys, "tags", tags, "patterns", patterns, "error", err)
}

// tryOnce does as much as it can.
func (i *invalidator) tryOnce(ctx context.Context, keys, tags, patterns []string) error {
	err := errors.Join(i.c.Delete(ctx, keys...), i.c.InvalidateTags(ctx, tags...))
	for _, pattern := range patterns {
		_, swept := i.c.InvalidatePattern(ctx, pattern)
		err = errors.Join(err, swept)
	}
	return err
}

func of(names func(*http.Request) []string, r *http.Request) []string {
	if names == nil {
		return nil
	}
	return names(r)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
