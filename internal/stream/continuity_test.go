package stream

import (
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

var epochB = cdc.Epoch{System: 7301, Timeline: 1, Counter: 1}

// told is one thing that continuity is told, and what it must say afterwards.
type told struct {
	item    Item
	prev    string
	cut     string // instead of an item: a cut with this reason
	adopt   bool   // instead of an item: adopt the break's point
	movable bool
	lsn     cdc.LSN // of the point, when movable
	lost    bool    // of the break, when not movable
	reason  string  // of the break, when not movable; "" is not compared
}

func change(id, prev string) told {
	return told{item: Item{Kind: KindChange, ID: id}, prev: prev}
}

func start(id, prev string, epoch cdc.Epoch, from cdc.LSN) told {
	return told{item: Item{Kind: KindStart, ID: id, Start: cdc.Start{Epoch: epoch, From: from}}, prev: prev}
}

func mark(id, prev string, epoch cdc.Epoch, lsn cdc.LSN) told {
	return told{item: Item{Kind: KindMark, ID: id, Mark: cdc.Mark{Epoch: epoch, LSN: lsn, Time: timeOf(lsn)}}, prev: prev}
}

func gap(id, prev string, epoch cdc.Epoch, lsn cdc.LSN) told {
	return told{item: Item{Kind: KindGap, ID: id, Gap: cdc.Gap{ID: "g", Epoch: epoch, LSN: lsn}}, prev: prev}
}

func (d told) final() told { d.item.Gap.Final = true; return d }
func (d told) tables() told {
	d.item.Gap.Tables = []cdc.TableName{{Schema: "public", Table: "orders"}}
	return d
}
func (d told) moves(lsn cdc.LSN) told    { d.movable, d.lsn = true, lsn; return d }
func (d told) breaks(reason string) told { d.reason = reason; return d }
func (d told) loses(reason string) told  { d.lost, d.reason = true, reason; return d }
func (d told) isLost() told              { d.lost = true; return d }
func timeOf(lsn cdc.LSN) time.Time       { return time.Unix(int64(lsn), 0).UTC() }
func cutOff(reason string) told          { return told{cut: reason, reason: reason} }
func adopts(lsn cdc.LSN) told            { return told{adopt: true}.moves(lsn) }
func foreign() told                      { return told{item: Item{Kind: KindForeign}} }
func pointAt(id string, lsn cdc.LSN) Point {
	return Point{Stream: "s", Seq: 100, ID: id, LSN: lsn, Epoch: epochA}
}

func TestContinuity(t *testing.T) {
	t.Parallel()
	at := pointAt("a:9", 50)
	cases := []struct {
		name string
		from Point
		told []told
	}{
		{"linked messages move, marks raise", at, []told{
			change("a:10", "a:9").moves(50), mark("a:11", "a:10", epochA, 60).moves(60), change("a:12", "a:11").moves(60),
		}},
		{"a message with another predecessor breaks, and what links to it stays broken", at, []told{
			change("a:11", "a:10").breaks(reasonChain), mark("a:12", "a:11", epochA, 60).breaks(reasonChain),
		}},
		{"a message without a predecessor never links", at, []told{change("a:10", "").breaks(reasonChain)}},
		{"a start from below bridges without a link", at, []told{
			change("z:11", "z:10").breaks(reasonChain), start("b:1", "x", epochA, 40).moves(50),
			mark("b:2", "b:1", epochA, 45).moves(50), mark("b:3", "b:2", epochA, 70).moves(70),
		}},
		{"a start exactly at the position bridges", at, []told{start("b:1", "", epochA, 50).moves(50)}},
		{"a start one above the position is a gap, even linked", at, []told{
			start("b:1", "a:9", epochA, 51).loses(reasonStartAbove), mark("b:2", "b:1", epochA, 60).isLost(),
		}},
		{"after a lost start, one from further back bridges", at, []told{
			start("b:1", "a:9", epochA, 51).isLost(), change("b:2", "b:1").isLost(), start("c:1", "b:2", epochA, 50).moves(50),
		}},
		{"a start of another epoch is a gap", at, []told{
			start("b:1", "a:9", epochB, 10).loses(reasonStartEpoch), mark("b:2", "b:1", epochB, 60).isLost(),
		}},
		{"the gap message behind it repairs", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), gap("b:2", "b:1", epochB, 10).moves(10), mark("b:3", "b:2", epochB, 12).moves(12),
		}},
		{"the gap message may come later in the same chain", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), mark("b:2", "b:1", epochB, 15).isLost(), gap("b:3", "b:2", epochB, 10).moves(15),
		}},
		{"but not behind a break of that chain", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), change("z:1", "y").isLost(), gap("b:3", "b:2", epochB, 10).isLost(),
		}},
		{"a gap message that is not linked repairs nothing", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), gap("b:3", "b:2", epochB, 10).isLost(),
		}},
		{"a gap message for some tables repairs nothing", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), gap("b:2", "b:1", epochB, 10).tables().isLost(),
		}},
		{"a final gap message repairs nothing", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), gap("b:2", "b:1", epochB, 10).final().isLost(),
		}},
		{"a gap message of a third epoch repairs nothing", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), gap("b:2", "b:1", cdc.Epoch{System: 1}, 10).isLost(),
		}},
		{"a gap message below the start's from repairs nothing", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), gap("b:2", "b:1", epochB, 9).isLost(),
		}},
		{"a gap in the same epoch repairs a start above", at, []told{
			start("b:1", "a:9", epochA, 80).isLost(), gap("b:2", "b:1", epochA, 80).moves(80),
		}},
		{"a linked gap in the same epoch raises the LSN", at, []told{gap("a:10", "a:9", epochA, 80).moves(80)}},
		{"and never lowers it", at, []told{gap("a:10", "a:9", epochA, 20).moves(50)}},
		{"a gap for some tables changes no LSN", at, []told{gap("a:10", "a:9", epochA, 80).tables().moves(50)}},
		{"nor does a final one", at, []told{gap("a:10", "a:9", epochA, 80).final().moves(50)}},
		{"a linked gap of another epoch sets epoch and LSN", at, []told{
			gap("a:10", "a:9", epochB, 20).moves(20), mark("a:11", "a:10", epochB, 21).moves(21),
		}},
		{"but not one for some tables", at, []told{gap("a:10", "a:9", epochB, 20).tables().breaks(reasonEpoch)}},
		{"nor a final one of another epoch", at, []told{gap("a:10", "a:9", epochB, 20).final().breaks(reasonEpoch)}},
		{"a mark of another epoch breaks", at, []told{mark("a:10", "a:9", epochB, 60).breaks(reasonEpoch)}},
		{"a gap message that is not linked breaks", at, []told{gap("a:11", "a:10", epochA, 80).breaks(reasonChain)}},
		{"a foreign message breaks, what follows does not link to it", at, []told{
			foreign().breaks(reasonForeign), change("a:10", "a:9").breaks(reasonForeign), start("b:1", "a:10", epochA, 50).moves(50),
		}},
		{"a cut breaks although the next message links", at, []told{
			cutOff(reasonShort), change("a:10", "a:9").breaks(reasonShort), start("b:1", "", epochA, 50).moves(50),
		}},
		{"a cut drops a lost start", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), cutOff(reasonReplaced), gap("b:2", "b:1", epochB, 10).breaks(reasonReplaced),
		}},
		{"reading again from the first message never lowers the LSN", at, []told{
			cutOff(reasonReplaced), start("a:1", "", epochA, 5).moves(50), mark("a:2", "a:1", epochA, 20).moves(50), mark("a:3", "a:2", epochA, 55).moves(55),
		}},
		{"no position: lost at the first start, adopted", Point{}, []told{
			start("a:1", "", epochA, 5).loses(reasonStartEpoch), change("a:2", "a:1").isLost(), adopts(5), change("a:3", "a:2").moves(5),
		}},
		{"marks between a lost start and its adoption count", Point{}, []told{
			start("a:1", "", epochA, 5).isLost(), mark("a:2", "a:1", epochA, 9).isLost(), adopts(9),
		}},
		{"a position without a sequence is bridged by its LSN", Point{LSN: 50, Epoch: epochA}, []told{
			change("a:7", "a:6").breaks(reasonNoPosition), start("b:1", "a:7", epochA, 50).moves(50),
		}},
		{"a later session keeps the chain of a lost start", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), mark("b:2", "b:1", epochB, 20).isLost(),
			start("c:1", "b:2", epochB, 18).isLost(), gap("c:2", "c:1", epochB, 10).moves(20),
		}},
		{"a later session above it replaces it", at, []told{
			start("b:1", "a:9", epochB, 10).isLost(), start("c:1", "b:1", epochB, 30).isLost(), gap("c:2", "c:1", epochB, 10).isLost(),
			gap("c:3", "c:2", epochB, 30).moves(30),
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newContinuity(tc.from, time.Now())
			c.attach("s", "", time.Now())
			for i, d := range tc.told {
				seq := uint64(101 + i)
				where := fmt.Sprintf("step %d", i)
				switch {
				case d.cut != "":
					c.cut(d.cut, time.Now())
				case d.adopt:
					b, _ := c.broken()
					c.adopt(b.Point)
				default:
					d.item.Seq = seq
					c.take(&d.item, d.prev, time.Now())
					if got, want := d.item.Movable, d.movable; got != want {
						t.Fatalf("%s: movable: got %v, want %v", where, got, want)
					}
					if d.movable && (d.item.Point.Seq != seq || d.item.Point.ID != d.item.ID || d.item.Point.Stream != "s") {
						t.Fatalf("%s: point is elsewhere: %+v", where, d.item.Point)
					}
				}
				b, broken := c.broken()
				if got, want := broken, !d.movable; got != want {
					t.Fatalf("%s: broken: got %v %+v, want %v", where, got, b, want)
				}
				if d.movable && c.here.point.LSN != d.lsn {
					t.Fatalf("%s: lsn: got %s, want %s", where, c.here.point.LSN, d.lsn)
				}
				if broken && b.Lost != d.lost {
					t.Fatalf("%s: lost: got %v, want %v: %+v", where, b.Lost, d.lost, b)
				}
				if broken && d.reason != "" && b.Reason != d.reason {
					t.Fatalf("%s: reason: got %q, want %q", where, b.Reason, d.reason)
				}
			}
		})
	}
}

