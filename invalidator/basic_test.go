package invalidator_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/invalidator"
)

func TestRemovesWhatDependsOnARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)

	w.fill("order:1", "order:2", "orders:client:7", "orders:client:9", "orders:client:8", "dashboard:1")
	w.publish("orders", cdc.Change{
		Op: cdc.Update, OldKnown: cdc.OldFull,
		New: cdc.Row{number("id", 1), number("client_id", 9)}, Old: cdc.Row{number("client_id", 7)},
	})
	v.reaches(w.mark())

	w.gone("order:1", "orders:client:7", "orders:client:9")
	w.stays("order:2", "orders:client:8", "dashboard:1")
	if got, want := cdc.LSN(w.position().LSN), w.lsn; got != want {
		t.Errorf("position in Redis: got %s, want %s", got, want)
	}
	if mark, ok, err := w.stream.LastWatermark(t.Context()); err != nil || !ok {
		t.Errorf("no watermark: %v", err)
	} else if mark.LSN > w.lsn {
		t.Errorf("watermark: got %s, beyond the last mark %s", mark.LSN, w.lsn)
	}
}

func TestTruncateRemovesTheWholeTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)

	w.fill("order:1", "order:2", "orders:client:8", "user:1")
	w.publish("orders", cdc.Change{Op: cdc.Truncate})
	v.reaches(w.mark())
	if left := w.present("order:1", "order:2", "orders:client:8"); len(left) > 0 {
		t.Errorf("left after the position passed the truncate: %q", left)
	}
	w.stays("user:1")
}

func TestAppliesMessagesThatComeTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	from := w.lsn

	lsn, tx := w.lsn, w.tx
	w.publish("orders", order(1), order(2))
	v.reaches(w.mark())
	end := w.lsn

	// The same transactions again, by a session that begins below them.
	w.fill("order:1", "order:2")
	w.begin(from)
	w.lsn, w.tx = lsn, tx
	w.publish("orders", order(1), order(2))
	w.lsn = end
	v.reaches(w.mark())
	w.gone("order:1", "order:2")
	if s := v.Status(); s.State != invalidator.StateActive {
		t.Errorf("state: got %s (%s), want active", s.State, s.Reason)
	}
}

func TestALoneChangeIsAppliedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	var mu sync.Mutex
	least := time.Hour
	v := w.start(func(c *invalidator.Config) {
		c.OnApplied = func(a invalidator.Applied) {
			mu.Lock()
			defer mu.Unlock()
			for _, change := range a.Changes {
				least = min(least, change.Lag)
			}
		}
	})
	w.settle(v)
	const n = 50
	for i := range n {
		w.publish("orders", order(i))
		v.within(waiting, "the change", func(s invalidator.Status) bool { return s.Changes == int64(i+1) })
	}
	if got := v.Status().Latency; got.Count != n {
		t.Errorf("latency of %d changes, want %d", got.Count, n)
	}
	mu.Lock()
	defer mu.Unlock()
	// A batch that waited for more to come, or for a tick, would delay each of
	// them; a busy machine delays some.
	if least > 20*time.Millisecond {
		t.Errorf("of %d lone changes none was applied within 20 ms, the first of them after %v", n, least)
	}
}

func TestTellsAnObserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	var mu sync.Mutex
	var seen []invalidator.Applied
	v := w.start(func(c *invalidator.Config) {
		c.OnApplied = func(a invalidator.Applied) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, a)
		}
	})
	w.settle(v)
	mu.Lock()
	seen = nil // the flush of the first start
	mu.Unlock()
	w.fill("order:1")
	w.publish("orders", order(1))
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	mu.Lock()
	defer mu.Unlock()
	var keys, patterns, changes, removed int
	for _, a := range seen {
		keys, patterns, changes, removed = keys+len(a.Keys), patterns+len(a.Patterns), changes+len(a.Changes), removed+a.Removed
		for _, c := range a.Changes {
			if c.Lag <= 0 || c.Lag > time.Minute || c.LSN == 0 {
				t.Errorf("change %+v: no believable lag or LSN", c)
			}
		}
	}
	if keys != 2 || patterns != 1 || changes != 2 || removed != 1 {
		t.Errorf("observer saw %d keys, %d patterns, %d changes, %d removed; want 2, 1, 2, 1", keys, patterns, changes, removed)
	}
}

func TestStopsInTheMiddleOfABacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	keys := orders(0, 2000)
	v := w.start(func(c *invalidator.Config) { c.Batch = 10 })
	w.settle(v)
	w.fill(keys...)
	for i := range keys {
		w.publish("orders", order(i))
	}
	last := w.mark()
	v.within(waiting, "some changes", func(s invalidator.Status) bool { return s.Changes > 0 })
	v.stop()
	if got := v.Status().State; got != invalidator.StateStopped {
		t.Errorf("state: got %s, want stopped", got)
	}
	v = w.start()
	v.reaches(last)
	w.gone(keys...)
}

func TestBroadcastsWhatWasRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heard, err := w.stream.Conn().SubscribeSync(near.Subjects(instance))
	if err != nil {
		t.Fatal(err)
	}
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.ID = "me" })
	w.settle(v)
	w.fill("user:1")
	lsn := w.publish("users", cdc.Change{Op: cdc.Insert, New: cdc.Row{number("id", 1)}})
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	v.stop()
	var all []near.Broadcast
	for {
		msg, err := heard.NextMsg(waiting)
		if err != nil {
			t.Fatalf("no goodbye after %d broadcasts: %v", len(all), err)
		}
		broadcast, beat, err := near.Decode(msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if beat != nil {
			if beat.N != uint64(len(all)) {
				t.Errorf("heartbeat names number %d after %d broadcasts", beat.N, len(all))
			}
			if beat.Role != near.RoleInvalidator {
				t.Errorf("heartbeat of a %q, want %q", beat.Role, near.RoleInvalidator)
			}
			if beat.Bye {
				break
			}
			continue
		}
		all = append(all, *broadcast)
		if broadcast.N != uint64(len(all)) || broadcast.Sender != "me-1" {
			t.Errorf("broadcast %d of %s, want %d of me-1", broadcast.N, broadcast.Sender, len(all))
		}
	}
	// The flush of the first start comes first: all tags, and a pass of patterns.
	if len(all) < 4 {
		t.Fatalf("%d broadcasts, want 4: %+v", len(all), all)
	}
	for _, b := range all[:len(all)-2] {
		if !b.AllTags && !slices.Contains(b.Patterns, "order:*") {
			t.Errorf("broadcast of the flush: %+v", b)
		}
	}
	all = all[len(all)-2:]
	if b := all[0]; !slices.Equal(b.Keys, []string{"user:1"}) || !slices.Equal(b.Tags, []string{"user:1"}) || b.LSN < lsn.String() || b.Epoch != epoch.String() {
		t.Errorf("broadcast of keys: %+v", b)
	}
	if b := all[1]; !slices.Equal(b.Patterns, []string{"dashboard:*"}) {
		t.Errorf("broadcast of patterns: %+v", b)
	}
}
