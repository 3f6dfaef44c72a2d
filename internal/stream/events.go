package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// eventBuffer is how many events wait while NATS is slow; events are one line
// per change of state, so that more would mean something is looping.
const eventBuffer = 256

// eventRetry is how often an event that waits for NATS is tried again.
const eventRetry = 250 * time.Millisecond

// Event is announced on the events stream.
type Event struct {
	Kind    string         `json:"kind"`
	Time    time.Time      `json:"time"`
	Role    string         `json:"role"`
	Message string         `json:"message"` // one sentence for people, with the remedy
	Fields  map[string]any `json:"fields,omitempty"`
}

// quietEvents are kinds that tell of ordinary work; the others are warnings.
var quietEvents = []string{"slot_created", "takeover", "paused", "resumed", "flushed", "rules_changed", "bulk", "control", "replay", "verify", "fresh"}

// Emit logs the event and publishes it. It never blocks. While NATS is away events
// wait for it; when too many do, or the process ends, the log line is all that
// remains. A zero Time becomes now.
func (s *Stream) Emit(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	level := slog.LevelWarn
	if slices.Contains(quietEvents, e.Kind) {
		level = slog.LevelInfo
	}
	attrs := []any{"event", e.Kind, "role", e.Role}
	for _, key := range sortedKeys(e.Fields) {
		attrs = append(attrs, key, e.Fields[key])
	}
	s.log.Log(context.Background(), level, e.Message, attrs...) //nolint:sloglint // the event's sentence is the line
	s.events.add(e)
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// eventQueue publishes events in a goroutine of its own.
type eventQueue struct {
	s     *Stream
	queue chan Event
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

func newEventQueue(s *Stream) *eventQueue {
	q := &eventQueue{s: s, queue: make(chan Event, eventBuffer), stop: make(chan struct{})}
	q.wg.Go(q.run)
	return q
}

func (q *eventQueue) add(e Event) {
	select {
	case <-q.stop:
	case q.queue <- e:
	default:
		q.s.log.Debug("event not published, too many are waiting", "event", e.Kind)
	}
}

// run publishes until close, and then what is left.
func (q *eventQueue) run() {
	for {
		select {
		case e := <-q.queue:
			q.publish(e)
			continue
		default:
		}
		select {
		case e := <-q.queue:
			q.publish(e)
		case <-q.stop:
			return
		}
	}
}

func (q *eventQueue) publish(e Event) {
	data, err := json.Marshal(e)
	if err != nil {
		q.s.log.Debug("event not published", "event", e.Kind, "error", err)
		return
	}
	for {
		err := q.s.nc.Publish(q.s.Subjects().Event(e.Kind), data)
		if err == nil {
			return
		}
		select {
		case <-q.stop:
			q.s.log.Debug("event not published", "event", e.Kind, "error", err)
			return
		case <-time.After(eventRetry):
		}
	}
}

func (q *eventQueue) close() {
	q.once.Do(func() { close(q.stop) })
	q.wg.Wait()
}

const (
	headerReason  = "Freshet-Reason"
	headerDropped = "Freshet-Dropped" // bytes of a message too large to keep
	maxReason     = 1024
)

// DeadLetter copies a message that could not be evaluated to the dead-letter
// stream: the message as it was, with the reason in the header Freshet-Reason.
// It waits until the copy is stored.
func (s *Stream) DeadLetter(ctx context.Context, schema, table, reason string, data []byte) error {
	msg := nats.NewMsg(s.Subjects().Dead(schema, table))
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	msg.Header.Set(headerReason, reason)
	msg.Data = data
	if int64(len(data)+2*maxReason) > s.nc.MaxPayload() {
		msg.Header.Set(headerDropped, strconv.Itoa(len(data)))
		msg.Data = nil
	}
	if _, err := s.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("dead letter for %s.%s: %w", schema, table, err)
	}
	return nil
}