func TestContinuityTime(t *testing.T) {
	t.Parallel()
	c := newContinuity(pointAt("a:9", 50), time.Now())
	c.attach("s", "", time.Now())
	for i, step := range []struct {
		told told
		want time.Time
	}{
		{mark("a:10", "a:9", epochA, 60), timeOf(60)},
		{mark("a:11", "a:10", epochA, 55), timeOf(60)},
		{gap("a:12", "a:11", epochB, 7), timeOf(60)},
		{mark("a:13", "a:12", epochB, 8), timeOf(8)},
	} {
		c.take(&step.told.item, step.told.prev, time.Now())
		if got := step.told.item.Point.Time; !got.Equal(step.want) {
			t.Errorf("step %d: time: got %v, want %v", i, got, step.want)
		}
	}
}

// TestContinuityAdoptLate adopts a start whose chain broke while the caller
// flushed: the position is there, and the next session from there bridges.
func TestContinuityAdoptLate(t *testing.T) {
	t.Parallel()
	c := newContinuity(pointAt("a:9", 50), time.Now())
	c.attach("s", "", time.Now())
	take := func(d told) Item { c.take(&d.item, d.prev, time.Now()); return d.item }
	take(start("b:1", "a:9", epochB, 10))
	b, _ := c.broken()
	take(change("z:1", "y"))
	c.adopt(b.Point)
	if got, broken := c.broken(); !broken || got.Lost || got.Reason != reasonChain {
		t.Fatalf("after adopting: got broken %v %+v, want an ordinary broken chain", broken, got)
	}
	if item := take(start("c:1", "z:1", epochB, 11)); item.Movable {
		t.Errorf("a start above the adopted position moves it")
	}
	if item := take(start("d:1", "c:1", epochB, 10)); !item.Movable {
		t.Errorf("a start at the adopted position does not bridge")
	}
}

