package consumer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

func TestSnapshotShows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, snapshot string
		xid            uint32
		want           bool
	}{
		{"below xmin", "100:200:100,150", 99, true},
		{"running", "100:200:100,150", 150, false},
		{"ended between", "100:200:100,150", 151, true},
		{"at xmax", "100:200:100,150", 200, false},
		{"beyond xmax", "100:200:100,150", 201, false},
		{"none running", "200:200:", 199, true},
		{"second epoch", "4294967396:4294967496:4294967396", 150, true},
		{"second epoch, running", "4294967396:4294967496:4294967396", 100, false},
		{"before the wrap", "4294967306:4294967306:", 4294967290, true},
		{"running since before the wrap", "4294967290:4294967306:4294967290", 4294967290, false},
		{"after the wrap, snapshot before it", "4294967290:4294967290:", 5, false},
	} {
		s, err := parseSnapshot(test.snapshot)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := s.shows(test.xid); got != test.want {
			t.Errorf("%s: snapshot %s, xid %d: got %v, want %v", test.name, test.snapshot, test.xid, got, test.want)
		}
	}
	if new(snapshot).shows(7) {
		t.Error("no snapshot shows everything")
	}
	for _, bad := range []string{"", "1:2", "x:2:", "1:x:", "1:2:x", "1:2:3:4"} {
		if _, err := parseSnapshot(bad); err == nil {
			t.Errorf("%q parsed", bad)
		}
	}
}

func TestGuards(t *testing.T) {
	t.Parallel()
	pid, other, async, sync := int64(7), int64(8), "async", "sync"
	for _, test := range []struct {
		name  string
		seen  guards
		valid bool
	}{
		{"in order", guards{activePID: &pid, present: true, syncState: &async}, true},
		{"standby", guards{recovery: true, activePID: &pid, present: true, syncState: &async}, false},
		{"slot free", guards{present: true, syncState: &async}, false},
		{"another walsender", guards{activePID: &other, present: true, syncState: &async}, false},
		{"another server", guards{activePID: &pid, syncState: &async}, false},
		{"synchronous", guards{activePID: &pid, present: true, syncState: &sync}, false},
		{"no right to see", guards{activePID: &pid, present: true}, false},
	} {
		err := test.seen.check("s", 7)
		if (err == nil) != test.valid {
			t.Errorf("%s: got %v", test.name, err)
		}
		if err != nil && remedyOf(err) == "" {
			t.Errorf("%s: %v has no remedy", test.name, err)
		}
	}
}

func TestNamedSynchronous(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]bool{
		"": false, "ghost": false, "*": true, `"*"`: true, "ANY 1 (a, *)": true, "FIRST 2 (a,b)": false,
		"FIRST 1 (a, \"Freshet/shop\")": true, "freshet": false,
	} {
		if _, got := namedSynchronous(setting, "freshet/shop"); got != want {
			t.Errorf("%s: got %v, want %v", setting, got, want)
		}
	}
}

func TestEvidenceCompare(t *testing.T) {
	t.Parallel()
	crash := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	kept := &evidence{Slot: "s", Epoch: cdc.Epoch{System: 1, Timeline: 2, Counter: 3}, Confirmed: 100, Crash: crash}
	same := func() history {
		return history{system: system{id: 1, timeline: 2, walEnd: 200}, crash: crash, slot: &catalog.Slot{Name: "s", Confirmed: 100}}
	}
	for _, test := range []struct {
		name    string
		kept    *evidence
		change  func(*history)
		reason  string
		counter uint32
	}{
		{"the same", kept, func(*history) {}, "", 3},
		{"slot behind the record", kept, func(h *history) { h.slot.Confirmed = 90 }, "", 3},
		{"slot ahead", kept, func(h *history) { h.slot.Confirmed = 101 }, reasonSlotAhead, 4},
		{"slot created again", kept, func(h *history) { h.created, h.slot.Confirmed = true, 150 }, reasonSlotLost, 4},
		{"other system", kept, func(h *history) { h.system.id = 9 }, reasonSystem, 4},
		{"other timeline", kept, func(h *history) { h.system.timeline = 3 }, reasonTimeline, 4},
		{"wal ends before", kept, func(h *history) { h.system.walEnd = 99 }, reasonWALBack, 4},
		{"wal ends before what was published", kept, func(h *history) { h.marked = 201 }, reasonWALBack, 4},
		{"all published is there", kept, func(h *history) { h.marked = 200 }, "", 3},
		{"other slot", kept, func(h *history) { h.slot.Name = "t" }, reasonSlotChanged, 4},
		{"crash", kept, func(h *history) { h.crash = crash.Add(time.Second) }, reasonCrash, 3},
		{"new", nil, func(h *history) { h.created = true }, reasonSlotCreated, 0},
		{"no evidence", nil, func(*history) {}, reasonNoEvidence, 5000},
	} {
		h := same()
		test.change(&h)
		v := test.kept.compare(h)
		if v.reason != test.reason {
			t.Errorf("%s: got reason %q, want %q", test.name, v.reason, test.reason)
		}
		if got := test.kept.next(v, h.system, time.Unix(5000, 0)).Counter; got != test.counter {
			t.Errorf("%s: got counter %d, want %d", test.name, got, test.counter)
		}
	}
}

