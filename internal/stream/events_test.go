package stream

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// last returns the newest message on a subject of a stream, once there is one.
func last(t *testing.T, s *Stream, name, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	js, err := s.js.Stream(testContext(t), name)
	if err != nil {
		t.Fatalf("stream %s: %v", name, err)
	}
	for deadline := time.Now().Add(patience); ; {
		msg, err := js.GetLastMsgForSubject(testContext(t), subject)
		if err == nil {
			return msg
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", subject, err)
		}
	}
}

func TestEmit(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, cfg)
	s.Emit(Event{Kind: "gap", Role: "consumer", Message: "The slot was lost.", Fields: map[string]any{"slot": "freshet_shop"}})
	var e Event
	if err := json.Unmarshal(last(t, s, s.cfg.eventsName(), "freshet.shop.events.gap").Data, &e); err != nil {
		t.Fatalf("decode: %v", err)
	}
	if e.Kind != "gap" || e.Role != "consumer" || e.Message != "The slot was lost." || e.Fields["slot"] != "freshet_shop" || time.Since(e.Time) > time.Minute {
		t.Errorf("event: got %+v", e)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "slot=freshet_shop") {
		t.Errorf("log: got %q, want one line", got)
	}
}

// TestEmitNeverBlocks: neither a closed connection nor a full queue holds the
// caller.
func TestEmitNeverBlocks(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 * eventBuffer {
			s.Emit(Event{Kind: "gap"})
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("blocked")
	}
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	if err := s.DeadLetter(testContext(t), "public", "Order.Items", "rule error\nin line 2", []byte("data")); err != nil {
		t.Fatalf("dead letter: %v", err)
	}
	subject := s.Subjects().Dead("public", "Order.Items")
	msg := last(t, s, s.cfg.deadName(), subject)
	if string(msg.Data) != "data" || !strings.Contains(msg.Header.Get(headerReason), "rule error") {
		t.Errorf("got %q with %v", msg.Data, msg.Header)
	}
	large := bytes.Repeat([]byte("x"), int(s.nc.MaxPayload()))
	if err := s.DeadLetter(testContext(t), "public", "Order.Items", strings.Repeat("r", 5000), large); err != nil {
		t.Fatalf("large dead letter: %v", err)
	}
	msg = last(t, s, s.cfg.deadName(), subject)
	if len(msg.Data) != 0 || msg.Header.Get(headerDropped) != "1048576" {
		t.Errorf("large: got %d bytes with %v", len(msg.Data), msg.Header)
	}
}
