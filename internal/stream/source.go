package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	sourcePoll    = 500 * time.Millisecond // how often the stream's identity is asked for
	sourceRetry   = 250 * time.Millisecond // pause between attempts to attach
	sourceRequest = 3 * time.Second        // bound of one request to the server

	readAhead      = 8192     // messages received and not fetched before pulling stops
	readAheadBytes = 16 << 20 // likewise, bytes
)

// arrival is one message or one event of the source, in order.
// Messages are decoded when they are fetched: an Item is many times as large.
type arrival struct {
	msg   *nats.Msg
	seq   uint64
	event *sourceEvent // nil for a message
	end   bool         // nothing more was in the stream when this was sent
}

// sourceEvent tells that reading begins, anew or again.
type sourceEvent struct {
	stream string // id of the stream read from here on; empty: there is none
	reason string // the hole before it; empty: none
}

// source receives the stream's messages in order, from the one behind its
// cursor, through whatever happens to the connection and to the stream, and
// says where the order was interrupted. It judges nothing but whether the
// cursor is still in the stream.
type source struct {
	s      *Stream
	cancel context.CancelFunc
	done   sync.WaitGroup
	note   chan struct{} // signalled when something was queued

	mu       sync.Mutex
	queue    []arrival // guarded by mu
	bytes    int       // of the queue's messages, guarded by mu
	at       cursor    // guarded by mu
	pull     *pull     // the present one, guarded by mu
	deleted  bool      // the stream's absence was reported; only used by run
	progress uint64    // counts messages, guarded by mu

	link   context.Context    //nolint:containedctx // a background owner's own: lasts as long as the connection does; guarded by mu
	unlink context.CancelFunc // guarded by mu
}

func newSource(s *Stream, at cursor) *source {
	ctx, cancel := context.WithCancel(context.Background())
	src := &source{s: s, cancel: cancel, note: make(chan struct{}, 1), at: at}
	src.link, src.unlink = context.WithCancel(ctx)
	status := s.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CONNECTED, nats.CLOSED)
	src.done.Go(func() {
		defer s.nc.RemoveStatusListener(status)
		src.listen(ctx, status)
	})
	src.done.Go(func() { src.run(ctx) })
	return src
}

func (src *source) close() {
	src.cancel()
	src.done.Wait()
}

// swap returns what was queued, and takes an emptied slice for the next.
func (src *source) swap(empty []arrival) []arrival {
	src.mu.Lock()
	defer src.mu.Unlock()
	got := src.queue
	src.queue, src.bytes = empty[:0], 0
	if src.pull != nil {
		src.pull.request(len(src.queue), src.bytes)
	}
	return got
}

// run attaches to the stream and attaches again whenever there is doubt.
func (src *source) run(ctx context.Context) {
	for ctx.Err() == nil {
		link := src.present()
		p, err := src.attach(link)
		if err != nil {
			if errors.Is(err, ErrMissing) && !src.deleted {
				src.deleted = true
				src.push(arrival{event: &sourceEvent{reason: reasonDeleted}})
			}
			sleep(ctx, sourceRetry)
			continue
		}
		src.deleted = false
		src.watch(link, p)
		src.detach(p, ctx.Err() != nil)
	}
}

// listen ends the present link, and with it every request that waits for an
// answer which will not come, whenever the connection comes or goes.
func (src *source) listen(ctx context.Context, status <-chan nats.Status) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-status:
		}
		src.mu.Lock()
		src.unlink()
		src.link, src.unlink = context.WithCancel(ctx) //nolint:fatcontext // ctx is the source's, not the link before
		src.mu.Unlock()
	}
}

// present returns the context of the connection's present link.
func (src *source) present() context.Context {
	src.mu.Lock()
	defer src.mu.Unlock()
	return src.link
}