// The invalidator flushes once for each id. What happens again, before the consumer has heard that the first flush is done, needs another.
func TestGapThatComesAgainHasAnotherID(t *testing.T) {
	t.Parallel()
	crash := verdict{reason: reasonCrash}
	first, again := newGap(crash, nil, 7), newGap(crash, nil, 9)
	first.firstSeq, first.finalSeq = 3, 4 // published, and perhaps applied
	table := newGap(verdict{reason: reasonTable}, []cdc.TableName{{Schema: "public", Table: "orders"}}, 8)
	id := first.ID
	got := withGap([]*gap{first, table}, again)
	if len(got) != 2 || got[0] != again || got[1] != table {
		t.Fatalf("got %+v, want the new gap in the place of the one before", got)
	}
	if got[0].ID == id {
		t.Error("the gap has the id of the one before: its flush would be taken for done")
	}
}

// The final message vouches for what straddled the cause, so it stands behind all of that, and says by its LSN how far that reaches.
func TestFinalMessageWaitsForTheStream(t *testing.T) {
	t.Parallel()
	var book gapBook
	g := newGap(verdict{reason: reasonCrash}, nil, 7)
	g.Passed = true
	book.add(g)
	book.ended(6, 50)
	if got, _ := book.unpublished(1000); got != nil || !book.waiting() {
		t.Error("due while a transaction may still straddle the cause")
	}
	book.ended(7, 100)
	book.ended(8, 200) // what began later is of no interest
	if got, _ := book.unpublished(99); got != nil {
		t.Error("published before the stream has come to what had been written by then")
	}
	if got, final := book.unpublished(100); got != g || !final {
		t.Errorf("got %v, final %v, want the final message", got, final)
	}
}

func TestMarkClock(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var c markClock
	if got := c.at(1000); !got.IsZero() {
		t.Errorf("got %v before anything is known", got)
	}
	c.add(at(1), 100)
	c.add(at(2), 200)
	c.add(at(3), 200)
	c.add(at(4), 300)
	if got := c.at(99); !got.IsZero() {
		t.Errorf("below every sample: got %v", got)
	}
	if got := c.at(100); !got.Equal(at(1)) {
		t.Errorf("got %v, want 1", got)
	}
	if got := c.behind(150, at(10)); got != 8*time.Second {
		t.Errorf("behind: got %v, want 8s: 200 was first read at 2", got)
	}
	if got := c.at(250); !got.Equal(at(3)) {
		t.Errorf("got %v, want 3: nothing was written between 2 and 3", got)
	}
	if got := c.at(150); !got.Equal(at(3)) {
		t.Errorf("got %v: the clock does not go back", got)
	}
	for i := range 2 * maxSamples {
		c.add(at(10+i), cdc.LSN(1000+i))
	}
	if got := c.at(1000); !got.Equal(at(10)) {
		t.Errorf("got %v, want 10: the oldest samples are kept", got)
	}
	if got := c.behind(1<<40, at(0)); got != 0 {
		t.Errorf("behind everything: got %v", got)
	}
}

