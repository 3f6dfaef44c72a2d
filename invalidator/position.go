package invalidator

import (
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// entry is a batch whose exact keys are gone. It is finished when the passes
// over its patterns and the flushes it asked for are too.
type entry struct {
	point   stream.Point
	movable bool
	gaps    []gapNote
	pending atomic.Int32 // passes and flushes that have not ended
}

// queue holds entries in stream order. The position moves over the finished
// entries at its head and over nothing else, so it never passes a pattern
// whose pass has not ended, while the exact keys of later batches go on.
// One goroutine.
type queue struct {
	entries []*entry
	head    int
	point   stream.Point // of the last entry passed
	movable bool         // an entry with a point has been passed since taken
	holds   holds
}

func (q *queue) push(e *entry) { q.entries = append(q.entries, e) }

// waiting reports whether an entry is not finished.
func (q *queue) waiting() bool { return q.head < len(q.entries) }

// advance passes the finished entries at the head and reports whether there
// were any.
func (q *queue) advance() bool {
	passed := false
	for q.head < len(q.entries) && q.entries[q.head].pending.Load() == 0 {
		e := q.entries[q.head]
		q.entries[q.head] = nil
		q.head++
		passed = true
		for _, g := range e.gaps {
			q.holds.pass(g)
		}
		if e.movable {
			q.point, q.movable = e.point, true
		}
	}
	if q.head == len(q.entries) {
		q.entries, q.head = q.entries[:0], 0
	}
	return passed
}

// gapNote is a gap message that the position passes with its entry.
type gapNote struct {
	id        string
	final     bool
	sameEpoch bool         // LSNs before and after the gap may be compared
	before    stream.Point // what stood before it
}

// holds keeps the gaps whose second flush is still due. Until it is done,
// transactions that straddled the gap's cause may still commit without ever
// being decoded, so only what was known before the gap may be believed.
type holds struct {
	pending map[string]struct{}
	ended   map[string]struct{} // gaps whose final message was passed
	// unknown is set when a position with a hold was found and the gap it
	// belongs to was not: the next final of a gap that is not pending ends it.
	unknown bool
	lsn     cdc.LSN   // what may be believed; 0: everything
	time    time.Time // likewise
}

// nothing is the hold that lets no LSN be believed: those from before the gap
// belong to another epoch.
const nothing cdc.LSN = 1

func (h *holds) pass(g gapNote) {
	if g.final {
		h.passFinal(g.id)
		return
	}
	// A session repeats a gap message until the position has passed it; the
	// repetition of one that has ended holds nothing.
	if _, ended := h.ended[g.id]; ended {
		return
	}
	if h.pending == nil {
		h.pending = make(map[string]struct{})
	}
	h.pending[g.id] = struct{}{}
	lsn := max(g.before.LSN, nothing)
	if !g.sameEpoch {
		lsn = nothing
	}
	if h.lsn == 0 {
		h.lsn, h.time = lsn, g.before.Time
		return
	}
	h.lsn = min(h.lsn, lsn)
	if g.before.Time.Before(h.time) {
		h.time = g.before.Time
	}
}

func (h *holds) passFinal(id string) {
	if h.ended == nil {
		h.ended = make(map[string]struct{})
	}
	h.ended[id] = struct{}{}
	if _, ok := h.pending[id]; ok {
		delete(h.pending, id)
	} else {
		h.unknown = false
	}
	if len(h.pending) == 0 && !h.unknown {
		h.lsn, h.time = 0, time.Time{}
	}
}

// position is what is written to the masters for a point.
func (q *queue) position(owner, rules string) cache.Position {
	p := q.point
	pos := cache.Position{
		Stream: p.Stream, Seq: p.Seq, ID: p.ID,
		LSN: cache.LSN(p.LSN), Time: p.Time,
		Owner: owner, Rules: rules,
		Hold: cache.LSN(q.holds.lsn),
	}
	if !p.Epoch.IsZero() {
		pos.Epoch = p.Epoch.String()
	}
	// A bounded read compares the position's time; while LSNs are held back
	// the time has to be as well.
	if q.holds.lsn != 0 {
		pos.Time = q.holds.time
	}
	return pos
}

// pointOf is where a position stands in the stream; ok is false for a
// position that claims nothing or cannot be read.
func pointOf(p cache.Position) (point stream.Point, ok bool) {
	if p.Stream == "" || p.Seq == 0 {
		return stream.Point{}, false
	}
	point = stream.Point{Stream: p.Stream, Seq: p.Seq, ID: p.ID, LSN: cdc.LSN(p.LSN), Time: p.Time}
	if p.Epoch == "" {
		return point, true
	}
	epoch, err := cdc.ParseEpoch(p.Epoch)
	if err != nil {
		return stream.Point{}, false
	}
	point.Epoch = epoch
	return point, true
}