func TestAttachAt(t *testing.T) {
	t.Parallel()
	at := cursor{stream: "s", seq: 50, id: "a:50"}
	same := found{exists: true, id: "a:50"}
	for _, tc := range []struct {
		name   string
		at     cursor
		info   Info
		here   found
		from   uint64
		reason string
	}{
		{"no cursor", cursor{}, Info{ID: "s", FirstSeq: 7, LastSeq: 60}, found{}, 7, ""},
		{"no cursor, empty stream", cursor{}, Info{ID: "s"}, found{}, 1, ""},
		{"behind the cursor", at, Info{ID: "s", FirstSeq: 1, LastSeq: 60}, same, 51, ""},
		{"at the end", at, Info{ID: "s", FirstSeq: 1, LastSeq: 50}, same, 51, ""},
		{"the cursor's message expired", at, Info{ID: "s", FirstSeq: 51, LastSeq: 60}, found{}, 51, ""},
		{"the cursor's message was deleted alone", at, Info{ID: "s", FirstSeq: 1, LastSeq: 60}, found{}, 51, ""},
		{"emptied with nothing unread", at, Info{ID: "s", FirstSeq: 51, LastSeq: 50}, found{}, 51, ""},
		{"another stream", at, Info{ID: "t", FirstSeq: 1, LastSeq: 60}, same, 1, reasonReplaced},
		{"another stream that is short", at, Info{ID: "t", FirstSeq: 3, LastSeq: 9}, found{}, 3, reasonReplaced},
		{"tail shorn", at, Info{ID: "s", FirstSeq: 4, LastSeq: 49}, found{}, 4, reasonShort},
		{"tail shorn and grown again", at, Info{ID: "s", FirstSeq: 4, LastSeq: 99}, found{exists: true, id: "b:3"}, 4, reasonOther},
		{"foreign message at the cursor", at, Info{ID: "s", FirstSeq: 4, LastSeq: 99}, found{exists: true}, 4, reasonOther},
		{"purged unread", at, Info{ID: "s", FirstSeq: 61, LastSeq: 60}, found{}, 61, reasonRemoved},
		{"expired unread", at, Info{ID: "s", FirstSeq: 52, LastSeq: 60}, found{}, 52, reasonRemoved},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			from, reason := attachAt(tc.at, tc.info, tc.here)
			if from != tc.from || reason != tc.reason {
				t.Errorf("got %d %q, want %d %q", from, reason, tc.from, tc.reason)
			}
		})
	}
}
