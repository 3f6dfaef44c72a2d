package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// warmDurable is the one durable that all warmers of an instance share.
	warmDurable = "warmer"

	warmMaxAge     = time.Minute // what waited longer has been asked for by readers
	warmMaxMsgs    = 100_000
	warmMaxBytes   = 64 << 20
	warmAckWait    = 30 * time.Second
	warmAckPending = 4096 // of all warmers together

	// WarmDeliveries is how often a task is delivered at most.
	WarmDeliveries = 5
)

// WarmTask asks for a key to be filled again.
type WarmTask struct {
	// Query is the ID of the warm query.
	Query string `json:"query"`
	// Rule is the name of the query's rule, for people.
	Rule string `json:"rule"`
	// Key is the key, without the cache's prefix.
	Key string `json:"key"`
	// Args are the query's parameters in text form; nil is NULL.
	Args []*string `json:"args,omitempty"`
}

// EnsureWarm creates the memory stream of warm tasks where it is missing: it goes
// with the server that held it, and so do the tasks, each of which costs a miss. It
// returns a *SettingsError for one that is of no use and cannot be changed.
func (s *Stream) EnsureWarm(ctx context.Context) error {
	want := jetstream.StreamConfig{
		Name:        s.cfg.warmName(),
		Description: "Freshet " + s.cfg.Name + ": keys to fill again",
		Subjects:    []string{"freshet." + s.cfg.Name + ".warm.*"},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.MemoryStorage,
		// One message a subject, so one for each key: a repetition takes the place
		// of what still waits.
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		MaxAge:            warmMaxAge,
		MaxMsgs:           warmMaxMsgs,
		MaxBytes:          warmMaxBytes,
		Duplicates:        minDuplicates,
		Replicas:          s.cfg.Replicas,
	}
	have, err := s.js.Stream(ctx, want.Name)
	if err == nil {
		c := have.CachedInfo().Config
		if err := s.anothers(c); err != nil {
			return err
		}
		if slices.Equal(c.Subjects, want.Subjects) && c.Retention == want.Retention && c.MaxMsgsPerSubject == 1 && c.Discard == want.Discard {
			return nil
		}
	}
	if _, err = s.js.CreateOrUpdateStream(ctx, want); err == nil {
		return nil
	}
	if isSettings(err) {
		return &SettingsError{
			Stream: want.Name, Setting: "cannot be updated: " + err.Error(),
			Remedy: fmt.Sprintf("remove it with `nats stream rm %s`: it holds nothing that is missed", want.Name),
		}
	}
	return s.createError(ctx, want, err)
}

// WarmQueue is where a warmer takes its tasks from.
type WarmQueue struct {
	s        *Stream
	consumer jetstream.Consumer
}

// WarmQueue creates what is missing of stream and durable, and returns the queue. Any
// number of warmers share it. Ask for another one when Next returns an error.
func (s *Stream) WarmQueue(ctx context.Context) (*WarmQueue, error) {
	if err := s.EnsureWarm(ctx); err != nil {
		return nil, err
	}
	c, err := s.js.CreateOrUpdateConsumer(ctx, s.cfg.warmName(), jetstream.ConsumerConfig{
		Durable:       warmDurable,
		Description:   "warmers of " + s.cfg.Name,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       warmAckWait,
		MaxDeliver:    WarmDeliveries,
		MaxAckPending: warmAckPending,
		MemoryStorage: true,
	})
	if err != nil {
		return nil, fmt.Errorf("durable %q of stream %q: %w", warmDurable, s.cfg.warmName(), err)
	}
	return &WarmQueue{s: s, consumer: c}, nil
}

// Next waits for a task until ctx ends, no longer than wait; then it returns nil.
func (q *WarmQueue) Next(ctx context.Context, wait time.Duration) (*Warming, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg, err := q.consumer.Next(jetstream.FetchContext(ctx))
	switch {
	case err == nil:
		return &Warming{msg: msg}, nil
	case !q.s.nc.IsConnected():
		return nil, fmt.Errorf("next warm task: %w", nats.ErrDisconnected)
	case ctx.Err() != nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages):
		return nil, nil //nolint:nilnil // nothing is to be done, and that is no error
	default:
		return nil, fmt.Errorf("next warm task: %w", err)
	}
}

// Warming is a task that was taken from the queue. Done, Again or Drop ends it; if
// none does, it is delivered again after 30 s without a Working.
type Warming struct{ msg jetstream.Msg }

// Task decodes the task.
func (w *Warming) Task() (WarmTask, error) {
	var t WarmTask
	err := json.Unmarshal(w.msg.Data(), &t)
	if err == nil && (t.Query == "" || t.Key == "") {
		err = errors.New("it names no query or no key")
	}
	if err != nil {
		return WarmTask{}, fmt.Errorf("decode warm task: %w", err)
	}
	return t, nil
}

// Delivery is how often the task has been delivered, this time included.
func (w *Warming) Delivery() int {
	meta, err := w.msg.Metadata()
	if err != nil {
		return WarmDeliveries
	}
	return int(min(meta.NumDelivered, WarmDeliveries))
}

// Working says that the task needs longer.
func (w *Warming) Working() error { return w.msg.InProgress() }

// Done takes the task off the queue.
func (w *Warming) Done() error { return w.msg.Ack() }

// Again puts the task back for a while, or drops it after its last delivery.
func (w *Warming) Again(after time.Duration) error {
	if w.Delivery() >= WarmDeliveries {
		return w.msg.Term()
	}
	return w.msg.NakWithDelay(after)
}
