package invalidator

import (
	"sync/atomic"

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

// advance passes the finished entries at the head.
func (q *queue) advance() {
	for q.head < len(q.entries) && q.entries[q.head].pending.Load() == 0 {
		e := q.entries[q.head]
		q.entries[q.head] = nil
		q.head++
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