func TestGeometrySettle(t *testing.T) {
	t.Parallel()
	g := walGeometry{block: 8192, segment: 16 << 20}
	for in, want := range map[cdc.LSN]cdc.LSN{
		16<<20 + 40: 16 << 20, 16<<20 + 41: 16<<20 + 41, 8192 + 24: 8192, 8192 + 25: 8192 + 25, 8192: 8192, 1 << 30: 1 << 30,
	} {
		if got := g.settle(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	now := time.Now()
	info := stream.Info{ID: "a", FirstSeq: 1, LastSeq: 100, Messages: 100, Bytes: 100_000, MaxBytes: 1 << 20, MaxAge: time.Hour, FirstTime: now}
	l := openLedger(info, stream.Watermark{Stream: "a", Seq: 50}, 101)
	if got, _ := l.pending(now); got != 50_000 {
		t.Errorf("opened with %d bytes pending, want 50000", got)
	}
	if got, _ := openLedger(info, stream.Watermark{Stream: "b", Seq: 50}, 101).pending(now); got != 100_000 {
		t.Errorf("a position in another stream: %d bytes pending, want all", got)
	}
	l.wrote(10, 600_000, now)
	if !l.full(now) {
		t.Error("650000 of 1048576 bytes pending, and not full")
	}
	l.update(stream.Watermark{Stream: "b", Seq: 1000})
	if !l.full(now) {
		t.Error("a position in another stream made room")
	}
	l.update(stream.Watermark{Stream: "a", Seq: 110})
	if got, _ := l.pending(now); got != 0 || l.full(now) {
		t.Errorf("everything is applied, %d bytes pending", got)
	}
	l.wrote(11, 600_100, now)
	if l.full(now.Add(29*time.Minute)) || !l.full(now.Add(31*time.Minute)) {
		t.Error("half of max_age is not what counts")
	}
	// Small messages share an entry, and it counts as applied only with the last of them.
	l.wrote(12, 600_200, now.Add(time.Millisecond))
	l.update(stream.Watermark{Stream: "a", Seq: 111})
	if got, _ := l.pending(now); got != 200 {
		t.Errorf("%d bytes pending, want 200", got)
	}
}

// feed hands out the given pieces, one a read.
type feed struct{ pieces [][]byte }

func (f *feed) Read(p []byte) (int, error) {
	if len(f.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.pieces[0])
	if f.pieces[0] = f.pieces[0][n:]; len(f.pieces[0]) == 0 {
		f.pieces = f.pieces[1:]
	}
	return n, nil
}

func message(kind byte, body []byte) []byte {
	b := append([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))...)
	return append(b, body...)
}

func TestModeratedReader(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("x"), 3*readBuffer)
	var all []byte
	bodies := [][]byte{[]byte("handshake"), []byte("second"), nil, large, []byte("last")}
	for _, b := range bodies {
		all = append(all, message('d', b)...)
	}
	for _, size := range []int{100, 4096, 64 << 10, len(all)} {
		f := &feed{}
		for rest := all; len(rest) > 0; {
			n := min(size, len(rest))
			f.pieces = append(f.pieces, rest[:n])
			rest = rest[n:]
		}
		m := newModeratedReader(f)
		// The handshake's reader asks for much and gets one message.
		var got []byte
		for len(got) < len(message('d', bodies[0])) {
			p := make([]byte, 1<<16)
			n, err := m.Read(p)
			if err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			got = append(got, p[:n]...)
		}
		if !bytes.Equal(got, message('d', bodies[0])) {
			t.Fatalf("size %d: the handshake got %q", size, got)
		}
		for i := 1; i < len(bodies); {
			kind, body, ok, err := m.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if err := m.fill(); err != nil {
					t.Fatalf("size %d: message %d: %v", size, i, err)
				}
				continue
			}
			if kind != 'd' || !bytes.Equal(body, bodies[i]) {
				t.Fatalf("size %d: message %d: got %d bytes of kind %q, want %d", size, i, len(body), kind, len(bodies[i]))
			}
			i++
		}
		if err := m.fill(); !errors.Is(err, io.EOF) {
			t.Errorf("size %d: got %v at the end", size, err)
		}
		if len(m.buf) != readBuffer {
			t.Errorf("size %d: a buffer of %d bytes is kept after a large message", size, len(m.buf))
		}
	}
	m := newModeratedReader(&feed{pieces: [][]byte{{'d', 0xff, 0xff, 0xff, 0xff}}})
	if err := m.fill(); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := m.next(); err == nil {
		t.Error("a length of four gigabytes was believed")
	}
}

