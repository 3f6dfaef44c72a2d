package stream

import (
	"errors"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// settled publishes transactions 1 to 50 and returns the position behind them.
func settled(t *testing.T, s *Stream) (history, *Session, Point) {
	t.Helper()
	h := history{s: s, t: t}
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	h.sent(x, 1, 50)
	w := newWitness(t, s, Point{Epoch: epochA, LSN: 1}, false)
	w.reach(51)
	if err := w.r.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return h, x, w.point
}

// TestForeignMessageInWindow: somebody publishes into the stream in the middle
// of a pipelined window. The server refuses the next message of ours and takes
// the one after it, whose expected sequence matches by accident.
func TestForeignMessageInWindow(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, x, at := settled(t, openNarrow(t))
		w := newWitness(t, h.s, at, trusting)
		// The acknowledgements wait until the whole window is out.
		acks, err := h.s.nc.SubscribeSync(x.msg.Reply)
		err = errors.Join(err, x.subs.Unsubscribe(), h.send(x, 51, 1000))
		err = errors.Join(err, h.s.nc.Publish(h.subject(), []byte("not ours")), h.send(x, 1001, 2000))
		if err != nil {
			t.Fatalf("publish: %v", err)
		}
		for x.Err() == nil {
			msg, err := acks.NextMsgWithContext(testContext(t))
			if err != nil {
				t.Fatalf("acknowledgements: %v", err)
			}
			x.acknowledge(msg)
		}
		// All up to the foreign message, and all but one behind it.
		h.grown(at.Seq + 951 + 1 + 1000)
		if err := h.send(x, 2001, 2001); !errors.Is(err, ErrSessionEnded) {
			t.Fatalf("the writer did not notice: got %v, want %v", err, ErrSessionEnded)
		}
		return w, func() {
			w.broken(reasonForeign)
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 1001}), 1001, 2010)
			w.reach(2011)
		}
	})
}

// TestZombieSession: a paused writer wakes with a full window in its pipeline
// after another took over. Most of it is refused, and from where the sequences
// match by accident the rest goes in, its mark included.
func TestZombieSession(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, zombie, at := settled(t, open(t, testConfig(t)))
		w := newWitness(t, h.s, at, trusting)
		// The successor begins where the zombie stood and sends in larger
		// pieces: fewer messages for the same transactions.
		successor := begin(t, h.s, cdc.Start{Epoch: epochA, From: 51})
		h.sent(successor, 51, 55)
		last := h.info().LastSeq
		// What the zombie has in its pipeline: transactions 51 to 70 and a
		// mark, numbered from where it was paused.
		n, seq := zombie.sent, zombie.base+zombie.sent
		for lsn := cdc.LSN(51); lsn <= 71; lsn++ {
			subject, data := h.subject(), []byte(lsn.String())
			if lsn == 71 {
				subject, data = h.s.Subjects().Mark(), []byte(`{"epoch":"7301:1:0","lsn":"0/47","time":"2026-11-23T10:00:00Z"}`)
			}
			h.raw(subject, zombie.numbered(n+1), zombie.numbered(n), lsn, seq, data)
			n, seq = n+1, seq+1
		}
		// Transaction 58 is the first whose expected sequence is the last one.
		h.grown(last + 14)
		err := errors.Join(h.send(successor, 56, 57), successor.Flush(testContext(t)))
		if !errors.Is(err, ErrSessionEnded) {
			t.Fatalf("the successor did not notice: got %v", err)
		}
		return w, func() {
			w.broken(reasonChain)
			if w.point.LSN != 56 {
				t.Errorf("position at LSN %s, want 0/38, where the chain broke", w.point.LSN)
			}
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 56}), 56, 80)
			w.reach(81)
		}
	})
}

// TestPurgeWhileReading: a stream is purged of messages that nobody has read,
// and its writer, whom that does not hinder, goes on.
func TestPurgeWhileReading(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, x, at := settled(t, openNarrow(t))
		w := newWitness(t, h.s, at, trusting)
		h.sent(x, 51, 55)
		w.until("read", func() bool { return w.seen[55] })
		// More than the reader takes in without being asked for it.
		h.sent(x, 56, 1_000)
		purge(t, h.s)
		h.sent(x, 1_001, 1_010)
		return w, func() {
			w.until("read to the end", func() bool { return w.seen[1_010] })
			w.broken(reasonChain)
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 56}), 56, 1_020)
			w.reach(1_021)
		}
	})
}

