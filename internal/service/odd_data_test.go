package service_test

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/rule"
)

// oddCase is one change of odd data, and the keys it must and must not remove.
type oddCase struct {
	name   string
	schema string
	rules  []rule.Config
	change string // after the service has started; several statements run in one transaction
	gone   []string
	kept   []string
}

func (c oddCase) check(t *testing.T) {
	t.Helper()
	b := newBundle(t, options{schema: c.schema, rules: c.rules})
	r := b.start()
	b.settle(r)
	b.plant(append(append([]string(nil), c.gone...), c.kept...)...)
	b.exec(c.change)
	b.expect(r, c.gone, c.kept)
}

func on(table string, targets ...string) []rule.Config {
	return []rule.Config{{Table: table, Invalidate: targets}}
}

func TestOddNamesAndTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []oddCase{
		{
			name: "mixed case and quoted names, as Prisma writes them",
			schema: `create table "Order" ("orderId" text primary key, "clientId" text not null, "Odd ""Name" int);
				alter table "Order" replica identity full;
				insert into "Order" values ('ckv1', 'c7', 1), ('ckv2', 'c8', 1)`,
			rules:  on("Order", "order:{orderId}", "orders:client:{clientId}"),
			change: `update "Order" set "clientId" = 'c9' where "orderId" = 'ckv1'`,
			gone:   []string{"order:ckv1", "orders:client:c7", "orders:client:c9"},
			kept:   []string{"order:ckv2", "orders:client:c8"},
		},
		{
			name:   "a schema beside public with a table of the same name",
			schema: `create schema "Sales"; create table "Sales".items (id int primary key, n int); create table items (id int primary key, n int); insert into "Sales".items values (1, 0), (2, 0); insert into items values (1, 0), (2, 0)`,
			rules:  []rule.Config{{Table: "Sales.items", Invalidate: []string{"sales:{id}"}}, {Table: "items", Invalidate: []string{"public:{id}"}}},
			change: `update "Sales".items set n = 1 where id = 1; update items set n = 1 where id = 2`,
			gone:   []string{"sales:1", "public:2"},
			kept:   []string{"sales:2", "public:1"},
		},
		{
			name:   "a composite primary key",
			schema: `create table stock (site text, item bigint, n int, primary key (site, item)); insert into stock values ('lyon', 1, 0), ('lyon', 2, 0)`,
			rules:  on("stock", "stock:{site}:{item}"),
			change: `update stock set n = 1 where item = 1`,
			gone:   []string{"stock:lyon:1"},
			kept:   []string{"stock:lyon:2"},
		},
		{
			name:   "a UUID key, in lower case whatever was written",
			schema: `create table docs (id uuid primary key, n int); insert into docs values ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 0)`,
			rules:  on("docs", "doc:{id}"),
			change: `update docs set n = 1`,
			gone:   []string{"doc:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		},
		{
			name: "enums, domains, arrays, numeric, bool, date",
			schema: `create type mood as enum ('sad', 'Happy'); create domain euros as numeric(10, 2) check (value >= 0); create domain price as euros;
				create table t (id int primary key, m mood, p price, a int[], b bool, d date);
				alter table t replica identity full;
				insert into t values (1, 'Happy', 1.5, '{1,2}', true, '2026-11-23')`,
			rules:  on("t", "m:{m}", "p:{p}", "a:{a}", "b:{b}", "d:{d}", "n:{b}:{m}"),
			change: `update t set m = 'sad', p = 2, a = '{3,NULL}', b = false, d = '2026-01-01'`,
			gone: []string{
				"m:Happy", "m:sad", "p:1.50", "p:2.00", "a:{1,2}", "a:{3,NULL}", "b:true", "b:false",
				"d:2026-11-23", "d:2026-01-01", "n:true:Happy", "n:false:sad",
			},
		},
		{
			name: "timestamptz in UTC whatever the server's zone, bytea as hex, jsonb, interval",
			schema: `alter database app set timezone = 'Asia/Kathmandu'; alter database app set datestyle = 'SQL, DMY'; alter database app set intervalstyle = 'sql_standard'; alter database app set bytea_output = 'escape';
				create table t (id int primary key, at timestamptz, local timestamp, raw bytea, doc jsonb, span interval);
				alter table t replica identity full;
				insert into t values (1, '2026-11-23 10:00:00.5+00', '2026-11-23 10:00', '\x00ff', '{"a": [1]}', '1 day 02:00')`,
			rules:  on("t", "at:{at}", "day:{at|date:2006-01-02}", "local:{local}", "raw:{raw}", "doc:{doc}", "span:{span}"),
			change: `delete from t`,
			gone: []string{
				"at:2026-11-23T10:00:00.5Z", "day:2026-11-23", "local:2026-11-23T10:00:00Z", `raw:\x00ff`,
				`doc:{"a": [1]}`, "span:1 day 02:00:00",
			},
		},
		{
			name: "jsonb that is a bare null or string has a text of its own, and is not NULL",
			schema: `create table t (id int primary key, doc jsonb); alter table t replica identity full;
				insert into t values (1, 'null'), (2, '"a"'), (3, null), (4, '7')`,
			rules:  on("t", "doc:{doc}"),
			change: `delete from t`,
			gone:   []string{"doc:null", `doc:"a"`, "doc:7"},
			kept:   []string{"doc:a", "doc:"},
		},
		{
			name:   "NULL in a key column means no such key",
			schema: `create table t (id int primary key, parent int); alter table t replica identity full; insert into t values (1, null), (2, 7)`,
			rules:  on("t", "t:{id}", "parent:{parent}"),
			change: `update t set parent = 7 where id = 1; update t set parent = null where id = 2`,
			gone:   []string{"t:1", "t:2", "parent:7"},
			kept:   []string{"parent:", "parent:null", "parent:NULL"},
		},
		{
			name:   "integers beyond 2^53 and floats",
			schema: `create table t (id bigint primary key, f float8, n int); insert into t values (9007199254740993, 0.1, 0), (9223372036854775807, 'NaN', 0)`,
			rules:  on("t", "t:{id}", "new:{new.f}"),
			change: `update t set n = 1`,
			gone:   []string{"t:9007199254740993", "t:9223372036854775807", "new:0.1", "new:NaN"},
			kept:   []string{"t:9007199254740992"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t)
		})
	}
}

