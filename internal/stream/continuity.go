package stream

import (
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// The reasons of breaks.
const (
	reasonNoPosition = "no position yet"
	reasonReplaced   = "stream replaced"
	reasonDeleted    = "stream deleted"
	reasonShort      = "stream ends before the position"
	reasonOther      = "other message at the position"
	reasonRemoved    = "messages removed before they were read"
	reasonChain      = "broken chain"
	reasonForeign    = "foreign message"
	reasonEpoch      = "another epoch without a gap message"
	reasonStartAbove = "session starts above the position"
	reasonStartEpoch = "session of another epoch"
)

// Break describes a hole in the chain.
type Break struct {
	Reason string    // in a few words
	At     uint64    // sequence of the first message behind it; 0: none yet
	Since  time.Time // when the reader saw it
	// Lost is true when a start was seen whose From is above the position's
	// LSN in the same epoch, or whose epoch differs: what lies between will
	// not come again by itself, and only a flush of all coverage (then
	// Reader.Adopt), a gap message or a resend from further back repairs it.
	Lost  bool
	Start cdc.Start // the start seen, when Lost
	Point Point     // where the position may be adopted once coverage is flushed, when Lost
}

// chain is a place in the stream and whether everything up to it is known to
// be whole.
type chain struct {
	point Point
	whole bool
}

// continuity decides which messages may move the position. It is a pure state
// machine: the reader tells it of every message in order and of every cut, and
// it never looks at anything else.
//
// It follows two chains at once. here is the chain of the position. When a
// start shows that what lies between is lost, ahead is the chain from that
// start on: what the position becomes once the loss is repaired, by a gap
// message in the chain or by the caller's flush of all coverage.
type continuity struct {
	here   chain
	stream string // id of the stream that is read
	last   string // id of the last message processed; empty: none that could be named

	brk   Break // of the present or the last break
	count int   // breaks of a chain that was whole
	ahead *chain
	from  cdc.LSN // the From of ahead's first start

	// trusting switches the check off, to show that tests catch it.
	trusting bool
}

// newContinuity begins behind p.
func newContinuity(p Point, now time.Time) *continuity {
	c := &continuity{here: chain{point: p, whole: p.Seq > 0}, stream: p.Stream, last: p.ID}
	if !c.here.whole {
		c.last = ""
		c.brk = Break{Reason: reasonNoPosition, Since: now}
	}
	return c
}

// attach tells that reading goes on in the given stream. reason is empty when
// the message behind the last one processed comes next, and otherwise names
// the hole.
func (c *continuity) attach(stream, reason string, now time.Time) {
	c.stream = stream
	if reason != "" {
		c.cut(reason, now)
	}
}

// cut tells that what comes next need not follow what was processed last.
func (c *continuity) cut(reason string, now time.Time) {
	c.last = ""
	c.ahead = nil
	if c.trusting {
		return
	}
	if c.here.whole {
		c.brk = Break{Since: now}
		c.count++
	}
	c.here.whole = false
	c.brk.Reason, c.brk.At, c.brk.Lost = reason, 0, false
	c.brk.Start, c.brk.Point = cdc.Start{}, Point{}
}

// take judges the next message and fills in the item's Point and Movable.
func (c *continuity) take(item *Item, prev string, now time.Time) {
	linked := prev != "" && prev == c.last
	c.last = item.ID
	if c.trusting {
		c.trust(item)
		return
	}
	wasWhole := c.here.whole
	if !wasWhole && c.brk.At == 0 {
		c.brk.At = item.Seq
	}
	reason := c.here.step(item, linked, c.stream)
	switch {
	case reason == "":
		c.ahead = nil
	case c.repaired(item, linked):
		c.here, c.ahead = *c.ahead, nil
	default:
		if wasWhole {
			c.brk = Break{Reason: reason, At: item.Seq, Since: now}
			c.count++
		}
		c.lose(item, reason)
	}
	item.Movable = c.here.whole
	item.Point = c.here.point
}

// lose notes a start that does not bridge the break.
func (c *continuity) lose(item *Item, reason string) {
	if item.Kind != KindStart {
		return
	}
	if c.ahead != nil && c.ahead.whole {
		return // it continues the chain of an earlier lost start; the break stays as described
	}
	c.ahead = &chain{whole: true, point: Point{
		Stream: c.stream, Seq: item.Seq, ID: item.ID,
		LSN: item.Start.From, Epoch: item.Start.Epoch,
	}}
	c.from = item.Start.From
	c.brk.Reason, c.brk.Lost, c.brk.Start, c.brk.Point = reason, true, item.Start, c.ahead.point
}

// repaired follows the chain ahead and reports whether this item, a gap
// message in it, declares lost all that lies before its start.
func (c *continuity) repaired(item *Item, linked bool) bool {
	if c.ahead == nil {
		return false
	}
	epoch := c.ahead.point.Epoch
	if c.ahead.step(item, linked, c.stream) != "" {
		return false
	}
	g := &item.Gap
	return item.Kind == KindGap && !g.Final && len(g.Tables) == 0 && g.Epoch == epoch && g.LSN >= c.from
}

// adopt tells that all coverage was flushed after the start at p was seen, so
// that whatever lies before p no longer matters.
func (c *continuity) adopt(p Point) {
	if c.here.whole {
		return // repaired meanwhile by a resend or a gap message
	}
	c.here.point = p
	if c.ahead == nil {
		return
	}
	if c.ahead.whole && bridges(cdc.Start{Epoch: c.ahead.point.Epoch, From: c.from}, p) {
		at := c.ahead.point
		at.LSN = max(at.LSN, p.LSN)
		c.here, c.ahead = chain{point: at, whole: true}, nil
		return
	}
	if bridges(c.brk.Start, p) {
		// The chain from the adopted start is itself broken by now: what is
		// needed next is an ordinary bridge from there.
		c.ahead = nil
		c.brk.Reason, c.brk.Lost = reasonChain, false
		c.brk.Start, c.brk.Point = cdc.Start{}, Point{}
	}
}

// broken returns the present break.
func (c *continuity) broken() (Break, bool) {
	if c.here.whole {
		return Break{}, false
	}
	return c.brk, true
}

// bridges is the continuity rule: everything from s.From on follows the start,
// and everything below p.LSN stands before p.
func bridges(s cdc.Start, p Point) bool {
	return s.Epoch == p.Epoch && s.From <= p.LSN
}

// step moves the chain over the item and returns "", or breaks the chain and
// returns the reason.
func (ch *chain) step(item *Item, linked bool, stream string) string {
	if item.Kind == KindStart {
		if !bridges(item.Start, ch.point) {
			ch.whole = false
			if item.Start.Epoch != ch.point.Epoch {
				return reasonStartEpoch
			}
			return reasonStartAbove
		}
		ch.whole = true
		ch.move(item, stream)
		return ""
	}
	reason := ""
	switch {
	case item.Kind == KindForeign:
		reason = reasonForeign
	case !linked || !ch.whole:
		reason = reasonChain
	case item.Kind == KindMark:
		reason = ch.mark(item.Mark)
	case item.Kind == KindGap:
		reason = ch.gap(item.Gap)
	}
	if reason != "" {
		ch.whole = false
		return reason
	}
	ch.move(item, stream)
	return ""
}

func (ch *chain) move(item *Item, stream string) {
	ch.point.Stream, ch.point.Seq, ch.point.ID = stream, item.Seq, item.ID
}

// mark raises the LSN. A mark below it belongs to what is sent again: it is
// true and says nothing new.
func (ch *chain) mark(m cdc.Mark) string {
	if m.Epoch != ch.point.Epoch {
		return reasonEpoch
	}
	if m.LSN >= ch.point.LSN {
		ch.point.LSN, ch.point.Time = m.LSN, m.Time
	}
	return ""
}

// gap passes a declared gap. One for all tables declares lost, and has
// flushed, what lies below its LSN; the time stays that of the last mark,
// because only a mark proves one.
func (ch *chain) gap(g cdc.Gap) string {
	same := g.Epoch == ch.point.Epoch
	if len(g.Tables) > 0 || g.Final {
		if !same {
			return reasonEpoch
		}
		return ""
	}
	if !same {
		ch.point.Epoch, ch.point.LSN = g.Epoch, g.LSN
		return ""
	}
	ch.point.LSN = max(ch.point.LSN, g.LSN)
	return ""
}

// trust moves over everything, as a reader would that believes the stream.
func (c *continuity) trust(item *Item) {
	p := &c.here.point
	switch item.Kind {
	case KindStart:
		p.Epoch, p.LSN = item.Start.Epoch, max(p.LSN, item.Start.From)
	case KindMark:
		p.Epoch, p.LSN, p.Time = item.Mark.Epoch, item.Mark.LSN, item.Mark.Time
	case KindGap:
		p.Epoch, p.LSN = item.Gap.Epoch, max(p.LSN, item.Gap.LSN)
	}
	c.here.whole = true
	c.here.move(item, c.stream)
	item.Movable, item.Point = true, *p
}
