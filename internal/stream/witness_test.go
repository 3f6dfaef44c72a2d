package stream

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// history is the truth of a scenario: transactions 1, 2, 3 … with these commit
// LSNs, each published as one change message.
type history struct {
	s *Stream
	t testing.TB
}

// send publishes the transactions from..to and a mark behind them. Refusals
// are part of some scenarios, so that errors are the caller's business.
func (h history) send(x *Session, from, to cdc.LSN) error {
	ctx := testContext(h.t)
	for lsn := from; lsn <= to; lsn++ {
		if err := x.Publish(ctx, h.subject(), lsn, []byte(lsn.String())); err != nil {
			return err
		}
	}
	return x.Mark(ctx, cdc.Mark{Epoch: epochA, LSN: to + 1, Time: time.Now()})
}

// sent is send for where nothing may go wrong.
func (h history) sent(x *Session, from, to cdc.LSN) {
	h.t.Helper()
	if err := h.send(x, from, to); err != nil {
		h.t.Fatalf("publish %d to %d: %v", from, to, err)
	}
	if err := x.Flush(testContext(h.t)); err != nil {
		h.t.Fatalf("publish %d to %d: %v", from, to, err)
	}
}

func (h history) subject() string { return h.s.Subjects().Changes("public", "orders") }

// raw publishes one message as a writer outside any Session would.
func (h history) raw(subject, id, prev string, lsn cdc.LSN, expected uint64, data []byte) {
	h.t.Helper()
	msg := nats.NewMsg(subject)
	msg.Header.Set(headerID, id)
	msg.Header.Set(headerPrev, prev)
	msg.Header.Set(headerLSN, lsn.String())
	msg.Header.Set(headerExpected, strconv.FormatUint(expected, 10))
	msg.Data = data
	if err := h.s.nc.PublishMsg(msg); err != nil {
		h.t.Fatalf("publish raw: %v", err)
	}
}

func (h history) info() Info {
	h.t.Helper()
	info, err := h.s.Info(testContext(h.t))
	if err != nil {
		h.t.Fatalf("info: %v", err)
	}
	return info
}

// grown waits until the stream's last sequence is the given one: what was
// published raw is stored when the server comes to it.
func (h history) grown(to uint64) {
	h.t.Helper()
	for deadline := time.Now().Add(patience); h.info().LastSeq != to; {
		if time.Now().After(deadline) {
			h.t.Fatalf("last sequence %d, want %d", h.info().LastSeq, to)
		}
	}
}

// witness reads as the invalidator does and checks the promise: when the
// position moves to an LSN, every transaction below it was seen, or its loss
// was declared and everything flushed.
type witness struct {
	t       testing.TB
	r       *Reader
	seen    map[cdc.LSN]bool
	flushed cdc.LSN // everything below was flushed
	point   Point   // the last one moved to
	hole    string  // the first broken promise
	breaks  map[string]bool
}

// newWitness reads from a position at which all below its LSN is applied.
func newWitness(t testing.TB, s *Stream, from Point, trusting bool) *witness {
	t.Helper()
	r := reader(t, s, from)
	r.mu.Lock()
	r.continuity.trusting = trusting
	r.mu.Unlock()
	return &witness{t: t, r: r, seen: map[cdc.LSN]bool{}, flushed: from.LSN, point: from, breaks: map[string]bool{}}
}

// step fetches once and checks.
func (w *witness) step(wait time.Duration) int {
	w.t.Helper()
	items, err := w.r.Fetch(testContext(w.t), 500, wait)
	if err != nil {
		w.t.Fatalf("fetch: %v", err)
	}
	for _, item := range items {
		if item.Kind == KindChange {
			w.seen[item.LSN] = true
		}
		if item.Movable {
			w.moved(item.Point)
		}
	}
	if b, broken := w.r.Broken(); broken {
		w.breaks[b.Reason] = true
	}
	return len(items)
}

func (w *witness) moved(p Point) {
	for lsn := w.flushed; lsn < p.LSN && w.hole == ""; lsn++ {
		if lsn > 0 && !w.seen[lsn] {
			w.hole = fmt.Sprintf("position at sequence %d passed LSN %s, but transaction %s was never seen", p.Seq, p.LSN, lsn)
		}
	}
	w.point = p
}

// until steps until done, or fails.
func (w *witness) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		w.step(20 * time.Millisecond)
		if time.Now().After(deadline) {
			b, broken := w.r.Broken()
			w.t.Fatalf("never %s: position %+v, broken %v %+v", what, w.point, broken, b)
		}
	}
}

// broken steps until the reader reports a break for the given reason.
func (w *witness) broken(reason string) {
	w.t.Helper()
	w.until("broken: "+reason, func() bool {
		b, broken := w.r.Broken()
		return broken && b.Reason == reason
	})
}

// reach steps until the position has passed everything below lsn.
func (w *witness) reach(lsn cdc.LSN) {
	w.t.Helper()
	w.until(fmt.Sprintf("reached %d", lsn), func() bool {
		_, broken := w.r.Broken()
		return !broken && w.point.LSN >= lsn
	})
}

// adopt flushes everything and adopts the lost start.
func (w *witness) adopt() {
	w.t.Helper()
	w.until("lost", func() bool { b, broken := w.r.Broken(); return broken && b.Lost })
	b, _ := w.r.Broken()
	w.flushed = max(w.flushed, b.Point.LSN)
	w.r.Adopt(b.Point)
}

// drain reads to the stream's last message. It works only with the check
// switched off, when every message moves the point.
func (w *witness) drain() {
	w.t.Helper()
	info, err := w.r.src.s.Info(testContext(w.t))
	if err != nil {
		w.t.Fatalf("info: %v", err)
	}
	w.until("read to the end", func() bool { return w.point.Stream == info.ID && w.point.Seq == info.LastSeq })
}

// both runs a scenario twice: as it is, when no promise may break and repair
// must bring the position to the end, and with the check switched off, when
// the hole must show, or the scenario proves nothing. A scenario leaves a hole
// in what the reader can see, and returns how it is repaired.
func both(t *testing.T, scenario func(t *testing.T, trusting bool) (w *witness, repair func())) {
	t.Helper()
	t.Run("checked", func(t *testing.T) {
		t.Parallel()
		w, repair := scenario(t, false)
		repair()
		if w.hole != "" {
			t.Errorf("promise broken: %s", w.hole)
		}
	})
	t.Run("unchecked", func(t *testing.T) {
		t.Parallel()
		w, _ := scenario(t, true)
		w.drain()
		if w.hole == "" {
			t.Errorf("with the check switched off no hole was seen: the scenario has none")
		}
	})
}
