package httpcache

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/freshet-dev/freshet/cache"
)

const (
	// maxDepth is how many responses are looked at on the way to the one that
	// answers: more than two only where a handler's Vary is not always the same.
	maxDepth = 4
	// maxTries is how often a request joins a load that comes to nothing for it
	// before it calls the handler for itself.
	maxTries = 8
)

// exchange is one request and its answer.
type exchange struct {
	m     *middleware
	w     http.ResponseWriter
	r     *http.Request
	facts facts
	key   string // of the response that is being looked at
}

// loaded is what a call of the cache returned.
type loaded struct {
	response *response
	err      error
	thrown   any // a panic in the call
}

func (x *exchange) serve() {
	fwd := fwdURIMiss
	for range maxDepth {
		res, answered := x.find(fwd)
		r := res.response
		switch {
		case answered:
			return
		case errors.Is(res.err, cache.ErrMiss):
			x.miss(xMiss, fwd, "")
			return
		case res.err != nil:
			x.failed(fwd, res.err)
			return
		case !r.answers(x.r):
			x.key, fwd = r.variant(x.key, x.r), fwdVaryMiss
		case !x.may(r):
			x.forward(xBypass, forwarded(fwdBypass, "credentials"))
			return
		default:
			x.answer(r)
			return
		}
	}
	x.miss(xMiss, fwd, "depth")
}

// may reports whether the request's credentials permit to answer it with r.
func (x *exchange) may(r *response) bool {
	return r.public || !x.facts.authorization && (!x.facts.cookie || r.perCookie)
}

// miss is for requests that are not answered from the cache, and whose response
// is not stored.
func (x *exchange) miss(state, fwd, detail string) {
	if x.facts.onlyIfCached {
		x.sign(state, detailed("only-if-cached"))
		http.Error(x.w, http.StatusText(http.StatusGatewayTimeout), http.StatusGatewayTimeout)
		return
	}
	x.forward(state, forwarded(fwd, detail))
}

// failed is for requests that waited for a response and did not get it.
func (x *exchange) failed(fwd string, err error) {
	switch {
	case x.r.Context().Err() != nil: // nobody is there to be answered
	case errors.Is(err, errRefused), errors.Is(err, errPersonal):
		x.miss(xMiss, fwd, "not-storable")
	case errors.Is(err, errFailed), errors.Is(err, errAborted), errors.Is(err, errTooLong):
		x.miss(xMiss, fwd, "origin")
	default: // the store, or too many loads
		x.miss(xBypass, fwdBypass, "unavailable")
	}
}

// find looks for the response at x.key, and makes it where it is missing and the
// request may. answered reports that the client has its answer.
func (x *exchange) find(fwd string) (res loaded, answered bool) {
	all, personal := x.m.passes.of(x.key)
	switch {
	case x.facts.onlyIfCached:
		return x.look(), false
	case all:
		x.forward(xBypass, forwarded(fwdBypass, "not-storable"))
		return res, true
	case personal && x.facts.credentials():
		if res = x.look(); errors.Is(res.err, cache.ErrMiss) {
			x.forward(xBypass, forwarded(fwdBypass, "credentials"))
			return res, true
		}
		return res, false
	case x.facts.head, x.facts.noStore:
		return x.look(), false
	}
	for range maxTries {
		if res, answered = x.join(fwd); answered {
			return res, true
		}
		if !errors.Is(res.err, errAbandoned) && (!errors.Is(res.err, errPersonal) || x.facts.credentials()) {
			break
		}
	}
	return res, false
}

// look reads the cache, and makes nothing.
func (x *exchange) look() loaded {
	r, err := cache.Get[stored](x.r.Context(), x.m.c, x.key)
	return loaded{response: r.response, err: err}
}

// join reads the cache, waits for the response where it is being made, and makes
// it where it is not.
func (x *exchange) join(fwd string) (res loaded, answered bool) {
	client := x.r.Context()
	// The call must outlive the client if it is this request that calls the
	// handler.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(client))
	defer cancel(nil)
	unwatch := context.AfterFunc(client, func() { cancel(context.Cause(client)) })
	defer unwatch()

	f := newFill(x.m, x.key)
	done := make(chan loaded, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(f.gone)
	wg.Go(func() {
		var got loaded
		defer func() {
			got.thrown = recover()
			done <- got
		}()
		r, err := cache.GetOrSet(ctx, x.m.c, x.key, x.m.cfg.TTL, f.load, x.m.callOptions(x.r)...)
		got.response, got.err = r.response, err
	})
	select {
	case loading := <-f.offer:
		unwatch()
		x.lead(loading, f, done, fwd)
		return res, true
	case res = <-done:
		if res.thrown != nil {
			panic(res.thrown)
		}
		return res, false
	}
}

// lead calls the handler for all who wait.
func (x *exchange) lead(loading context.Context, f *fill, done <-chan loaded, fwd string) {
	// Where the handler panics, or ends its goroutine.
	defer f.settle(nil, errAborted)
	ctx, stop := f.handlerContext(loading, x.r.Context())
	defer stop()
	rec := &recorder{x: x, f: f, ctx: ctx, done: done, fwd: fwd, before: x.w.Header().Clone()}
	x.m.next.ServeHTTP(rec, unconditional(x.r.WithContext(ctx)))
	rec.finish()
}

// forward calls the handler for this client alone.
func (x *exchange) forward(state, status string) {
	x.sign(state, status)
	x.m.next.ServeHTTP(x.w, x.r)
}
