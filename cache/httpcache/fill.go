package httpcache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/freshet-dev/freshet/cache"
)

// What those are told who wait for a response. Errors that wrap ErrNotFound are
// no failures of the handler: no expired response is served in their place.
var (
	errRefused   = fmt.Errorf("httpcache: the response cannot be stored: %w", cache.ErrNotFound)
	errPersonal  = fmt.Errorf("httpcache: the response is for one user: %w", cache.ErrNotFound)
	errAbandoned = fmt.Errorf("httpcache: the client went away before the handler was called: %w", cache.ErrNotFound)
	errBusy      = fmt.Errorf("httpcache: too many responses are being stored: %w", cache.ErrNotFound)
	errFailed    = errors.New("httpcache: the handler answered with an error")
	errAborted   = errors.New("httpcache: the handler did not finish")
	errTooLong   = errors.New("httpcache: the handler took too long for others to wait")
)

// fill stands between the cache's loader, which runs in a goroutine of the
// cache's, and the request that started it, which calls the handler in its own.
type fill struct {
	m       *middleware
	key     string
	offer   chan context.Context // the loader's context, to whoever is to call the handler
	gone    chan struct{}        // closed when nobody takes the offer any more
	outcome chan outcome         // one, of settle

	mu      sync.Mutex
	settled bool                    // guarded by mu
	left    error                   // why the client's context ended; guarded by mu
	cancel  context.CancelCauseFunc // ends the handler's context; guarded by mu
}

type outcome struct {
	response *response
	err      error
}

func newFill(m *middleware, key string) *fill {
	return &fill{
		m: m, key: key,
		offer: make(chan context.Context), gone: make(chan struct{}), outcome: make(chan outcome, 1),
	}
}

// load is the loader. It waits for what the handler makes.
func (f *fill) load(ctx context.Context) (stored, error) {
	defer f.m.leading.Add(-1)
	if f.m.leading.Add(1) > maxLeading {
		return stored{}, errBusy
	}
	select {
	case f.offer <- ctx:
	case <-f.gone:
		return stored{}, errAbandoned
	}
	var o outcome
	select {
	case o = <-f.outcome:
	case <-ctx.Done():
		f.settle(nil, errTooLong)
		o = <-f.outcome
	}
	if o.response != nil {
		cache.LimitTTL(ctx, o.response.ttl) // which may be shorter than Config.TTL
	}
	return stored{o.response}, o.err
}

// settle ends the wait of the others, and reports whether it was the first to.
func (f *fill) settle(r *response, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settled {
		return false
	}
	f.settled = true
	f.outcome <- outcome{r, err}
	// From now on the handler works for its client alone.
	if f.left != nil && f.cancel != nil {
		f.cancel(f.left)
	}
	return true
}

// refuse settles that the response is not stored, and remembers it. personal says
// that the response to a request without credentials might be.
func (f *fill) refuse(personal bool) {
	err := errRefused
	if personal {
		err = errPersonal
	}
	if f.settle(nil, err) {
		f.m.passes.mark(f.key, personal)
	}
}

// open reports whether the response is still to be stored.
func (f *fill) open() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.settled
}

// clientLeft is called when the client's context has ended. The handler goes on
// while others may wait for its response.
func (f *fill) clientLeft(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = why
	if f.settled {
		f.cancel(why)
	}
}

// handlerContext returns the context of the handler: that of the loader, without
// its end and with the client's deadline.
func (f *fill) handlerContext(loading, client context.Context) (_ context.Context, stop func()) {
	ctx := context.WithValue(context.WithoutCancel(loading), runKey{}, &run{fill: f, loading: loading})
	undo := func() {}
	if deadline, ok := client.Deadline(); ok {
		ctx, undo = context.WithDeadline(ctx, deadline)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	f.cancel = cancel
	f.mu.Unlock()
	unwatch := context.AfterFunc(client, func() { f.clientLeft(context.Cause(client)) })
	return ctx, func() {
		unwatch()
		cancel(nil)
		undo()
	}
}
