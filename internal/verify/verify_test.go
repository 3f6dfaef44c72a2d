package verify_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/verify"
)

var good = flag.Int("verify.good", 3000, "how many good values to check under write load")

const orders = `create table orders (id bigint primary key, note text not null, n bigint not null default 0);
	insert into orders select i, 'order ' || i from generate_series(1, 1000) i`

const orderSQL = `select to_jsonb(o) from orders o where o.id = $1`

func orderRule() rule.Config {
	return rule.Config{
		Table: "orders", Invalidate: []string{"order:{id}"},
		Warm: []rule.Warm{{Key: "order:{id}", SQL: `select to_jsonb(o) from orders o where o.id = {id}`, TTL: time.Hour}},
	}
}

// Twenty values planted by hand are found, and none of the good ones is reported
// although rows change and entries are removed and filled all the while.
func TestFindsWhatWasPlantedUnderWrites(t *testing.T) {
	t.Parallel()
	w := onRedis(t, orders, orderRule())
	const (
		rows = 980 // of which values are good; the others are planted
		hot  = 3   // rows that are written again and again, the others now and then
	)
	// of is a row: one of the hot ones, in all but one of so many cases.
	of := func(other int) int {
		if rand.IntN(other) == 0 {
			return 1 + rand.IntN(rows)
		}
		return 1 + rand.IntN(hot)
	}
	planted := map[string]bool{}
	for i := range 20 {
		key := fmt.Sprintf("order:%d", rows+1+i)
		planted[key] = true
		value := fmt.Sprintf(`{"id": %d, "note": "never so", "n": 0}`, rows+1+i)
		ttl := time.Hour
		switch i {
		case 0:
			value = "no JSON"
		case 1:
			value = "null"
		case 2:
			ttl = 0 // for ever
		case 3:
			key = "order:5000" // a row that there is not
			delete(planted, fmt.Sprintf("order:%d", rows+1+i))
			planted[key] = true
		}
		w.plant(key, value, ttl)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	t.Cleanup(load.Wait)
	t.Cleanup(cancel)
	for range 2 {
		load.Go(func() { // writes rows
			for ctx.Err() == nil {
				_, err := w.db.Exec(ctx, `update orders set n = n + 1 where id = $1`, of(50))
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				select { // leave the machine to others
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		})
		load.Go(func() { // reads and fills
			for ctx.Err() == nil {
				id := of(2)
				if err := w.load(ctx, fmt.Sprintf("order:%d", id), orderSQL, id); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		n, err := w.rdb.DBSize(ctx).Result()
		return n > 800, fmt.Sprintf("%d keys, %v", n, err)
	})

	checked := 0
	for checked < *good {
		report := w.verify(verify.Config{})
		found := map[string]bool{}
		for _, m := range report.Mismatches {
			found[m.Key] = true
			if !planted[m.Key] {
				t.Errorf("a good value is reported: %+v", m)
			}
			if m.Rule != "public.orders" && m.Rule != "orders" || m.Cached == m.Database {
				t.Errorf("got %+v", m)
			}
		}
		if len(found) != len(planted) {
			t.Fatalf("found %d of %d planted values: %v", len(found), len(planted), report.Targets)
		}
		if report.Failed > 0 {
			t.Fatalf("got %+v", report.Targets)
		}
		checked += report.Checked - len(report.Mismatches)
	}
	t.Logf("%d good values checked, %d planted found each time", checked, len(planted))
}

// What the watermark has not passed is left out: nothing runs that could have
// removed it.
func TestLeavesOutWhatIsBehindTheWatermark(t *testing.T) {
	t.Parallel()
	w := onRedis(t, orders, orderRule())
	if err := w.load(t.Context(), "order:1", orderSQL, 1); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.exec(`update orders set n = 7 where id = 1`)
	report := w.verify(verify.Config{Patience: 200 * time.Millisecond})
	if len(report.Mismatches) != 0 || report.Targets[0].Behind != 1 || report.Skipped != 1 {
		t.Errorf("got %+v, want the one key left out", report)
	}
	w.run()
	if report = w.verify(verify.Config{}); len(report.Mismatches) != 0 || report.Skipped != 0 {
		t.Errorf("got %+v, want nothing", report)
	}
}

// A value that was stored after the database was read proves nothing: the row may
// have changed for both.
func TestAnotherEntryIsNoProof(t *testing.T) {
	t.Parallel()
	w := onRedis(t, orders, orderRule())
	// Stale, and about to be noticed and replaced while it is looked at.
	w.plant("order:1", `{"id": 1}`, time.Minute)
	var looks int
	var cfg verify.Config
	cfg.SetHooks(func() {
		if looks++; looks > 1 {
			return
		}
		w.exec(`update orders set n = 1 where id = 1`)
		w.settle()
		if err := w.load(t.Context(), "order:1", orderSQL, 1); err != nil {
			t.Error(err)
		}
	}, func() {
		if looks == 1 {
			w.stop() // what is committed now is not applied
			w.exec(`update orders set n = 2 where id = 1`)
		}
	})
	cfg.Patience = 2 * time.Second
	report := w.verify(cfg)
	if len(report.Mismatches) != 0 || report.Targets[0].Behind != 1 {
		t.Errorf("got %+v, want nothing but a key that is behind", report)
	}
}

func TestFixInvalidates(t *testing.T) {
	t.Parallel()
	w := onRedis(t, orders, orderRule())
	w.plant("order:1", `{"id": 1}`, time.Hour)
	w.plant("order:2", `{"n": 0.0e5, "id": 2.0, "note": "order 2"}`, 0)
	report := w.verify(verify.Config{Fix: true})
	if len(report.Mismatches) != 1 || report.Mismatches[0].Key != "order:1" || !report.Mismatches[0].Fixed || report.Fixed != 1 || report.Checked != 2 {
		t.Fatalf("got %+v", report)
	}
	if age := report.Mismatches[0].Age; age < 0 || age > time.Hour/2 {
		t.Errorf("got age %v", age)
	}
	if n := w.rdb.Exists(t.Context(), "order:1", "order:2").Val(); n != 1 {
		t.Errorf("%d of the two keys are left, want the good one", n)
	}
	if report = w.verify(verify.Config{}); len(report.Mismatches) != 0 || report.Checked != 1 {
		t.Errorf("after the fix: got %+v", report)
	}
}

// Values of a key that mean something in globs, templates or keys.
func TestOddKeys(t *testing.T) {
	t.Parallel()
	w := onRedis(t, `create table docs (site text, name text, n int, primary key (site, name));
		insert into docs values ('a', '*?[x]', 1), ('b{c}', '', 2), ('x:y', 'z', 3), ('quo''te', '\', 4)`,
		rule.Config{
			Table: "docs", Invalidate: []string{"doc:{site|urlencode}:{name}"},
			Warm: []rule.Warm{{Key: "doc:{site|urlencode}:{name}", SQL: `select n from docs where site = {site} and name = {name}`, TTL: time.Hour}},
		},
		rule.Config{
			Table: "docs", Name: "unsure", Invalidate: []string{"docs:{site}:{name}"},
			Warm: []rule.Warm{{Key: "docs:{site}:{name}", SQL: `select n from docs where site = {site} and name = {name}`, TTL: time.Hour}},
		},
		rule.Config{
			Table: "docs", Name: "hashed", Invalidate: []string{"hash:{name|sha1}"},
			Immutable: []string{"name"},
			Warm:      []rule.Warm{{Key: "hash:{name|sha1}", SQL: `select count(*) from docs where name = {name}`, TTL: time.Hour}},
		})
	w.plant("doc:a:*?[x]", "1", 0)
	w.plant("doc:b%7Bc%7D:", "2", 0)
	w.plant("doc:x%3Ay:z", "0", 0) // wrong
	w.plant(`doc:quo%27te:\`, "4", 0)
	w.plant("docs:x:y:z", "0", 0)
	w.plant("docs:a:*?[x]", "1", 0)
	report := w.verify(verify.Config{})
	if len(report.Mismatches) != 1 || report.Mismatches[0].Key != "doc:x%3Ay:z" || report.Checked != 5 || report.NotVerifiable != 1 {
		t.Errorf("got %+v", report)
	}
	if unsure := report.Targets[1]; unsure.Unread != 1 || !strings.Contains(unsure.Why, "more than one way") {
		t.Errorf("got %+v", unsure)
	}
	if hashed := report.Targets[2]; hashed.Verifiable || !strings.Contains(hashed.Why, "{name}") {
		t.Errorf("got %+v", hashed)
	}
}

// A query that fails is named, without the row's values, and the others go on.
func TestFailingQueries(t *testing.T) {
	t.Parallel()
	warm := func(name, sql string) rule.Config {
		return rule.Config{
			Table: "orders", Name: name, Invalidate: []string{name + ":{note}"},
			Warm: []rule.Warm{{Key: name + ":{note}", SQL: sql, TTL: time.Hour}},
		}
	}
	w := onRedis(t, orders+`; alter table orders replica identity full`,
		warm("missing", "select 1 from nowhere where note = {note}"),
		warm("cast", "select {note}::text::int"),
		warm("many", "select n from orders where note <> {note}"),
		warm("wide", "select 1, 2 where {note}::text <> ''"),
		orderRule())
	for _, key := range []string{"missing:x", "cast:secret", "many:x", "wide:x", "order:1"} {
		w.plant(key, "1", 0)
	}
	report := w.verify(verify.Config{})
	for i, want := range []string{"nowhere", "22P02", "several rows", "2 columns"} {
		got := report.Targets[i]
		if got.Failed != 1 || !strings.Contains(got.Error, want) || !strings.Contains(got.Error, "rule "+got.Rule) || strings.Contains(got.Error, "secret") {
			t.Errorf("got %+v, want an error with %q", got, want)
		}
	}
	if len(report.Mismatches) != 1 || report.Mismatches[0].Key != "order:1" {
		t.Errorf("got %+v", report.Mismatches)
	}
}

func TestOnACluster(t *testing.T) {
	t.Parallel()
	cluster := servertest.RedisCluster(t, 3)
	w := newWorld(t, orders, cluster.Client(), cluster, orderRule())
	for i := range 60 {
		if err := w.load(t.Context(), fmt.Sprintf("order:%d", i+1), orderSQL, i+1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		w.plant(fmt.Sprintf("order:%d", 100+i), "{}", time.Hour)
	}
	report := w.verify(verify.Config{Fix: true})
	if len(report.Mismatches) != 6 || report.Checked != 66 || report.Fixed != 6 {
		t.Errorf("got %+v", report)
	}
}

func TestSampleAndProgress(t *testing.T) {
	t.Parallel()
	w := onRedis(t, orders, orderRule())
	values := map[string]int{}
	for i := range 500 {
		values[fmt.Sprintf("order:%d", i+1)] = 0
	}
	if err := cache.SetMany(t.Context(), w.cache, values, time.Hour); err != nil {
		t.Fatal(err)
	}
	var mismatches, last, of int
	report := w.verify(verify.Config{
		Sample:     25,
		OnMismatch: func(verify.Mismatch) { mismatches++ },
		OnProgress: func(done, all int) { last, of = done, all },
	})
	if report.Checked != 25 || report.Targets[0].Keys != 500 || mismatches != 25 || last != 25 || of != 25 || report.Bound != 1 {
		t.Errorf("got %+v, %d mismatches, %d of %d", report, mismatches, last, of)
	}
}

// Watch finds what is planted while it runs, and only when it is its turn.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := onRedis(t, orders, orderRule())
	db, err := verify.Open(t.Context(), w.pgURL, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	found := make(chan verify.Mismatch, 100)
	v, err := verify.New(verify.Config{Rate: 1e6, Fix: true, OnMismatch: func(m verify.Mismatch) { found <- m }}, w.cache, db, w.set)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	asked := make(chan bool)
	go func() { ended <- v.Watch(ctx, func() bool { return <-asked }) }()
	w.plant("order:1", "1", 0)
	asked <- false
	asked <- false // the first turn is over
	select {
	case m := <-found:
		t.Errorf("found %+v, though it was not its turn", m)
	default:
	}
	close(asked) // false for ever
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- v.Watch(ctx, func() bool { return true }) }()
	if m := <-found; m.Key != "order:1" {
		t.Errorf("got %+v", m)
	}
	w.plant("order:2", "1", 0)
	if m := <-found; m.Key != "order:2" {
		t.Errorf("got %+v", m)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