// attach compares the cursor with the stream, reports a hole, and starts a
// pull consumer behind the cursor or, after a hole, at the first message.
func (src *source) attach(ctx context.Context) (*pull, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*sourceRequest)
	defer cancel()
	info, err := src.s.Info(ctx)
	if err != nil {
		return nil, err
	}
	src.mu.Lock()
	at := src.at
	src.mu.Unlock()
	var here found
	if at.seq >= info.FirstSeq && at.seq <= info.LastSeq && at.seq > 0 && at.stream == info.ID {
		if here, err = src.s.find(ctx, at.seq); err != nil {
			return nil, err
		}
	}
	from, reason := attachAt(at, info, here)
	consumer, err := src.s.js.CreateConsumer(ctx, src.s.cfg.streamName(), jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	p := newPull(src, consumer.CachedInfo().Name)
	// The stream may have been replaced between the two requests; then the
	// consumer reads one that was never compared with the cursor.
	after, err := src.s.Info(ctx)
	if err == nil && after.ID != info.ID {
		err = errors.New("stream replaced while attaching")
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	pending := consumer.CachedInfo().NumPending
	if pending == 0 && from <= info.LastSeq {
		// What stood behind the cursor was deleted one by one, with nothing
		// behind it that could name what is missing.
		if reason == "" {
			reason = reasonRemoved
		}
		at = cursor{seq: info.LastSeq}
	}
	at.stream = info.ID
	if reason != "" && pending > 0 {
		at = cursor{stream: info.ID, seq: from - 1}
	}
	if err := p.subscribe(); err != nil {
		p.stop()
		return nil, err
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	src.at = at
	src.pull = p
	src.queueLocked(arrival{event: &sourceEvent{stream: info.ID, reason: reason}, end: pending == 0})
	p.request(len(src.queue), src.bytes)
	return p, nil
}

// watch returns when the pull consumer can no longer be relied on: also when
// the connection was interrupted, because messages may be lost on the way.
func (src *source) watch(ctx context.Context, p *pull) {
	ticker := time.NewTicker(sourcePoll)
	defer ticker.Stop()
	var progress uint64
	stalled := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.failed:
			return
		case <-ticker.C:
		}
		src.mu.Lock()
		at, seen, full := src.at, src.progress, src.fullLocked()
		src.mu.Unlock()
		if p.silent() {
			return
		}
		request, cancel := context.WithTimeout(ctx, sourceRequest)
		info, err := src.s.Info(request)
		cancel()
		switch {
		case errors.Is(err, ErrMissing):
			return
		case err != nil:
			continue
		case info.ID != at.stream || info.LastSeq < at.seq:
			return
		case info.LastSeq > at.seq && seen == progress && !full:
			// Nothing came although something is there: removed, or lost on
			// the way. Two looks, because it may just be on the way.
			if stalled++; stalled > 2 {
				return
			}
		default:
			stalled = 0
		}
		progress = seen
	}
}

// detach stops receiving from p. With remove it also deletes the consumer,
// which otherwise goes when it has been idle for a minute.
func (src *source) detach(p *pull, remove bool) {
	src.mu.Lock()
	src.pull = nil
	src.mu.Unlock()
	p.stop()
	if remove {
		p.remove()
	}
}

// receive takes a message of the present pull consumer, in order.
func (src *source) receive(p *pull, msg *nats.Msg, seq uint64, last bool) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.pull != p {
		return
	}
	src.at.seq, src.at.id = seq, headerValue(msg.Header, headerID)
	src.progress++
	src.bytes += len(msg.Data)
	src.queueLocked(arrival{msg: msg, seq: seq, end: last})
	p.request(len(src.queue), src.bytes)
}

func (src *source) push(a arrival) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.queueLocked(a)
}

func (src *source) queueLocked(a arrival) {
	src.queue = append(src.queue, a)
	if len(src.queue) == 1 {
		select {
		case src.note <- struct{}{}:
		default:
		}
	}
}

func (src *source) fullLocked() bool {
	return len(src.queue) >= src.s.readAhead || src.bytes >= readAheadBytes
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
