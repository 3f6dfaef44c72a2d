package invalidator_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/invalidator"
)

// counted counts queries on their way to a pool.
type counted struct {
	*pgxpool.Pool
	n atomic.Int64
}

func (c *counted) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n.Add(1)
	return c.Pool.Query(ctx, sql, args...)
}

func TestLooksUpWhatTheRowLacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := servertest.Postgres(t)
	pool, err := pgxpool.New(t.Context(), db.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, sql := range []string{
		`CREATE TABLE orders (id int PRIMARY KEY, client_id bigint, paid boolean, at timestamptz, note text)`,
		`INSERT INTO orders VALUES (1, 7, true, '2026-01-02 03:04:05.5+02', 'a b'), (2, 8, false, '2026-01-02 00:00Z', NULL)`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	w.rules = []rule.Config{{
		Table: "items", Lookup: "select client_id, paid, at, note from orders where id = {order_id}",
		Invalidate: []string{"client:{client_id}", "paid:{paid}", "day:{at|date:2006-01-02}", "at:{at}", "note:{note}"},
	}}
	querier := &counted{Pool: pool}
	w.lookups = querier
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)

	line := func(order int) cdc.Change {
		return cdc.Change{Op: cdc.Insert, New: cdc.Row{number("id", 1), number("order_id", order)}}
	}
	w.fill("client:7", "client:8", "client:9", "paid:true", "paid:false", "day:2026-01-02", "at:2026-01-02T01:04:05.5Z", "note:a b", "note:c")
	w.publish("items", line(1), line(1), line(1))
	v.reaches(w.mark())
	w.gone("client:7", "paid:true", "day:2026-01-02", "at:2026-01-02T01:04:05.5Z", "note:a b")
	w.stays("client:8", "client:9", "paid:false", "note:c")
	if got := querier.n.Load(); got != 1 {
		t.Errorf("%d queries for one distinct parameter in a batch, want 1", got)
	}

	// No row: any client may have been meant.
	w.publish("items", line(3))
	v.reaches(w.mark())
	if left := w.present("client:8", "client:9"); len(left) > 0 {
		t.Errorf("left although the lookup found no row: %q", left)
	}

	// A query that cannot succeed widens, and is told.
	events := w.events()
	w.fill("client:8")
	if _, err := pool.Exec(t.Context(), "ALTER TABLE orders RENAME TO other"); err != nil {
		t.Fatal(err)
	}
	w.publish("items", line(2))
	v.reaches(w.mark())
	w.gone("client:8")
	events.await("poison", 1)

	// A database that is away makes nothing wait for long.
	w.fill("client:8")
	if err := db.Stop(); err != nil {
		t.Fatal(err)
	}
	w.publish("items", line(2))
	v.reaches(w.mark())
	w.gone("client:8")
}

func TestRulesWithALookupNeedADatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules = []rule.Config{{Table: "items", Lookup: "select client_id from orders where id = {order_id}", Invalidate: []string{"client:{client_id}"}}}
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("client:1", "client:2")
	w.publish("items", cdc.Change{Op: cdc.Insert, New: cdc.Row{number("id", 1), number("order_id", 1)}})
	v.reaches(w.mark())
	w.gone("client:1", "client:2")
	if got := v.Status(); got.DeadLetters != 1 || got.Widened != 1 {
		t.Errorf("dead letters %d, widened %d, want 1 and 1", got.DeadLetters, got.Widened)
	}
}

func TestPutsThePrefixBeforeEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.prefix = "app*:"
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.Prefix = w.prefix })
	w.settle(v)
	w.fill("app*:order:1", "order:1", "app*:dashboard:1", "appx:dashboard:1", "dashboard:1")
	w.publish("orders", order(1))
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	w.gone("app*:order:1", "app*:dashboard:1")
	w.stays("order:1", "appx:dashboard:1", "dashboard:1")
}

func TestCountsWhatTheRulesDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("order:1", "dashboard:1", "dashboard:2")
	w.publish("orders", order(1), order(2), cdc.Change{Op: cdc.Insert, New: cdc.Row{number("id", 3), {Name: "client_id"}}})
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	s := v.Status()
	if s.Changes != 4 || s.Nulls != 1 || s.Removed != 3 {
		t.Errorf("changes %d, nulls %d, removed %d; want 4, 1, 3", s.Changes, s.Nulls, s.Removed)
	}
	got := fmt.Sprint(s.Rules)
	if want := "[{orders 5 0 0} {inventory 0 1 0} {users 0 0 0}]"; got != want {
		t.Errorf("by rule: got %s, want %s", got, want)
	}
}

// A lookup's values make the same names as the stream's, whatever the server, the database or the role is set to.
func TestLookupsReadTheFormOfTheStream(t *testing.T) {
	t.Parallel()
	db := servertest.Postgres(t, servers.PostgresOptions{Settings: map[string]string{
		"datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "bytea_output": "escape", "extra_float_digits": "-3",
	}})
	w := newWorld(t)
	w.lookups = openLookups(t, db.URL())
	w.rules = []rule.Config{{
		Table: "items", Lookup: `select date '2026-11-23' as day, interval '1 day 02:03:04' as span, '\x00ff'::bytea as raw,
			0.1::float8 + 0.2::float8 as f from (select {order_id}) x`,
		Invalidate: []string{"day:{day}", "span:{span}", "raw:{raw}", "f:{f}"},
	}}
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("day:2026-11-23", "span:1 day 02:03:04", `raw:\x00ff`, "f:0.30000000000000004", "day:2026-11-24")
	w.publish("items", cdc.Change{Op: cdc.Insert, New: cdc.Row{number("id", 1), number("order_id", 1)}})
	v.reaches(w.mark())
	w.gone("day:2026-11-23", "span:1 day 02:03:04", `raw:\x00ff`, "f:0.30000000000000004")
	w.stays("day:2026-11-24")
}

// Of two orders, of which a policy hides one, both clients' keys depend on the row.
func TestLookupsDoNotBelieveWhatPoliciesHide(t *testing.T) {
	t.Parallel()
	db := servertest.Postgres(t)
	conn, err := db.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `CREATE TABLE orders (id int PRIMARY KEY, item int, client_id int);
		INSERT INTO orders VALUES (1, 1, 7), (2, 1, 8);
		CREATE ROLE reader LOGIN; GRANT SELECT ON orders TO reader;
		ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY sevens ON orders USING (client_id = 7)`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.lookups = openLookups(t, db.UserURL("reader", "", "app"))
	w.rules = []rule.Config{{Table: "items", Lookup: "select client_id from orders where item = {id}", Invalidate: []string{"client:{client_id}"}}}
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("client:7", "client:8")
	w.publish("items", cdc.Change{Op: cdc.Insert, New: cdc.Row{number("id", 1)}})
	v.reaches(w.mark())
	w.gone("client:7", "client:8")
	if got := v.Status().Widened; got != 1 {
		t.Errorf("widened %d rows, want 1", got)
	}
}

// A standby may not have replayed the change yet that a lookup is about.
func TestLookupsRefuseAStandby(t *testing.T) {
	t.Parallel()
	standby := servertest.PostgresStandby(t, servertest.Postgres(t))
	rows, err := openLookups(t, standby.URL()).Query(t.Context(), "select 1")
	if err == nil {
		rows.Close()
		t.Fatal("a standby was asked")
	}
	if !strings.Contains(err.Error(), "standby") {
		t.Errorf("got %v", err)
	}
}

func openLookups(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := invalidator.OpenDatabase(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
