package stream

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// warmWaiting is how many tasks wait to be published at most; beyond that they
	// are dropped.
	warmWaiting = 8192
	// warmEvery is how often the task of one key is published at most: what changes
	// more often is not worth the work, which competes with the invalidations'.
	warmEvery = 50 * time.Millisecond
	// warmOnTheWay is how many have no acknowledgement yet.
	warmOnTheWay   = 512
	warmAckTime    = 5 * time.Second
	warmEnsureTime = 5 * time.Second
)

// WarmPublisher publishes warm tasks in a goroutine of its own. Whoever offers tasks
// never waits: what cannot be published is dropped, and costs a miss.
type WarmPublisher struct {
	s       *Stream
	js      jetstream.JetStream
	queue   chan WarmTask
	unready atomic.Bool // the stream is to be looked for before the next task

	// Keys whose task was published since the last tick, and the tasks that have come
	// for them since. Run's own.
	recent map[string]struct{}
	kept   map[string]WarmTask

	published, merged, dropped atomic.Int64
}

// NewWarmPublisher returns a publisher. Run makes it work.
func (s *Stream) NewWarmPublisher() (*WarmPublisher, error) {
	p := &WarmPublisher{s: s, queue: make(chan WarmTask, warmWaiting), recent: map[string]struct{}{}, kept: map[string]WarmTask{}}
	p.unready.Store(true)
	var err error
	p.js, err = jetstream.New(s.nc,
		jetstream.WithPublishAsyncMaxPending(warmOnTheWay),
		jetstream.WithPublishAsyncTimeout(warmAckTime),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { p.failed(err) }),
		jetstream.WithPublishAsyncAckHandler(func(jetstream.JetStream, *nats.Msg, *jetstream.PubAck) { p.published.Add(1) }),
	)
	return p, err
}

// Offer hands over tasks. It never blocks.
func (p *WarmPublisher) Offer(tasks []WarmTask) {
	for i, t := range tasks {
		select {
		case p.queue <- t:
		default:
			p.dropped.Add(int64(len(tasks) - i))
			return
		}
	}
}

// Counts returns how many tasks the stream has taken, how many gave way to a later one
// of the same key, and how many were dropped.
func (p *WarmPublisher) Counts() (published, merged, dropped int64) {
	return p.published.Load(), p.merged.Load(), p.dropped.Load()
}

// Run publishes what is offered until ctx ends: a key's first task at once, and then
// the last one of every 50 ms.
func (p *WarmPublisher) Run(ctx context.Context) error {
	defer p.js.CleanupPublisher()
	tick := time.NewTimer(0)
	defer tick.Stop()
	ticking := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-p.queue:
			p.take(ctx, t)
			if !ticking {
				tick.Reset(warmEvery)
				ticking = true
			}
		case <-tick.C:
			clear(p.recent)
			for key, t := range p.kept {
				p.send(ctx, t)
				p.recent[key] = struct{}{}
			}
			clear(p.kept)
			if ticking = len(p.recent) > 0; ticking {
				tick.Reset(warmEvery)
			}
		}
	}
}

func (p *WarmPublisher) take(ctx context.Context, t WarmTask) {
	if _, waits := p.kept[t.Key]; waits {
		p.merged.Add(1)
		p.kept[t.Key] = t
		return
	}
	switch _, recent := p.recent[t.Key]; {
	case !recent:
		p.send(ctx, t)
		p.recent[t.Key] = struct{}{}
	case len(p.kept) < warmWaiting:
		p.kept[t.Key] = t
	default:
		p.dropped.Add(1)
	}
}

// send publishes a task if its stream is there.
func (p *WarmPublisher) send(ctx context.Context, t WarmTask) {
	if p.unready.Load() && !p.ensure(ctx) {
		p.dropped.Add(1)
		return
	}
	p.publish(t)
}

// ensure looks for the stream, and pauses where it cannot be had.
func (p *WarmPublisher) ensure(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, warmEnsureTime)
	defer cancel()
	err := p.s.EnsureWarm(limited)
	if err == nil {
		p.unready.Store(false)
		return true
	}
	p.s.log.Debug("the stream of warm tasks is not to be had", "error", err)
	timer := time.NewTimer(time.Second + rand.N(time.Second))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

func (p *WarmPublisher) publish(t WarmTask) {
	data, err := json.Marshal(t)
	if err == nil {
		_, err = p.js.PublishMsgAsync(&nats.Msg{Subject: p.s.Subjects().Warm(t.Key), Data: data}, jetstream.WithRetryAttempts(1))
	}
	if err != nil {
		p.failed(err)
	}
}

func (p *WarmPublisher) failed(err error) {
	p.dropped.Add(1)
	// Whatever it was, the stream may have gone; but a full queue says nothing of it.
	if !errors.Is(err, jetstream.ErrTooManyStalledMsgs) {
		p.unready.Store(true)
	}
}
