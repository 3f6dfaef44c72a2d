package stream

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// stored returns the headers of a message of the change stream.
func stored(t *testing.T, s *Stream, seq uint64) nats.Header {
	t.Helper()
	js, err := s.js.Stream(testContext(t), s.cfg.streamName())
	if err != nil {
		t.Fatalf("stream: %v", err)
	}
	msg, err := js.GetMsg(testContext(t), seq)
	if err != nil {
		t.Fatalf("message %d: %v", seq, err)
	}
	return msg.Header
}

func TestSessionChains(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	h := history{s: s, t: t}
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 0x1A2B3C8})
	h.sent(x, 0x1A2B3C8, 0x1A2B3C9)
	y := begin(t, s, cdc.Start{Epoch: epochA, From: 0x1A2B3CA})
	if err := y.Gap(testContext(t), cdc.Gap{ID: "g", Epoch: epochA, LSN: 0x1A2B3CA}); err != nil {
		t.Fatalf("gap: %v", err)
	}
	if err := y.Flush(testContext(t)); err != nil {
		t.Fatalf("flush: %v", err)
	}
	wantIDs := []string{x.id + ":1", x.id + ":2", x.id + ":3", x.id + ":4", y.id + ":1", y.id + ":2"}
	prev := ""
	for i, want := range wantIDs {
		header := stored(t, s, uint64(i+1))
		if got := header.Get("Freshet-Id"); got != want {
			t.Errorf("message %d: id %q, want %q", i+1, got, want)
		}
		if got := header.Get("Freshet-Prev"); got != prev {
			t.Errorf("message %d: prev %q, want %q", i+1, got, prev)
		}
		if got := header.Get("Nats-Msg-Id"); got != "" {
			t.Errorf("message %d: has a Nats-Msg-Id %q", i+1, got)
		}
		prev = want
	}
	if got, want := stored(t, s, 2).Get("Freshet-Lsn"), "0/1A2B3C8"; got != want {
		t.Errorf("lsn: got %q, want %q", got, want)
	}
	if messages, size, last := y.Published(); messages != 2 || size == 0 || last != 6 {
		t.Errorf("published: got %d messages, %d bytes, last sequence %d, want 2, some, 6", messages, size, last)
	}
}

func TestSessionSecondWriter(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	h := history{s: s, t: t}
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	h.sent(x, 1, 10)
	y := begin(t, s, cdc.Start{Epoch: epochA, From: 11})
	h.sent(y, 11, 30) // far enough that no sequence matches by accident
	err := errors.Join(h.send(x, 11, 12), x.Flush(testContext(t)))
	var api *jetstream.APIError
	if !errors.Is(err, ErrSessionEnded) || !errors.As(err, &api) || api.ErrorCode != errCodeWrongSequence {
		t.Errorf("the first writer: got %v, want %v by a wrong last sequence", err, ErrSessionEnded)
	}
	<-x.Done()
	before := h.info().LastSeq
	if err := h.send(x, 33, 34); !errors.Is(err, ErrSessionEnded) {
		t.Errorf("after the end: got %v, want %v", err, ErrSessionEnded)
	}
	h.sent(y, 31, 32)
	if got, want := h.info().LastSeq, before+3; got != want {
		t.Errorf("last sequence: got %d, want %d: the ended session sent something", got, want)
	}
	if got, want := x.AckedMark(), cdc.LSN(11); got != want {
		t.Errorf("acked mark of the ended session: got %s, want %s", got, want)
	}
}

// TestSessionWindow stops the server from answering: the window fills and
// Publish waits, bounded by its context.
func TestSessionWindow(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	s := open(t, remoteConfig(t, server))
	h := history{s: s, t: t}
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	if err := server.Pause(); err != nil {
		t.Fatalf("pause: %v", err)
	}
	var err error
	for lsn := cdc.LSN(1); err == nil && lsn <= sessionWindow; lsn++ {
		err = x.Publish(testContext(t), h.subject(), lsn, []byte("x"))
	}
	if err == nil { // the window is full
		ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond)
		defer cancel()
		err = x.Publish(ctx, h.subject(), sessionWindow+1, []byte("x"))
	}
	if resumed := server.Resume(); resumed != nil {
		t.Fatalf("resume: %v", resumed)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("publish into a full window: got %v, want %v", err, context.DeadlineExceeded)
	}
	if got, _, _ := x.Published(); got != sessionWindow+1 {
		t.Errorf("published: got %d, want a full window of %d behind the start", got, sessionWindow)
	}
	if err := x.Flush(testContext(t)); err != nil {
		t.Errorf("flush after the pause: %v", err)
	}
	h.sent(x, 5000, 5001)
}

