package stream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// simulation plays writers, a stream that loses what it likes, and a reader,
// in memory and from a seed. It knows every transaction, and checks the
// promise at each step: whatever lies below the position's LSN was seen by the
// reader, or declared lost and flushed.
type simulation struct {
	rng *rand.Rand

	// Postgres: transactions 1..committed of the present epoch.
	epoch     cdc.Epoch
	committed cdc.LSN
	confirmed cdc.LSN // the slot still has what is not below
	early     bool    // confirm what is published, not what is applied

	stream   int // number in the stream's id
	first    uint64
	messages []simMessage

	writers []*simWriter // the last one is the consumer, the others are zombies
	names   int

	reader   *continuity
	at       cursor
	saved    Point // the position as Redis keeps it
	trusting bool

	seen    map[cdc.Epoch]map[cdc.LSN]bool
	flushed map[cdc.Epoch]cdc.LSN
	moves   int
	hole    string
}

type simMessage struct {
	seq  uint64
	item Item
	prev string
}

// simWriter is a session with its own idea of the stream's end.
type simWriter struct {
	name     string
	epoch    cdc.Epoch
	n        int
	prev     string
	expected uint64
	next     cdc.LSN // next transaction to send
	refused  bool
}

func (s *simulation) id() string { return fmt.Sprint("stream-", s.stream) }

func (s *simulation) lastSeq() uint64 {
	if len(s.messages) == 0 {
		return s.first - 1
	}
	return s.messages[len(s.messages)-1].seq
}

// send is what the server does with a chained message.
func (s *simulation) send(w *simWriter, item Item) {
	w.n++
	item.ID = fmt.Sprintf("%s:%d", w.name, w.n)
	if w.expected == s.end() {
		s.messages = append(s.messages, simMessage{seq: w.expected + 1, item: item, prev: w.prev})
	} else {
		w.refused = true
	}
	w.prev = item.ID
	w.expected++
}

// end is the stream's last sequence, which outlives its messages.
func (s *simulation) end() uint64 { return s.lastSeq() }

// begin starts a session as the consumer does: from the slot, or from what it
// verified to be in the stream.
func (s *simulation) begin(resend bool) {
	from := s.confirmed
	if !resend && s.rng.IntN(2) == 0 {
		from = max(from, s.verified())
	}
	s.names++
	w := &simWriter{name: fmt.Sprint("w", s.names), epoch: s.epoch, expected: s.end(), next: from}
	if n := len(s.messages); n > 0 {
		w.prev = s.messages[n-1].item.ID
	}
	s.writers = append(s.writers, w)
	if len(s.writers) > 4 {
		s.writers = s.writers[1:]
	}
	s.send(w, Item{Kind: KindStart, Start: cdc.Start{Epoch: s.epoch, From: from}})
	if s.saved.Epoch != s.epoch {
		s.send(w, Item{Kind: KindGap, Gap: cdc.Gap{ID: "g", Epoch: s.epoch, LSN: from}})
	}
}

// verified is what Stream.Verified does.
func (s *simulation) verified() cdc.LSN {
	if s.saved.Seq == 0 || s.saved.Epoch != s.epoch {
		return 0
	}
	c := newContinuity(s.saved, time.Time{})
	from, reason := attachAt(cursor{stream: s.saved.Stream, seq: s.saved.Seq, id: s.saved.ID}, s.info(), s.find(s.saved.Seq))
	c.attach(s.id(), reason, time.Time{})
	reached := cdc.LSN(0)
	for _, m := range s.messages {
		if m.seq < from {
			continue
		}
		c.take(&m.item, m.prev, time.Time{})
		if !m.item.Movable {
			break
		}
		if m.item.Kind == KindMark && m.item.Mark.Epoch == s.epoch && m.item.Mark.LSN == m.item.Point.LSN {
			reached = m.item.Mark.LSN
		}
	}
	return reached
}

func (s *simulation) info() Info {
	info := Info{ID: s.id(), FirstSeq: s.first, LastSeq: s.lastSeq()}
	if len(s.messages) > 0 {
		info.FirstSeq = s.messages[0].seq
	}
	return info
}

