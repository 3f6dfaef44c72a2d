package warmer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

const table = `create table t (id bigint primary key, n int); insert into t select i, 0 from generate_series(1, 100) i;`

func total(r warmer.Results) int64 {
	return r.Filled + r.Refused + r.Missing + r.Failed + r.Dropped + r.Merged
}

// A task fills its key with what the query returns, as it is, for the rule's TTL.
func TestFills(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(nil)}, nil)
	w.prefix = "app:"
	v := w.start(nil)
	w.offered.Offer([]stream.WarmTask{w.task(0, "t:1", "1"), w.task(0, "t:2", "2")})
	w.is(v, "two fills", func(s warmer.Status) bool { return s.Results.Filled == 2 })
	if got, want := w.value("app:t:1"), `{"n": 0, "id": 1}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if left := w.rdb.PTTL(t.Context(), "app:t:1").Val(); left <= 50*time.Minute || left > time.Hour {
		t.Errorf("it lasts for %v, want an hour", left)
	}
	type row struct{ ID, N int }
	if got, err := cache.Get[row](t.Context(), v.cache, "t:2"); err != nil || got.ID != 2 {
		t.Errorf("the library reads %+v, %v", got, err)
	}
	s := v.Status()
	if s.State != warmer.StateActive || s.Queries != 2 || len(s.Rules) != 1 || s.Rules[0].Rule != "t" || s.Rules[0].Results.Filled != 2 {
		t.Errorf("got status %+v", s)
	}
}

// Without a row the key goes, or it is remembered that there is none.
func TestMissing(t *testing.T) {
	t.Parallel()
	absent := rows(func(w *rule.Warm) { w.Missing = rule.MissingAbsent })
	absent.Name, absent.Invalidate, absent.Warm[0].Key = "absent", []string{"a:{id}"}, "a:{id}"
	w := newWorld(t, table, []rule.Config{rows(nil), absent}, nil)
	v := w.start(func(c *warmer.Config) { c.Absent = time.Hour })
	for _, key := range []string{"t:900", "a:900"} {
		if err := w.rdb.Set(t.Context(), key, `"old"`, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	w.offered.Offer([]stream.WarmTask{w.task(0, "t:900", "900"), w.task(1, "a:900", "900")})
	w.is(v, "two without a row", func(s warmer.Status) bool { return s.Results.Missing == 2 })
	if got := w.value("t:900") + w.value("a:900"); got != "" {
		t.Errorf("left: %s", got)
	}
	for key, want := range map[string]error{"t:900": nil, "a:900": cache.ErrNotFound} {
		_, err := cache.GetOrSet(t.Context(), v.cache, key, time.Minute, load)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", key, err, want)
		}
	}
}

// Parameters are bound in their text form, whatever their type, by a role that may
// only read.
func TestParameters(t *testing.T) {
	t.Parallel()
	schema := `create type mood as enum ('sad', 'Happy');
		create table t (id bigint primary key, u uuid, at timestamptz, day date, b bool, x text, n numeric, m mood, j jsonb, raw bytea, f float8, a int[], missing int);
		insert into t values (9007199254740993, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-11-23 10:00:00.5+00', '2026-11-23', true, 'o''x; --', 1.50, 'Happy', '{"a":1}', '\x00ff', 'NaN', '{1,2}', null);
		create role reader login; grant select on t to reader;`
	columns := []string{"id", "u", "at", "day", "b", "x", "n", "m", "j", "raw", "f", "a", "missing"}
	values := []string{
		"9007199254740993", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "2026-11-23T10:00:00.5Z", "2026-11-23", "true", "o'x; --", "1.50",
		"Happy", `{"a":1}`, `\x00ff`, "NaN", "{1,2}", "NULL",
	}
	var rules []rule.Config
	for _, c := range columns {
		rules = append(rules, rule.Config{
			Table: "t", Name: c, Invalidate: []string{c + ":{" + c + "}"},
			Warm: []rule.Warm{{Key: c + ":{" + c + "}", SQL: "select to_jsonb(id) from t where " + c + " is not distinct from {" + c + "}", TTL: time.Hour}},
		})
	}
	w := newWorld(t, schema, rules, nil)
	url := strings.Replace(w.postgres.URL(), "postgres@", "reader@", 1)
	v := w.warmer(url, nil)
	for i, c := range columns {
		if _, err := v.Do(t.Context(), w.task(i, c, values[i])); err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		if got := w.value(c); got != "9007199254740993" {
			t.Errorf("%s = %s: got %q, want the row's id", c, values[i], got)
		}
	}
	// A query cannot write, whatever the role may.
	w.rules = append(w.rules, rule.Config{Table: "t", Invalidate: []string{"w:{id}"}, Warm: []rule.Warm{{
		Key: "w:{id}", SQL: "with gone as (delete from t where id = {id} returning id) select to_jsonb(id) from gone", TTL: time.Hour,
	}}})
	v = w.warmer(w.postgres.URL(), nil)
	if _, err := v.Do(t.Context(), w.task(len(columns), "w", values[0])); err == nil || !strings.Contains(err.Error(), "25006") {
		t.Errorf("a query that writes: got %v, want SQLSTATE 25006", err)
	}
}

// What fails is counted and said once, with the rule's name and no values; it is not
// sent again and again, and holds no other rule up. When it works again, that is said.
func TestQueriesThatFail(t *testing.T) {
	t.Parallel()
	broken := map[string]string{
		"columns":  "select {id}::int, 2",
		"rows":     "select to_jsonb(t) from t where id = {id} or id = 2",
		"null":     "select null::jsonb where {id} = 1",
		"no json":  "select 'secret' || {id}",
		"no table": "select to_jsonb(u) from u where id = {id}",
		"values":   "select to_jsonb(('secret' || {id})::int)",
		"slow":     "select to_jsonb(pg_sleep(600)) where {id} = 1",
	}
	rules := []rule.Config{rows(nil)}
	for name, sql := range broken {
		key := strings.ReplaceAll(name, " ", "") + ":{id}"
		rules = append(rules, rule.Config{Table: "t", Name: name, Invalidate: []string{key}, Warm: []rule.Warm{{Key: key, SQL: sql, TTL: time.Hour}}})
	}
	w := newWorld(t, table, rules, nil)
	v := w.start(func(c *warmer.Config) { c.Timeout = 200 * time.Millisecond })
	const each = 20
	var tasks []stream.WarmTask
	for i := range each {
		for r := 1; r < len(rules); r++ {
			tasks = append(tasks, w.task(r, fmt.Sprintf("%d:%d", r, i), "1"))
		}
	}
	w.offered.Offer(tasks)
	w.is(v, "every task is done", func(s warmer.Status) bool { return total(s.Results) == int64(len(tasks)) })
	for i := range 10 {
		w.offered.Offer([]stream.WarmTask{w.task(0, fmt.Sprintf("t:%d", i), "1")})
	}
	w.is(v, "the good rule goes on", func(s warmer.Status) bool { return s.Results.Filled == 10 })
	s := v.Status()
	if s.State != warmer.StateActive || s.Results.Filled != 10 || s.Results.Refused != 0 {
		t.Errorf("got %+v", s)
	}
	for _, r := range s.Rules {
		if _, bad := broken[r.Rule]; !bad {
			continue
		}
		if r.Results.Failed == 0 || r.Results.Failed == each || r.Results.Failed+r.Results.Dropped != each || r.Reason == "" {
			t.Errorf("%s: got %+v, want some failures and the rest dropped, with a reason", r.Rule, r)
		}
		if got := strings.Count(w.log.String(), "rule="+quoted(r.Rule)); got != 1 {
			t.Errorf("%s: %d lines name it, want 1", r.Rule, got)
		}
	}
	if strings.Contains(w.log.String(), "secret") {
		t.Errorf("the log has values:\n%s", w.log)
	}
	if keys := w.rdb.Keys(t.Context(), "freshet:lease:*").Val(); len(keys) > 0 {
		t.Errorf("leases are left, for which readers wait: %q", keys)
	}

	w.exec(`create table u (id bigint)`)
	servertest.Eventually(t, waiting, func() (bool, string) {
		for r := 1; r < len(rules); r++ {
			if rules[r].Name == "no table" {
				w.offered.Offer([]stream.WarmTask{w.task(r, "again", "1")})
			}
		}
		return strings.Contains(w.log.String(), "a warm query works again"), w.log.String()
	})
}

func quoted(name string) string {
	if strings.Contains(name, " ") {
		return `"` + name + `"`
	}
	return name
}

// A task of other rules, or one that cannot be read, is dropped.
func TestOtherRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(func(q *rule.Warm) { q.TTL = time.Minute })}, nil)
	old := w.task(0, "t:1", "1")
	w.rules = []rule.Config{rows(nil)}
	v := w.start(nil)
	w.offered.Offer([]stream.WarmTask{old})
	w.is(v, "one dropped", func(s warmer.Status) bool { return s.Results.Dropped == 1 })
	if err := w.stream.Conn().Publish(w.stream.Subjects().Warm("x"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	w.is(v, "two dropped", func(s warmer.Status) bool { return s.Results.Dropped == 2 })
	if s := v.Status(); s.Queries != 0 || w.value("t:1") != "" {
		t.Errorf("got %d queries and %q, want nothing", s.Queries, w.value("t:1"))
	}
}

// Nothing is made for warming where no rule warms.
func TestIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{{Table: "t", Invalidate: []string{"t:{id}"}}}, nil)
	v := w.start(nil)
	w.is(v, "idle", func(s warmer.Status) bool { return s.State == warmer.StateIdle })
	if _, err := w.stream.JetStream().Stream(t.Context(), "freshet-shop-warm"); err == nil {
		t.Error("there is a stream of warm tasks that nobody asked for")
	}
}

// A standby's rows may be behind what was invalidated: it is refused.
func TestStandby(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(nil)}, nil)
	standby := servertest.PostgresStandby(t, w.postgres)
	v := w.warmer(standby.URL(), nil)
	if _, err := v.Do(t.Context(), w.task(0, "t:1", "1")); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("got %v, want an error about the standby", err)
	}
	if got := w.value("t:1"); got != "" {
		t.Errorf("got %s from a standby", got)
	}
}

// What a policy hides from the warmer's role would be missing for every reader.
func TestQueriesDoNotBelieveWhatPoliciesHide(t *testing.T) {
	t.Parallel()
	db := servertest.Postgres(t)
	conn, err := db.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `CREATE TABLE orders (id int PRIMARY KEY, client_id int);
		CREATE ROLE reader LOGIN; GRANT SELECT ON orders TO reader;
		ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY sevens ON orders USING (client_id = 7)`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	pool, err := warmer.OpenDatabase(t.Context(), db.UserURL("reader", "", "app"), warmer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var n int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM orders").Scan(&n); err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("got %d rows and error %v, want a refusal", n, err)
	}
	if _, err := conn.Exec(t.Context(), "ALTER ROLE reader BYPASSRLS"); err != nil {
		t.Fatal(err)
	}
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM orders").Scan(&n); err != nil {
		t.Errorf("with the remedy: %v", err)
	}
}