func TestSessionWindowBytes(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	if err := x.subs.Unsubscribe(); err != nil { // acknowledgements stay out
		t.Fatalf("unsubscribe: %v", err)
	}
	data := bytes.Repeat([]byte("x"), 900<<10)
	publish := func(ctx context.Context) error {
		return x.Publish(ctx, s.Subjects().Changes("public", "orders"), 1, data)
	}
	fit := sessionWindowBytes / len(data)
	for n := range fit {
		if err := publish(testContext(t)); err != nil {
			t.Fatalf("message %d of %d that fit: %v", n, fit, err)
		}
	}
	ctx, cancel := context.WithTimeout(testContext(t), 200*time.Millisecond)
	defer cancel()
	if err := publish(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("beyond %d MiB on the way: got %v, want %v", sessionWindowBytes>>20, err, context.DeadlineExceeded)
	}
	if got := x.pending; got > sessionWindowBytes {
		t.Errorf("bytes on the way: got %d, want %d at most", got, sessionWindowBytes)
	}
}

func TestSessionNoAck(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	if err := x.subs.Unsubscribe(); err != nil {
		t.Fatalf("unsubscribe: %v", err)
	}
	if err := x.Publish(testContext(t), s.Subjects().Changes("public", "orders"), 1, nil); err != nil {
		t.Fatalf("publish: %v", err)
	}
	if err := x.Flush(testContext(t)); !errors.Is(err, ErrSessionEnded) || !errors.Is(err, errNoAck) {
		t.Errorf("got %v, want %v: %v", err, ErrSessionEnded, errNoAck)
	}
}

func TestSessionTooLarge(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	h := history{s: s, t: t}
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	data := bytes.Repeat([]byte("x"), int(s.nc.MaxPayload()))
	if err := x.Publish(testContext(t), h.subject(), 1, data); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
	if err := x.Publish(testContext(t), h.subject(), 1, data[:len(data)-headerRoom]); err != nil {
		t.Errorf("the largest message: %v", err)
	}
	h.sent(x, 1, 2) // the session goes on
}

func TestSessionServerGone(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	s := open(t, remoteConfig(t, server))
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	if err := server.Kill(); err != nil {
		t.Fatalf("kill: %v", err)
	}
	select {
	case <-x.Done():
	case <-time.After(patience):
		t.Fatal("the session did not notice that its server died")
	}
	if err := server.Start(testContext(t)); err != nil {
		t.Fatalf("start: %v", err)
	}
	if err := x.Mark(testContext(t), cdc.Mark{Epoch: epochA, LSN: 2}); !errors.Is(err, ErrSessionEnded) {
		t.Errorf("after the reconnect: got %v, want %v", err, ErrSessionEnded)
	}
}

func TestParseAck(t *testing.T) {
	t.Parallel()
	header := nats.Header{"Status": []string{"503"}}
	for _, tc := range []struct {
		name string
		msg  *nats.Msg
		seq  uint64
		err  string
	}{
		{"ack", &nats.Msg{Data: []byte(`{"stream":"freshet-shop","seq":42}`)}, 42, ""},
		{"ack with a domain", &nats.Msg{Data: []byte(`{"stream":"freshet-error","domain":"hub", "seq": 42}`)}, 42, ""},
		{"duplicate", &nats.Msg{Data: []byte(`{"stream":"s","seq":42,"duplicate":true}`)}, 42, ""},
		{"refused", &nats.Msg{Data: []byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"s","seq":0}`)}, 0, "wrong last sequence: 7"},
		{"no stream", &nats.Msg{Header: header}, 0, "no response from stream"},
		{"empty", &nats.Msg{}, 0, "invalid jetstream publish response"},
		{"garbage", &nats.Msg{Data: []byte(`{"seq":`)}, 0, "invalid jetstream publish response"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			seq, err := parseAck(tc.msg)
			if seq != tc.seq || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %d, %v, want %d, %q", seq, err, tc.seq, tc.err)
			}
		})
	}
}