// Keys may hold whatever text holds, and a pattern matches it as text.
func TestOddTextInKeys(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 1024)
	texts := []string{
		"*", "a*b", "?", "a?", "[a]", "[^a]", "{x}", "{", "}", "}{", "a}b{c}", `\`, `a\*b`, " ", "two words", "line\nbreak", "\r\t", "emoji 🦀 é", "%41", "^", "-", "]", "\"quoted\"", "semi;colon", "€", long,
	}
	b := newBundle(t, options{
		schema: `create table t (id text primary key, n int not null default 0)`,
		rules:  on("t", "t:{id}", "p:{id}:*"),
	})
	var keys, near []string
	for _, text := range texts {
		b.exec(`insert into t (id) values ($1)`, text)
		keys = append(keys, "t:"+text, "p:"+text+":list")
	}
	// What a careless glob would also match.
	near = append(near, "p:axxb", "p:xyz", "p:a:", "t:x", "other:*")
	r := b.start()
	b.settle(r)
	b.plant(keys...)
	b.plant(near...)
	b.exec(`update t set n = 1`)
	b.expect(r, keys, near)
}

func TestOddStatements(t *testing.T) {
	t.Parallel()
	const orders = `create table orders (id bigint primary key, client_id bigint, note text);
		alter table orders replica identity full;
		insert into orders select n, n, 'x' from generate_series(1, 5) n`
	targets := on("orders", "order:{id}", "orders:client:{client_id}")
	for _, c := range []oddCase{
		{
			name: "a changed primary key", schema: orders, rules: targets,
			change: `update orders set id = 100 where id = 1`,
			gone:   []string{"order:1", "order:100", "orders:client:1"}, kept: []string{"order:2", "orders:client:2"},
		},
		{
			name:   "a changed primary key under the default identity",
			schema: `create table t (id int primary key); insert into t values (1), (2)`, rules: on("t", "t:{id}"),
			change: `update t set id = 100 where id = 1`,
			gone:   []string{"t:1", "t:100"}, kept: []string{"t:2"},
		},
		{
			name: "an order changes hands: both lists", schema: orders, rules: targets,
			change: `update orders set client_id = 9 where id = 2`,
			gone:   []string{"order:2", "orders:client:2", "orders:client:9"}, kept: []string{"orders:client:1"},
		},
		{
			name: "delete", schema: orders, rules: targets, change: `delete from orders where id = 3`,
			gone: []string{"order:3", "orders:client:3"}, kept: []string{"order:4", "orders:client:4"},
		},
		{
			name: "truncate", schema: orders, rules: targets, change: `truncate orders`,
			gone: []string{"order:1", "order:777", "orders:client:3"}, kept: []string{"orders", "orderly"},
		},
		{
			name: "truncate cascade over several tables",
			schema: `create table a (id int primary key); create table b (id int primary key, a int references a); create table c (id int primary key);
				insert into a values (1); insert into b values (1, 1); insert into c values (1)`,
			rules: []rule.Config{
				{Table: "a", Invalidate: []string{"a:{id}"}}, {Table: "b", Invalidate: []string{"b:{id}"}}, {Table: "c", Invalidate: []string{"c:{id}"}},
			},
			change: `truncate a cascade`, gone: []string{"a:1", "b:1"}, kept: []string{"c:1"},
		},
		{
			name: "insert from a select", schema: orders, rules: targets,
			change: `create temp table source as select n + 1000 as id, n + 1000 as client_id, 'x' as note from generate_series(1, 3) n; insert into orders select * from source`,
			gone:   []string{"order:1001", "order:1003", "orders:client:1002"}, kept: []string{"order:1"},
		},
		{
			name: "insert on conflict", schema: orders, rules: targets,
			change: `insert into orders values (1, 8, 'y'), (50, 50, 'y') on conflict (id) do update set client_id = excluded.client_id; insert into orders values (2, 99, 'n') on conflict do nothing`,
			gone:   []string{"order:1", "orders:client:1", "orders:client:8", "order:50", "orders:client:50"}, kept: []string{"order:2", "orders:client:99"},
		},
		{
			name: "a rolled back savepoint", schema: orders, rules: targets,
			change: `begin; update orders set note = 'a' where id = 1; savepoint s; update orders set note = 'b' where id = 2; rollback to s; update orders set note = 'c' where id = 3; commit`,
			gone:   []string{"order:1", "order:3"}, kept: []string{"order:2"},
		},
		{
			name: "a rolled back transaction", schema: orders, rules: targets,
			change: `begin; update orders set note = 'a' where id = 1; rollback; update orders set note = 'a' where id = 2`,
			gone:   []string{"order:2"}, kept: []string{"order:1"},
		},
		{
			name: "an unchanged value out of line in a key column",
			schema: `create table t (id int primary key, slug text, n int); alter table t alter slug set storage external; alter table t replica identity full;
				insert into t values (1, repeat('s', 9000), 0)`,
			rules:  on("t", "slug:{slug}"),
			change: `update t set n = 1`, gone: []string{"slug:" + strings.Repeat("s", 9000)}, kept: []string{"slug:other"},
		},
		{
			name: "an unchanged value out of line that the identity does not carry: widened, not skipped",
			schema: `create table t (id int primary key, slug text, n int); alter table t alter slug set storage external;
				insert into t values (1, repeat('s', 9000), 0)`,
			rules:  []rule.Config{{Table: "t", Invalidate: []string{"slug:{slug}", "t:{id}"}, Old: "widen"}},
			change: `update t set n = 1`, gone: []string{"slug:" + strings.Repeat("s", 9000), "slug:other", "t:1"}, kept: []string{"t:2"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t)
		})
	}
}

func TestCopyIn(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}")})
	r := b.start()
	b.settle(r)
	b.plant("t:1", "t:500", "t:501")
	b.exec(`copy t from program 'seq 1 500'`)
	b.expect(r, []string{"t:1", "t:500"}, []string{"t:501"})
}

func TestPreparedTransaction(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema:   `create table t (id int primary key, n int); insert into t values (1, 0), (2, 0), (3, 0)`,
		rules:    on("t", "t:{id}"),
		settings: map[string]string{"max_prepared_transactions": "5"},
	})
	r := b.start()
	b.settle(r)
	b.plant("t:1", "t:2", "t:3")
	b.exec(`begin; update t set n = 1 where id = 1; prepare transaction 'first'; begin; update t set n = 1 where id = 2; prepare transaction 'second'`)
	b.exec(`update t set n = 1 where id = 3`)
	b.expect(r, []string{"t:3"}, []string{"t:1", "t:2"})
	b.exec(`commit prepared 'first'`)
	b.exec(`rollback prepared 'second'`)
	b.expect(r, []string{"t:1"}, []string{"t:2"})
}

const partitioned = `
	create table events (id bigint, day date, n int, primary key (id, day)) partition by range (day);
	create table events_old partition of events for values from ('2025-01-01') to ('2026-01-01');
	create table events_new partition of events for values from ('2026-01-01') to ('2027-01-01');
	insert into events values (1, '2025-06-01', 0), (2, '2026-06-01', 0)`

func TestPartitions(t *testing.T) {
	t.Parallel()
	for _, c := range []oddCase{
		{
			name: "insert", schema: partitioned, rules: on("events", "event:{id}"),
			change: `insert into events values (3, '2026-07-01', 0)`, gone: []string{"event:3"}, kept: []string{"event:1", "event:2"},
		},
		{
			name: "a row moves across partitions", schema: partitioned, rules: on("events", "event:{id}", "day:{day}"),
			change: `update events set day = '2026-05-05' where id = 1`,
			gone:   []string{"event:1", "day:2025-06-01", "day:2026-05-05"}, kept: []string{"event:2"},
		},
		{
			name: "a row moves across partitions, and the rule counts updates only", schema: partitioned,
			rules:  []rule.Config{{Table: "events", Ops: []string{"update"}, Invalidate: []string{"event:{id}", "day:{day}"}}},
			change: `update events set day = '2026-05-05' where id = 1`,
			gone:   []string{"event:1", "day:2025-06-01", "day:2026-05-05"}, kept: []string{"event:2"},
		},
		{
			name: "truncate of one partition", schema: partitioned, rules: on("events", "event:{id}"),
			change: `truncate events_old`, gone: []string{"event:1"}, kept: []string{"events"},
		},
		{
			name: "truncate of the root", schema: partitioned, rules: on("events", "event:{id}"),
			change: `truncate events`, gone: []string{"event:1", "event:2"}, kept: []string{"events"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(t)
		})
	}
}

func TestNewPartitionWhileRunning(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: partitioned, rules: on("events", "event:{id}")})
	r := b.start()
	b.settle(r)
	b.exec(`create table events_next partition of events for values from ('2027-01-01') to ('2028-01-01')`)
	b.plant("event:9", "event:10")
	b.exec(`insert into events values (9, '2027-02-02', 0)`)
	b.settle(r)
	if left := b.present("event:9"); len(left) > 0 {
		t.Error("a row of a partition made while running did not remove its key")
	}
}

func TestGeneratedColumnIsRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: `create table t (id int primary key, double int generated always as (id * 2) stored)`,
		rules:  on("t", "double:{double}"),
	})
	_, err := b.tryStart()
	if err == nil {
		t.Fatal("a rule on a generated column that the server does not send was accepted")
	}
	words := []string{"double", "generated", "store it in an ordinary column"}
	var sent bool // from 18 on the server does, and the rule lacks the old value alone
	if err := b.db.QueryRow(t.Context(), `select current_setting('server_version_num')::int >= 180000`).Scan(&sent); err != nil {
		t.Fatal(err)
	}
	if sent {
		words = []string{"double", "REPLICA IDENTITY FULL"}
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %q, want an error that names the column, says that it is generated, and what to do", err)
		}
	}
}

func TestAlterTableInMidStream(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: `create table t (id int primary key, client_id int, note text); alter table t replica identity full; insert into t values (1, 7, 'x'), (2, 8, 'x')`,
		rules:  on("t", "t:{id}", "client:{client_id}"),
	})
	r := b.start()
	b.settle(r)
	b.plant("t:1", "t:2", "client:7", "client:8")
	b.exec(`update t set note = 'y' where id = 1; alter table t add column extra text default 'z'; update t set extra = 'a' where id = 1`)
	b.settle(r)
	if left := b.present("t:1", "client:7"); len(left) > 0 {
		t.Errorf("after ADD COLUMN: still cached %v", left)
	}
	b.plant("t:1", "client:7")
	b.exec(`alter table t drop column note; update t set extra = 'b' where id = 1`)
	b.settle(r)
	if left := b.present("t:1", "client:7"); len(left) > 0 {
		t.Errorf("after DROP COLUMN: still cached %v", left)
	}
	// A column of the rules is renamed: what cannot be rendered is widened.
	b.plant("t:2", "client:8")
	b.exec(`alter table t rename column client_id to customer_id; update t set extra = 'c' where id = 2`)
	b.settle(r)
	if left := b.present("t:2", "client:8"); len(left) > 0 {
		t.Errorf("after RENAME COLUMN: still cached %v", left)
	}
}
