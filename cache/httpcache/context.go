package httpcache

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

// run is a call of a handler whose response is to be stored.
type run struct {
	fill    *fill
	loading context.Context //nolint:containedctx // the loader's, through which it takes tags
}

type runKey struct{}

func runOf(ctx context.Context) *run {
	r, _ := ctx.Value(runKey{}).(*run)
	return r
}

// Tag adds tags to the response that a handler is making, for handlers that learn
// from what they do which tags it needs. The tags are captured when Tag is
// called: call it before querying what they stand for, so that an invalidation
// after the query makes the response void. An error means that it will not be
// stored. Outside of a handler whose response is being stored it does nothing.
func Tag(ctx context.Context, tags ...string) error {
	r := runOf(ctx)
	if r == nil {
		return nil
	}
	return cache.Tag(r.loading, tags...)
}

// NoStore keeps the response that a handler is making from being stored, and
// lets the requests that wait for it call the handler for themselves. Call it as
// soon as that is known, and before the handler returns.
func NoStore(ctx context.Context) {
	if r := runOf(ctx); r != nil {
		r.fill.refuse(false)
	}
}