func (s *simulation) find(seq uint64) found {
	for _, m := range s.messages {
		if m.seq == seq {
			return found{exists: true, id: m.item.ID}
		}
	}
	return found{}
}

// work lets a writer, the consumer mostly, send a few messages without looking
// at what became of them.
func (s *simulation) work() {
	w := s.writers[len(s.writers)-1]
	if s.rng.IntN(6) == 0 {
		w = s.writers[s.rng.IntN(len(s.writers))]
	}
	for range 1 + s.rng.IntN(6) {
		switch {
		case w.epoch == s.epoch && w.next <= s.committed:
			s.send(w, Item{Kind: KindChange, LSN: w.next, Start: cdc.Start{Epoch: w.epoch}})
			w.next++
		case w.epoch == s.epoch && s.rng.IntN(2) == 0:
			s.committed++
			continue
		}
		if s.rng.IntN(3) == 0 {
			s.send(w, Item{Kind: KindMark, Mark: cdc.Mark{Epoch: w.epoch, LSN: w.next}})
		}
	}
	if w := s.writers[len(s.writers)-1]; w.refused {
		s.begin(false)
	} else if s.early && s.rng.IntN(4) == 0 {
		s.confirmed = max(s.confirmed, w.next) // all acknowledged
	}
}

// attach is what source does on every doubt.
func (s *simulation) attach() {
	from, reason := attachAt(s.at, s.info(), s.find(s.at.seq))
	if reason != "" {
		s.at = cursor{seq: from - 1}
	}
	s.at.stream = s.id()
	s.reader.attach(s.id(), reason, time.Time{})
}

// read takes up to n messages, as the invalidator does.
func (s *simulation) read(n int) {
	for _, m := range s.messages {
		if m.seq <= s.at.seq || n == 0 {
			continue
		}
		n--
		item := m.item
		item.Seq = m.seq
		s.at.seq, s.at.id = m.seq, item.ID
		s.reader.take(&item, m.prev, time.Time{})
		if item.Kind == KindChange {
			s.see(item.LSN, m.item)
		}
		if item.Kind == KindGap {
			s.flushed[item.Gap.Epoch] = max(s.flushed[item.Gap.Epoch], item.Gap.LSN)
		}
		if item.Movable {
			s.move(item.Point)
		}
	}
	if b, broken := s.reader.broken(); broken && b.Lost && s.rng.IntN(3) == 0 {
		s.flushed[b.Point.Epoch] = max(s.flushed[b.Point.Epoch], b.Point.LSN)
		s.reader.adopt(b.Point)
	}
}

func (s *simulation) see(lsn cdc.LSN, item Item) {
	e := item.Start.Epoch // the change's epoch, kept there by work
	if s.seen[e] == nil {
		s.seen[e] = map[cdc.LSN]bool{}
	}
	s.seen[e][lsn] = true
}

func (s *simulation) move(p Point) {
	s.moves++
	for lsn := max(1, s.flushed[p.Epoch]); lsn < p.LSN && s.hole == ""; lsn++ {
		if !s.seen[p.Epoch][lsn] {
			s.hole = fmt.Sprintf("position passed %s of epoch %s without transaction %s", p.LSN, p.Epoch, lsn)
		}
	}
	s.saved = p
	if !s.early && p.Epoch == s.epoch {
		s.confirmed = max(s.confirmed, p.LSN)
	}
}

