package stream

import (
	"context"
	"sync"
	"time"
)

// Reader reads the change stream in order and survives reconnects, re-creation
// and purges of the stream; it never errors but on the caller's context or
// Close. Fetch is called by one goroutine; Broken and Adopt by any.
type Reader struct {
	src     *source
	decoder decoder
	closed  chan struct{}
	once    sync.Once

	mu         sync.Mutex
	continuity *continuity // guarded by mu

	// What was taken from the source and not handed out; only used by Fetch.
	pending []arrival
	next    int
	// caughtUp is true when what was handed out last was the end of the
	// stream when it was sent; only used by Fetch's goroutine.
	caughtUp bool
}

// NewReader begins behind from. A Point without a sequence begins at the
// stream's first message and is broken until a start bridges it (a fresh
// instance adopts its first start after deciding what to flush).
func (s *Stream) NewReader(_ context.Context, from Point) (*Reader, error) {
	if s.nc.IsClosed() {
		return nil, ErrClosed
	}
	return &Reader{
		src:        newSource(s, cursor{stream: from.Stream, seq: from.Seq, id: from.ID}),
		decoder:    newDecoder(s.Subjects()),
		closed:     make(chan struct{}),
		continuity: newContinuity(from, time.Now()),
	}, nil
}

// Fetch returns what is there, at least one item and at most limit, waiting up
// to wait for the first; none after wait.
func (r *Reader) Fetch(ctx context.Context, limit int, wait time.Duration) ([]Item, error) {
	var timer *time.Timer
	for {
		select {
		case <-r.closed:
			return nil, ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if items := r.take(limit); len(items) > 0 {
			return items, nil
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		}
		select {
		case <-r.src.note:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-r.closed:
			return nil, ErrClosed
		}
	}
}

// take judges and returns what has arrived.
func (r *Reader) take(limit int) []Item {
	if r.next == len(r.pending) {
		r.pending, r.next = r.src.swap(r.pending), 0
		if len(r.pending) == 0 {
			return nil
		}
	}
	items := make([]Item, 0, min(limit, len(r.pending)-r.next))
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.next < len(r.pending) && len(items) < limit {
		a := &r.pending[r.next]
		r.next++
		r.caughtUp = a.end
		if a.event != nil {
			r.continuity.attach(a.event.stream, a.event.reason, now)
		} else {
			items = items[:len(items)+1] // decoded in its place
			item := &items[len(items)-1]
			prev := r.decoder.decode(item, a.msg, a.seq)
			r.continuity.take(item, prev, now)
		}
		*a = arrival{} // the queue must not keep the data alive
	}
	return items
}

// Broken returns the present break, if any. It may be set without an item
// (stream deleted, position beyond its end). It is up to date with the items
// that Fetch has returned.
func (r *Reader) Broken() (Break, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.continuity.broken()
}

// Breaks returns how many breaks there have been since the reader began, and
// the last of them. One that the next message bridges is never seen by Broken,
// and is a loss all the same. That a reader begins without a position is none.
func (r *Reader) Breaks() (int, Break) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.continuity.count, r.continuity.brk
}

// Adopt ends a Lost break after the caller has flushed all coverage: the
// reader continues unbroken from the break's start, at p, the break's Point.
// Items already fetched after it stay unmovable; later ones move.
func (r *Reader) Adopt(p Point) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.continuity.adopt(p)
}

// Close stops reading. A waiting Fetch returns ErrClosed.
func (r *Reader) Close() error {
	r.once.Do(func() {
		close(r.closed)
		r.src.close()
	})
	return nil
}