// TestPurgeWhileAway: the same with the reader away, which finds an empty
// stream.
func TestPurgeWhileAway(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, x, at := settled(t, open(t, testConfig(t)))
		h.sent(x, 51, 60)
		purge(t, h.s)
		w := newWitness(t, h.s, at, trusting)
		if !trusting {
			w.broken(reasonRemoved) // before any message says so
		}
		h.sent(x, 61, 62)
		return w, func() {
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 51}), 51, 65)
			w.reach(66)
		}
	})
}

// TestTailDeleted: the last messages are deleted one by one while the reader
// is away; the stream's last sequence stays.
func TestTailDeleted(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, x, at := settled(t, open(t, testConfig(t)))
		h.sent(x, 51, 60)
		js, err := h.s.js.Stream(testContext(t), h.s.cfg.streamName())
		if err != nil {
			t.Fatalf("stream: %v", err)
		}
		for seq := at.Seq + 1; seq <= h.info().LastSeq; seq++ {
			if err := js.SecureDeleteMsg(testContext(t), seq); err != nil {
				t.Fatalf("delete %d: %v", seq, err)
			}
		}
		w := newWitness(t, h.s, at, trusting)
		if !trusting {
			w.broken(reasonRemoved)
		}
		h.sent(x, 61, 62)
		return w, func() {
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 51}), 51, 65)
			w.reach(66)
		}
	})
}

// TestStreamReplacedWhileReading: the stream is deleted and made again, and
// the writer confirmed more than the reader has seen: nobody has it any more.
func TestStreamReplacedWhileReading(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, x, at := settled(t, openNarrow(t))
		w := newWitness(t, h.s, at, trusting)
		h.sent(x, 51, 52)
		w.until("read", func() bool { return w.seen[52] })
		h.sent(x, 53, 1_000)
		if err := h.s.js.DeleteStream(testContext(t), h.s.cfg.streamName()); err != nil {
			t.Fatalf("delete stream: %v", err)
		}
		if !trusting {
			w.broken(reasonDeleted)
		}
		if _, err := h.s.Info(testContext(t)); !errors.Is(err, ErrMissing) {
			t.Fatalf("info of a deleted stream: got %v, want %v", err, ErrMissing)
		}
		if _, err := h.s.NewSession(testContext(t), cdc.Start{Epoch: epochA, From: 1}); !errors.Is(err, ErrMissing) {
			t.Fatalf("session in a deleted stream: got %v, want %v", err, ErrMissing)
		}
		if err := h.s.Ensure(testContext(t)); err != nil {
			t.Fatalf("ensure: %v", err)
		}
		y := begin(t, h.s, cdc.Start{Epoch: epochA, From: 1_001})
		h.sent(y, 1_001, 1_005)
		return w, func() {
			w.adopt()
			h.sent(y, 1_006, 1_010)
			w.reach(1_011)
			if got, want := w.point.Stream, h.info().ID; got != want {
				t.Errorf("stream of the position: got %q, want %q", got, want)
			}
		}
	})
}

// TestStreamReplacedUnnoticed: the new stream is longer than the old one
// before the reader looks again.
func TestStreamReplacedUnnoticed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, _, at := settled(t, open(t, testConfig(t)))
		if err := h.s.js.DeleteStream(testContext(t), h.s.cfg.streamName()); err != nil {
			t.Fatalf("delete stream: %v", err)
		}
		if err := h.s.Ensure(testContext(t)); err != nil {
			t.Fatalf("ensure: %v", err)
		}
		y := begin(t, h.s, cdc.Start{Epoch: epochA, From: 100})
		h.sent(y, 100, 300)
		w := newWitness(t, h.s, at, trusting)
		return w, func() {
			w.until("lost", func() bool { b, _ := w.r.Broken(); return b.Lost })
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 51}), 51, 310)
			w.reach(311)
			if !w.breaks[reasonStartAbove] {
				t.Errorf("breaks seen: %v, want %q among them", w.breaks, reasonStartAbove)
			}
		}
	})
}

func purge(t *testing.T, s *Stream) {
	t.Helper()
	js, err := s.js.Stream(testContext(t), s.cfg.streamName())
	if err == nil {
		err = js.Purge(testContext(t))
	}
	if err != nil {
		t.Fatalf("purge: %v", err)
	}
}
