package invalidator

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

func TestQueueStopsAtWhatIsNotFinished(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var q queue
		var all []*entry
		for seq := uint64(1); seq <= 50; seq++ {
			e := &entry{point: stream.Point{Seq: seq}, movable: random.IntN(4) > 0}
			e.pending.Store(int32(random.IntN(2)))
			q.push(e)
			all = append(all, e)
			if random.IntN(3) == 0 { // a pass ends somewhere
				all[random.IntN(len(all))].pending.Store(0)
			}
			q.advance()
			var want uint64
			for _, e := range all {
				if e.pending.Load() > 0 {
					break
				}
				if e.movable {
					want = e.point.Seq
				}
			}
			if q.point.Seq != want {
				t.Fatalf("point: got %d, want %d of %d", q.point.Seq, want, seq)
			}
		}
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	gap := func(id string, lsn cdc.LSN, same, final bool) gapNote {
		return gapNote{id: id, final: final, sameEpoch: same, before: stream.Point{LSN: lsn, Time: now.Add(time.Duration(lsn))}}
	}
	all := func(g gapNote) gapNote { g.all = true; return g }
	for _, tc := range []struct {
		name  string
		start holds
		gaps  []gapNote
		want  cdc.LSN
	}{
		{"none", holds{}, nil, 0},
		{"first", holds{}, []gapNote{gap("a", 10, true, false)}, 10},
		{"first and final", holds{}, []gapNote{gap("a", 10, true, false), gap("a", 20, true, true)}, 0},
		{"smallest of two", holds{}, []gapNote{gap("a", 10, true, false), gap("b", 20, true, false)}, 10},
		{"one of two ends", holds{}, []gapNote{gap("a", 10, true, false), gap("b", 20, true, false), gap("a", 30, true, true)}, 10},
		{"both end", holds{}, []gapNote{gap("a", 10, true, false), gap("b", 20, true, false), gap("b", 30, true, true), gap("a", 30, true, true)}, 0},
		{"another epoch", holds{}, []gapNote{gap("a", 10, true, false), gap("b", 5, false, false)}, nothing},
		{"nothing before it", holds{}, []gapNote{gap("a", 0, true, false)}, nothing},
		{"repeated by a session", holds{}, []gapNote{gap("a", 10, true, false), gap("a", 12, true, false), gap("a", 20, true, true)}, 0},
		{"repeated after its end", holds{}, []gapNote{gap("a", 10, true, false), gap("a", 20, true, true), gap("a", 30, true, false)}, 0},
		{"found without its gap", holds{unknown: true, lsn: 7}, []gapNote{gap("x", 10, true, false), gap("x", 20, true, true)}, 7},
		{"found without its gap, which ends", holds{unknown: true, lsn: 7}, []gapNote{gap("y", 20, true, true)}, 0},
		{"found with its gap", holds{pending: []string{"a"}, lsn: 7}, []gapNote{gap("y", 20, true, true)}, 7},
		{"a later gap about everything ends", holds{unknown: true, pending: []string{"a"}, lsn: 7}, []gapNote{gap("b", 10, true, false), all(gap("b", 20, true, true))}, 0},
		{"an earlier gap about everything ends", holds{pending: []string{"a"}, lsn: 7}, []gapNote{gap("b", 10, true, false), all(gap("a", 20, true, true))}, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := tc.start
			for _, g := range tc.gaps {
				h.pass(g)
			}
			if h.lsn != tc.want {
				t.Errorf("hold: got %s, want %s", h.lsn, tc.want)
			}
		})
	}
}

func TestHoldKeepsTheEarliestTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var q queue
	q.push(&entry{point: stream.Point{Stream: "s", Seq: 9, LSN: 90, Time: now}, movable: true, gaps: []gapNote{
		{id: "a", sameEpoch: true, before: stream.Point{LSN: 50, Time: now.Add(-2 * time.Second)}},
		{id: "b", sameEpoch: true, before: stream.Point{LSN: 40, Time: now.Add(-time.Second)}},
	}})
	q.advance()
	p := q.position("me", "rules")
	if p.LSN != 90 || p.Hold != 40 || !p.Time.Equal(now.Add(-2*time.Second)) {
		t.Errorf("position: got lsn %s hold %s time %v", p.LSN, p.Hold, p.Time)
	}
}

func TestPointOf(t *testing.T) {
	t.Parallel()
	var q queue
	want := stream.Point{Stream: "s", Seq: 9, ID: "x:1", LSN: 90, Time: time.Now().UTC(), Epoch: cdc.Epoch{System: 1, Timeline: 2, Counter: 3}}
	q.push(&entry{point: want, movable: true})
	q.advance()
	p := q.position("me", "rules")
	if got, ok := pointOf(p); !ok || got != want {
		t.Errorf("got %+v, %v; want %+v", got, ok, want)
	}
	for name, spoil := range map[string]func(*cache.Position){
		"claims nothing":   func(p *cache.Position) { p.Stream = "" },
		"no sequence":      func(p *cache.Position) { p.Seq = 0 },
		"unreadable epoch": func(p *cache.Position) { p.Epoch = "?" },
	} {
		p := p
		spoil(&p)
		if got, ok := pointOf(p); ok {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestTableOf(t *testing.T) {
	t.Parallel()
	subjects := cdc.Subjects{Name: "shop"}
	for _, name := range []cdc.TableName{
		{Schema: "public", Table: "orders"}, {Schema: "public", Table: "Order Lines"}, {Schema: "a.b", Table: "c*d>%20"}, {Schema: "ü", Table: "日本"},
	} {
		if got := tableOf(subjects, subjects.Changes(name.Schema, name.Table)); got != name {
			t.Errorf("got %v, want %v", got, name)
		}
	}
	for _, subject := range []string{
		"freshet.shop.progress.mark", "freshet.other.changes.public.orders", "freshet.shop.changes.public", "freshet.shop.changes.a.b.c",
		"freshet.shop.changes.public.%6frders", // encodes what needs no encoding: not written by us
	} {
		if got := tableOf(subjects, subject); got != (cdc.TableName{}) {
			t.Errorf("%s: got %v, want any table", subject, got)
		}
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	var l latencies
	for i := 1; i <= 100; i++ {
		l.add(time.Duration(i) * time.Millisecond)
	}
	l.add(-time.Second)
	l.add(2 * time.Minute)
	p := l.percentiles()
	if p.Count != 102 || p.P50 != 50*time.Millisecond || p.P99 != 100*time.Millisecond || p.Max != 2*time.Minute {
		t.Errorf("percentiles: got %+v", p)
	}
	buckets := l.buckets()
	if got := buckets[len(buckets)-1].Count; got != 101 {
		t.Errorf("samples up to a minute: got %d, want 101", got)
	}
	if got := buckets[6]; got.UpTo != 10*time.Millisecond || got.Count != 11 {
		t.Errorf("samples up to 10 ms: got %+v, want 11", got)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	var r rate
	start := time.Unix(1000, 0)
	for i := range 20 {
		r.add(start.Add(time.Duration(i)*500*time.Millisecond), 50)
	}
	if got := r.perSecond(start.Add(10 * time.Second)); got != 100 {
		t.Errorf("rate: got %v, want 100", got)
	}
	if got := r.perSecond(start.Add(time.Minute)); got != 0 {
		t.Errorf("rate a minute later: got %v, want 0", got)
	}
}