// The reader pauses only while the stream is behind, and longer when a pause brings little.
func TestModeration(t *testing.T) {
	t.Parallel()
	f := &feed{}
	for range 20 {
		f.pieces = append(f.pieces, message('d', []byte("small")))
	}
	m := newModeratedReader(f)
	var pauses []time.Duration
	m.sleep = func(d time.Duration) { pauses = append(pauses, d) }
	read := func() {
		t.Helper()
		if err := m.fill(); err != nil {
			t.Fatal(err)
		}
		m.r = m.w
	}
	for range 5 {
		read()
	}
	if len(pauses) != 0 {
		t.Fatalf("paused %v without a backlog", pauses)
	}
	m.backlog = true
	for range 10 {
		read()
	}
	if pauses[0] != pauseLeast || pauses[len(pauses)-1] != pauseMost {
		t.Errorf("got pauses %v, want from %v to %v", pauses, pauseLeast, pauseMost)
	}
	f.pieces = [][]byte{bytes.Repeat([]byte("x"), readBuffer)}
	read()
	if m.pause != pauseMost/2 {
		t.Errorf("got a pause of %v after a full buffer, want it halved", m.pause)
	}
}

// A keepalive in the middle of a transaction must not move the position: the transaction's rows are not all there.
func TestKeepaliveInTheMiddleOfATransaction(t *testing.T) {
	t.Parallel()
	keepalive := func(lsn uint64, reply byte) []byte {
		b := binary.BigEndian.AppendUint64([]byte{'k'}, lsn)
		return append(binary.BigEndian.AppendUint64(b, 0), reply)
	}
	s := &session{}
	s.progress = progress{last: 100, open: true, tx: 150}
	if err := s.copyData(t.Context(), keepalive(150, 1)); err != nil {
		t.Fatal(err)
	}
	if s.progress.last != 100 || s.progress.fresh || !s.timers.reply {
		t.Errorf("got %+v, reply %v: want the position to stay and the reply to be due", s.progress, s.timers.reply)
	}
	s.progress.open = false
	if err := s.copyData(t.Context(), keepalive(200, 0)); err != nil {
		t.Fatal(err)
	}
	if s.progress.last != 200 || !s.progress.fresh {
		t.Errorf("got %+v, want the position to move", s.progress)
	}
	if err := s.copyData(t.Context(), keepalive(180, 0)); err != nil || s.progress.last != 200 {
		t.Errorf("got %+v, %v: the position does not go back", s.progress, err)
	}
	for _, bad := range [][]byte{nil, {'k'}, {'w', 0}, {'z', 1, 2}} {
		if err := s.copyData(t.Context(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestStatusNeverSendsZero(t *testing.T) {
	t.Parallel()
	if err := new(replication).status(100, 0, false); err == nil {
		t.Error("zero was sent")
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := Config{Name: "shop", URL: "postgres://", Tables: []Table{{Schema: "public", Name: "orders"}}}
	if _, err := New(good, nil); err != nil {
		t.Fatal(err)
	}
	bad := Config{Name: "a b", Slot: "A", MaxWAL: -1, Chunk: -1, Heartbeat: -1, MarkInterval: -1, Tables: []Table{{Name: "x"}}}
	_, err := New(bad, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"name", "postgres.url", "postgres.slot", "postgres.max_wal", "postgres.chunk", "postgres.heartbeat", "postgres.mark_interval", "tables[0]"} {
		if !bytes.Contains([]byte(err.Error()), []byte(field+":")) {
			t.Errorf("%s is not reported in: %v", field, err)
		}
	}
	if got := slotName("My-Shop"); got != "freshet_my_shop" {
		t.Errorf("got slot %s", got)
	}
	if got := publicationNames(`it's "odd"`); got != `'"it''s ""odd"""'` {
		t.Errorf("got %s", got)
	}
}