// fault does one thing that nobody asked for.
func (s *simulation) fault() {
	switch s.rng.IntN(8) {
	case 0: // foreign message
		s.messages = append(s.messages, simMessage{seq: s.end() + 1, item: Item{Kind: KindForeign}})
	case 1: // messages deleted in the middle
		if n := len(s.messages); n > 3 {
			i := 1 + s.rng.IntN(n-2)
			s.messages = append(s.messages[:i:i], s.messages[i+1:]...)
		}
	case 2: // limits or a purge took the oldest
		if n := len(s.messages); n > 1 {
			s.messages = s.messages[s.rng.IntN(n-1):]
		}
	case 3: // tail lost
		if n := len(s.messages); n > 1 {
			s.messages = s.messages[:1+s.rng.IntN(n-1)]
			s.attach()
			s.begin(false)
		}
	case 4: // replaced
		s.stream++
		s.messages, s.first = nil, 1
		s.attach()
		s.begin(s.rng.IntN(2) == 0)
	case 5: // invalidator restarted
		s.reader = newContinuity(s.saved, time.Time{})
		s.reader.trusting = s.trusting
		s.at = cursor{stream: s.saved.Stream, seq: s.saved.Seq, id: s.saved.ID}
		s.attach()
	case 6: // slot recreated: another epoch, LSNs start low again
		s.epoch.Counter++
		s.committed, s.confirmed = cdc.LSN(1+s.rng.IntN(5)), cdc.LSN(1+s.rng.IntN(5))
		s.committed = max(s.committed, s.confirmed)
		s.flushed[s.epoch] = 0
		s.begin(true)
	case 7: // the consumer restarts, or a resend was asked for
		s.begin(s.rng.IntN(2) == 0)
	}
}

// simulate plays the seed and returns the first broken promise.
func simulate(seed uint64, trusting bool) (hole string, moves int) {
	s := &simulation{
		rng: rand.New(rand.NewPCG(seed, 1)), epoch: epochA, committed: 1, confirmed: 1,
		first: 1, trusting: trusting, seen: map[cdc.Epoch]map[cdc.LSN]bool{}, flushed: map[cdc.Epoch]cdc.LSN{},
	}
	s.early = s.rng.IntN(2) == 0
	s.reader = newContinuity(Point{}, time.Time{})
	s.reader.trusting = trusting
	s.begin(true)
	s.attach()
	for range 300 {
		switch n := s.rng.IntN(20); {
		case n < 10:
			s.work()
		case n < 19:
			s.read(s.rng.IntN(12))
		default:
			s.fault()
		}
	}
	s.settle()
	return s.hole, s.moves
}

// settle lets nothing more go wrong: one session from the slot, read to its
// end, must bring the position there.
func (s *simulation) settle() {
	s.attach()
	s.begin(true)
	s.read(len(s.messages))
	if b, broken := s.reader.broken(); broken && b.Lost {
		s.flushed[b.Point.Epoch] = max(s.flushed[b.Point.Epoch], b.Point.LSN)
		s.reader.adopt(b.Point)
	}
	w := s.writers[len(s.writers)-1]
	for ; w.next <= s.committed; w.next++ {
		s.send(w, Item{Kind: KindChange, LSN: w.next, Start: cdc.Start{Epoch: w.epoch}})
	}
	s.send(w, Item{Kind: KindMark, Mark: cdc.Mark{Epoch: w.epoch, LSN: w.next}})
	s.read(len(s.messages))
	if b, broken := s.reader.broken(); s.hole == "" && (broken || s.saved.LSN != w.next || s.saved.Epoch != w.epoch) {
		s.hole = fmt.Sprintf("the position stays at %+v, want LSN %s of epoch %s: broken %v %+v", s.saved, w.next, w.epoch, broken, b)
	}
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	const seeds = 500
	moves := 0
	for seed := range uint64(seeds) {
		hole, n := simulate(seed, false)
		if hole != "" {
			t.Fatalf("seed %d: %s", seed, hole)
		}
		moves += n
	}
	if moves < 20*seeds {
		t.Errorf("the position moved %d times in %d runs: hardly anything was tried", moves, seeds)
	}
	holes := 0
	for seed := range uint64(200) {
		if hole, _ := simulate(seed, true); hole != "" {
			holes++
		}
	}
	t.Logf("%d moves without a hole; with the check switched off, holes in %d of 200 runs", moves, holes)
	if holes < 100 {
		t.Errorf("with the check switched off, holes in %d of 200 runs only", holes)
	}
}
