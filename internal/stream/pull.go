package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pullBytes     = 8 << 20 // of one request, at least
	pullExpires   = 30 * time.Second
	pullHeartbeat = 500 * time.Millisecond
	// pullSilence is how long the server may say nothing: four heartbeats,
	// and some for a busy machine.
	pullSilence = 4*pullHeartbeat + time.Second
)

// pull is one ephemeral pull consumer and the requests to it. It keeps enough
// requested for the server to send without pause, and no more than fits the
// source's queue. A hole in the consumer's own numbers, or any word from the
// server that the requests are void, closes failed.
//
// The client's ordered consumer is not used, because on its resets it goes on
// at the next sequence of whatever stream it finds under the name.
type pull struct {
	src      *source
	consumer string
	inbox    string
	subject  string // of requests
	body     []byte // of requests
	batch    int    // messages of one request: half of what is read ahead
	sub      *nats.Subscription
	failed   chan struct{}
	dead     atomic.Bool
	heard    atomic.Int64 // when the server was last heard, unix nanoseconds

	outstanding atomic.Int64 // messages requested and not received
	next        uint64       // consumer sequence expected next; only used by handle
}

func newPull(src *source, consumer string) *pull {
	bytes := max(int64(pullBytes), 2*src.s.nc.MaxPayload())
	batch := src.s.readAhead / 2
	return &pull{
		src:      src,
		consumer: consumer,
		inbox:    src.s.nc.NewInbox(),
		subject:  "$JS.API.CONSUMER.MSG.NEXT." + src.s.cfg.streamName() + "." + consumer,
		body: fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
			batch, bytes, pullExpires.Nanoseconds(), pullHeartbeat.Nanoseconds()),
		batch:  batch,
		failed: make(chan struct{}),
		next:   1,
	}
}

// subscribe makes ready to receive; nothing comes before the first request.
func (p *pull) subscribe() error {
	sub, err := p.src.s.nc.Subscribe(p.inbox, p.handle)
	if err != nil {
		return err
	}
	p.sub = sub
	// What is requested bounds what can be pending here.
	return sub.SetPendingLimits(-1, -1)
}

// stop stops receiving.
func (p *pull) stop() {
	p.dead.Store(true)
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // fails only on a closed connection, which has no subscriptions
	}
}

// remove deletes the consumer, best effort.
func (p *pull) remove() {
	s := p.src.s
	if !s.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.js.DeleteConsumer(ctx, s.cfg.streamName(), p.consumer)
}

// request asks for more when the queue has room and half of a batch or more
// has arrived. The source's mutex is held.
func (p *pull) request(queued, queuedBytes int) {
	if p.dead.Load() || queued >= p.src.s.readAhead || queuedBytes >= readAheadBytes {
		return
	}
	if p.outstanding.Load() > int64(p.batch/2) {
		return
	}
	if p.outstanding.Load() <= 0 {
		p.heard.Store(time.Now().UnixNano()) // silence was our own
	}
	p.outstanding.Add(int64(p.batch))
	if err := p.src.s.nc.PublishRequest(p.subject, p.inbox, p.body); err != nil {
		p.fail()
	}
}

// silent reports whether the server has been quiet although it was asked.
func (p *pull) silent() bool {
	return p.outstanding.Load() > 0 && time.Since(time.Unix(0, p.heard.Load())) > pullSilence
}

func (p *pull) fail() {
	if p.dead.CompareAndSwap(false, true) {
		close(p.failed)
	}
}

// handle is called with every message of the inbox, one at a time.
func (p *pull) handle(msg *nats.Msg) {
	if p.dead.Load() {
		return
	}
	p.heard.Store(time.Now().UnixNano())
	if strings.HasPrefix(msg.Reply, "$JS.ACK.") {
		seq, number, pending, ok := ackTokens(msg.Reply)
		if !ok || number != p.next {
			p.fail()
			return
		}
		p.next++
		p.outstanding.Add(-1)
		p.src.receive(p, msg, seq, pending == 0)
		return
	}
	switch msg.Header.Get("Status") {
	case "100": // heartbeat
	case "404", "408":
		p.expired(msg)
	case "409":
		switch msg.Header.Get("Description") {
		case "Batch Completed", "Message Size Exceeds MaxBytes":
			p.expired(msg) // the request's bytes are used up
		default:
			p.fail() // consumer deleted, server shutdown, leadership change
		}
	default: // 503: nobody serves the consumer
		p.fail()
	}
}

// expired gives back what a finished request did not deliver.
func (p *pull) expired(msg *nats.Msg) {
	left, err := strconv.ParseInt(msg.Header.Get("Nats-Pending-Messages"), 10, 64)
	if err != nil {
		p.fail()
		return
	}
	p.outstanding.Add(-left)
	p.src.mu.Lock()
	defer p.src.mu.Unlock()
	p.request(len(p.src.queue), p.src.bytes)
}

// ackTokens reads the stream's sequence, the consumer's sequence and what is
// pending from a message's reply subject:
// $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>, or
// with domain and account hash before the stream and a random token at the end.
func ackTokens(reply string) (seq, number, pending uint64, ok bool) {
	n := strings.Count(reply, ".") + 1
	skip := 5
	switch {
	case n == 9:
	case n >= 12:
		skip = 7
	default:
		return 0, 0, 0, false
	}
	rest := reply
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var numbers [4]uint64 // sseq, cseq, time, pending
	for i := range numbers {
		var token string
		token, rest, _ = strings.Cut(rest, ".")
		v, err := strconv.ParseUint(token, 10, 64)
		if err != nil {
			return 0, 0, 0, false
		}
		numbers[i] = v
	}
	return numbers[0], numbers[1], numbers[3], true
}
