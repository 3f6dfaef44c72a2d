package stream

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// TestReaderBoundsWhatItTakesIn: large messages that nobody fetches yet do not
// pile up here, and arrive when they are fetched.
func TestReaderBoundsWhatItTakesIn(t *testing.T) {
	t.Parallel()
	const count, size = 100, 600 << 10
	s := open(t, testConfig(t))
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	data := bytes.Repeat([]byte("x"), size)
	for range count {
		if err := x.Publish(testContext(t), s.Subjects().Changes("public", "orders"), 1, data); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	if err := x.Flush(testContext(t)); err != nil {
		t.Fatalf("flush: %v", err)
	}
	r := reader(t, s, Point{Epoch: epochA, LSN: 1})
	held := func() int {
		r.src.mu.Lock()
		defer r.src.mu.Unlock()
		return r.src.bytes
	}
	for deadline := time.Now().Add(patience); held() < readAheadBytes; {
		if time.Now().After(deadline) {
			t.Fatalf("took in %d bytes, want %d at least", held(), readAheadBytes)
		}
	}
	got := 0
	for i := 0; i < count+1; {
		if n := held(); n > readAheadBytes+2*pullBytes {
			t.Fatalf("holds %d bytes, want %d at most", n, readAheadBytes+2*pullBytes)
		}
		items := fetch(t, r, 1)
		for _, item := range items {
			got += len(item.Data)
		}
		i += len(items)
	}
	if got < count*size {
		t.Errorf("got %d bytes, want %d", got, count*size)
	}
	if b, broken := r.Broken(); broken {
		t.Errorf("broken: %+v", b)
	}
}

// TestReaderConsumerDeleted: somebody tidies up the reader's ephemeral
// consumer. Nothing is lost, so nothing breaks.
func TestReaderConsumerDeleted(t *testing.T) {
	t.Parallel()
	h, x, at := settled(t, open(t, testConfig(t)))
	w := newWitness(t, h.s, at, false)
	h.sent(x, 51, 60)
	w.reach(61)
	w.r.src.mu.Lock()
	consumer := w.r.src.pull.consumer
	w.r.src.mu.Unlock()
	if err := h.s.js.DeleteConsumer(testContext(t), h.s.cfg.streamName(), consumer); err != nil {
		t.Fatalf("delete: %v", err)
	}
	h.sent(x, 61, 70)
	w.reach(71)
	if n, last := w.r.Breaks(); n != 0 {
		t.Errorf("%d breaks, the last %+v, want none", n, last)
	}
}

func TestReaderCountsBreaks(t *testing.T) {
	t.Parallel()
	h, _, at := settled(t, open(t, testConfig(t)))
	w := newWitness(t, h.s, at, false)
	if err := h.s.nc.Publish(h.subject(), []byte("not ours")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	w.broken(reasonForeign)
	h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 51}), 51, 52)
	w.reach(53)
	if n, last := w.r.Breaks(); n != 1 || last.Reason != reasonForeign {
		t.Errorf("got %d breaks, the last %+v, want the foreign message", n, last)
	}
}

func TestReaderClose(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	r := reader(t, s, Point{})
	ended := make(chan error)
	go func() {
		_, err := r.Fetch(testContext(t), 10, time.Minute)
		ended <- err
	}()
	if err := r.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("fetch: got %v, want %v", err, ErrClosed)
	}
	if items, err := reader(t, s, Point{}).Fetch(testContext(t), 10, time.Millisecond); len(items) != 0 || err != nil {
		t.Errorf("fetch of nothing: got %d items, %v", len(items), err)
	}
}
