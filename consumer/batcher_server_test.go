package consumer

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

var updateGolden = flag.Bool("update", false, "write testdata/batcher/*.golden from what is published")

// TestBatcherServer runs SQL on a real server and compares what is published
// with testdata/batcher.
func TestBatcherServer(t *testing.T) {
	t.Parallel()
	pg := servertest.Postgres(t)
	for i, test := range serverTests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, pg, fmt.Sprintf("batcher_%d", i), test.options, test.setup)
			got := strings.Join(d.published(t, test.tables, test.run), "\n") + "\n"
			got = strings.NewReplacer(long, "(10 kB)", long[:2500], "(2.5 kB)").Replace(got)
			golden := filepath.Join("testdata", "batcher", strings.ReplaceAll(test.name, " ", "_")+".golden")
			if *updateGolden {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// database is a database with a slot.
type database struct{ conn *pgx.Conn }

func newDatabase(t *testing.T, pg *servers.Postgres, name, options, setup string) *database {
	t.Helper()
	ctx := t.Context()
	admin, err := pg.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name+" "+options); err != nil {
		t.Fatal(err)
	}
	cfg, err := pgx.ParseConfig(pg.DatabaseURL(name))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range cdc.TextForm() {
		cfg.RuntimeParams[key] = value
	}
	cfg.RuntimeParams["TimeZone"] = "UTC"
	if strings.Contains(options, "SQL_ASCII") {
		// With UTF8 the server would refuse to send such a row at all.
		cfg.RuntimeParams["client_encoding"] = "SQL_ASCII"
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	d := &database{conn: conn}
	d.exec(t, setup)
	d.exec(t, "CREATE PUBLICATION p FOR ALL TABLES")
	d.exec(t, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", name))
	return d
}

func (d *database) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := d.conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// decode calls f for each message that the statements, a transaction each,
// make the server send.
func (d *database) decode(t *testing.T, statements []string, f func(pgoutput.Message)) {
	t.Helper()
	for _, sql := range statements {
		d.exec(t, sql)
	}
	rows, err := d.conn.Query(t.Context(), `SELECT data FROM pg_logical_slot_get_binary_changes(current_database(), NULL, NULL,
		'proto_version', '1', 'publication_names', 'p')`)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	var decoder pgoutput.Decoder
	for _, data := range messages {
		m, err := decoder.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		f(m)
	}
}

// published returns what a batcher publishes of the statements: a line for
// each message with table and key, and a line for each of its changes.
func (d *database) published(t *testing.T, tables []Table, statements []string) []string {
	t.Helper()
	var c collector
	b := testBatcher(&c, tables...)
	b.cfg.rootOf = func(oid uint32, schema, name string) (cdc.TableName, bool, error) {
		root := cdc.TableName{Schema: schema, Table: name}
		err := d.conn.QueryRow(t.Context(), `SELECT n.nspname, c.relname FROM pg_partition_ancestors($1) a
			JOIN pg_class c ON c.oid = a.relid JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE NOT c.relispartition`, oid).Scan(&root.Schema, &root.Table)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return root, false, err
		}
		return root, true, nil
	}
	d.decode(t, statements, func(m pgoutput.Message) {
		if begin, ok := m.(*pgoutput.Begin); ok {
			b.begin(cdc.Transaction{LSN: begin.FinalLSN, XID: begin.XID, Time: begin.Time})
		}
		if err := b.apply(m); err != nil {
			t.Fatal(err)
		}
	})
	flushed(t, b)
	var lines []string
	for _, m := range c.messages {
		var decoded cdc.Message
		if err := cdc.Decode(m.data, &decoded); err != nil {
			t.Fatalf("%v\n%s", err, m.data)
		}
		lines = append(lines, fmt.Sprintf("%s.%s key %q", m.schema, m.table, decoded.Key))
		one := collector{messages: []sent{m}}
		lines = append(lines, one.changes(t)...)
	}
	return lines
}

// serverTest is SQL, whose changes stand in a file.
type serverTest struct {
	name    string
	options string // of CREATE DATABASE
	setup   string
	tables  []Table
	run     []string // each a transaction
}

func everything(schema, name string) Table { return Table{Schema: schema, Name: name, All: true} }

func column(schema, name string, columns ...string) Table {
	return Table{Schema: schema, Name: name, Columns: columns}
}

var long = strings.Repeat("0123456789", 1000)

var serverTests = []serverTest{
	{
		name: "types",
		setup: `CREATE TYPE status AS ENUM ('NEW', 'two words'); CREATE DOMAIN positive AS bigint CHECK (VALUE > 0);
			CREATE DOMAIN small AS positive; CREATE DOMAIN flag AS boolean; CREATE DOMAIN moment AS timestamptz; CREATE DOMAIN label AS text;
			CREATE TABLE t (id bigint PRIMARY KEY, i2 smallint, i4 integer, f4 real, f8 float8, n numeric, b boolean, tz timestamptz, ts timestamp,
			d date, tm time, iv interval, u uuid, by bytea, a text[], e status, j json, jb jsonb, c char(4), v varchar(9), o oid, p point,
			dom small, dflag flag, dat moment, dlabel label, ints int[], inet inet, m money, x xml)`,
		tables: []Table{everything("public", "t")},
		run: []string{
			`INSERT INTO t VALUES (9223372036854775807, -32768, -1, 1.5, 1e20, 12345678901234567890.10, true, '2026-11-23 12:00:00.123456+02', '2026-11-23 10:00:00',
			'2026-11-23', '10:00:00', '1 day 2 hours', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '\xdeadBEEF', '{a,"b c",NULL}', 'two words', E'{"a":\n 1}', '{"b": [1, null], "a": "é"}',
			'ab', 'ab', 42, '(1,2)', 5, true, '2026-01-01 00:00:00+00', 'x"y', '{1,2}', '10.0.0.1', 12.5, '<a/>')`,
			`INSERT INTO t (id, f4, f8, n, tz, ts, d, j, jb, dflag) VALUES (1, 'NaN', '-Infinity', 'NaN', 'infinity', '0044-03-15 10:00:00 BC', '12026-01-01', 'null', '"text"', false)`,
			`INSERT INTO t (id, f4, f8, tz, ts) VALUES (2, 0.1, 123456789012345680, '9999-12-31 23:59:59.999999+00', '10000-01-01 00:00:00')`,
		},
	},
	{
		name:   "odd names",
		setup:  `CREATE SCHEMA "My Shop"; CREATE TABLE "My Shop"."Order" (id text PRIMARY KEY, "clientId" integer, "a ""quoted"" name" text, "naïve.*>" text)`,
		tables: []Table{column("My Shop", "Order", "id", "clientId", `a "quoted" name`, "naïve.*>")},
		run: []string{
			`INSERT INTO "My Shop"."Order" VALUES ('key with * ? [x] {y} spaces', 1, E'line\nbreak\ttab\r\\ "quote" \x01', '🌊'), ('', NULL, '', NULL)`,
		},
	},
	{
		name:   "long text",
		setup:  `CREATE TABLE t (id text PRIMARY KEY, note text)`,
		tables: []Table{everything("public", "t")},
		run:    []string{`INSERT INTO t VALUES ('1', repeat('0123456789', 1000))`},
	},
	{
		name:   "composite key",
		setup:  `CREATE TABLE t (a integer, b text, c text, d text, PRIMARY KEY (b, a))`,
		tables: []Table{column("public", "t", "a", "b", "c")},
		run: []string{
			`INSERT INTO t VALUES (1, 'x', 'c', 'd')`, `UPDATE t SET c = 'C', d = 'D'`, `UPDATE t SET d = 'only what is not published'`,
			`UPDATE t SET a = 2`, `UPDATE t SET a = 3, b = 'y'`, `DELETE FROM t`,
		},
	},
	{
		name:   "part of the key published",
		setup:  `CREATE TABLE t (a integer, b text, c text, PRIMARY KEY (a, b))`,
		tables: []Table{column("public", "t", "a", "c")},
		run:    []string{`INSERT INTO t VALUES (1, 'x', 'c')`, `UPDATE t SET b = 'y'`, `UPDATE t SET a = 2`, `DELETE FROM t`},
	},
	{
		name:   "none of the key published",
		setup:  `CREATE TABLE t (a integer PRIMARY KEY, c text)`,
		tables: []Table{column("public", "t", "c")},
		run:    []string{`INSERT INTO t VALUES (1, 'c')`, `UPDATE t SET c = 'd'`, `UPDATE t SET a = 2`, `DELETE FROM t`},
	},
	{
		name: "identity full",
		setup: `CREATE TABLE t (id integer PRIMARY KEY, client_id integer, note text, long text); ALTER TABLE t REPLICA IDENTITY FULL;
			ALTER TABLE t ALTER long SET STORAGE EXTERNAL`,
		tables: []Table{column("public", "t", "id", "client_id", "note")},
		run: []string{
			`INSERT INTO t VALUES (1, 7, NULL)`, `UPDATE t SET client_id = 9`, `UPDATE t SET note = ''`, `UPDATE t SET note = NULL`, `UPDATE t SET note = note`, `DELETE FROM t`,
		},
	},
	{
		name: "identity index",
		setup: `CREATE TABLE t (id integer PRIMARY KEY, slug text NOT NULL UNIQUE, note text);
			ALTER TABLE t REPLICA IDENTITY USING INDEX t_slug_key`,
		tables: []Table{everything("public", "t")},
		run:    []string{`INSERT INTO t VALUES (1, 'a', NULL)`, `UPDATE t SET id = 2`, `UPDATE t SET slug = 'b'`, `DELETE FROM t`},
	},
	{
		name:   "identity nothing",
		setup:  `CREATE TABLE t (id integer PRIMARY KEY, note text); ALTER TABLE t REPLICA IDENTITY NOTHING`,
		tables: []Table{everything("public", "t")},
		run:    []string{`INSERT INTO t VALUES (1, 'a')`},
	},
	{
		name:   "no primary key",
		setup:  `CREATE TABLE t (id integer, note text)`,
		tables: []Table{everything("public", "t")},
		run:    []string{`INSERT INTO t VALUES (1, 'a')`},
	},
	{
		name: "unchanged TOAST",
		setup: `CREATE TABLE t (id integer PRIMARY KEY, note text, client_id integer); ALTER TABLE t ALTER note SET STORAGE EXTERNAL;
			CREATE TABLE f (id integer PRIMARY KEY, note text, client_id integer); ALTER TABLE f ALTER note SET STORAGE EXTERNAL; ALTER TABLE f REPLICA IDENTITY FULL;
			CREATE TABLE k (note text NOT NULL, client_id integer); ALTER TABLE k ALTER note SET STORAGE EXTERNAL;
			CREATE UNIQUE INDEX k_note ON k (note); ALTER TABLE k REPLICA IDENTITY USING INDEX k_note`,
		tables: []Table{everything("public", "t"), everything("public", "f"), everything("public", "k")},
		run: []string{
			`INSERT INTO t VALUES (1, repeat('0123456789', 1000), 7)`, `UPDATE t SET client_id = 9`, `UPDATE t SET note = 'short'`,
			`INSERT INTO f VALUES (1, repeat('0123456789', 1000), 7)`, `UPDATE f SET client_id = 9`, `UPDATE f SET note = 'short'`,
			// A key that is out of line fits the index (2,700 bytes) and not the row.
			`INSERT INTO k VALUES (repeat('0123456789', 250), 7)`, `UPDATE k SET client_id = 9`, `UPDATE k SET note = 'short'`, `DELETE FROM k`,
		},
	},
	{
		name: "statements",
		setup: `CREATE TABLE t (id integer PRIMARY KEY, note text); CREATE TABLE other (id integer PRIMARY KEY);
			INSERT INTO t VALUES (1, 'old')`,
		tables: []Table{everything("public", "t")},
		run: []string{
			`INSERT INTO t VALUES (1, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET note = excluded.note || ' again'`,
			`INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING`,
			`BEGIN; INSERT INTO t VALUES (3, 'kept'); SAVEPOINT s; INSERT INTO t VALUES (4, 'lost'); ROLLBACK TO s; INSERT INTO t VALUES (5, 'kept'); COMMIT`,
			`BEGIN; INSERT INTO t VALUES (6, 'lost'); ROLLBACK`,
			`INSERT INTO other VALUES (1)`,
			`BEGIN; INSERT INTO t VALUES (7, 'prepared'); PREPARE TRANSACTION 'p1'`,
			`BEGIN; INSERT INTO t VALUES (8, 'never'); PREPARE TRANSACTION 'p2'`,
			`INSERT INTO t VALUES (9, 'between')`,
			`COMMIT PREPARED 'p1'`,
			`ROLLBACK PREPARED 'p2'`,
			`COPY t FROM PROGRAM 'printf "10\tcopied\n11\t\\\\N\n"'`,
			`MERGE INTO t USING (VALUES (10, 'merged'), (12, 'new')) AS v (id, note) ON t.id = v.id
				WHEN MATCHED THEN UPDATE SET note = v.note WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.note)`,
		},
	},
	{
		name: "truncate",
		setup: `CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent);
			CREATE TABLE without_rules (id integer PRIMARY KEY, parent integer REFERENCES parent)`,
		tables: []Table{everything("public", "parent"), everything("public", "child")},
		run:    []string{`TRUNCATE child`, `INSERT INTO parent VALUES (1)`, `TRUNCATE parent CASCADE`},
	},
	{
		name: "partitions",
		setup: `CREATE TABLE t (id integer, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
			CREATE TABLE t_2 (note text, dropped text, day date NOT NULL, id integer NOT NULL, PRIMARY KEY (id, day)); ALTER TABLE t_2 DROP dropped;
			ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
			CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') PARTITION BY LIST (id);
			CREATE TABLE t_3_1 PARTITION OF t_3 FOR VALUES IN (1)`,
		tables: []Table{{Schema: "public", Name: "t", Columns: []string{"id", "day", "note"}}},
		run: []string{
			`INSERT INTO t VALUES (1, '2026-02-02', 'a'), (2, '2026-08-08', 'b')`, `UPDATE t SET note = 'c'`, `UPDATE t SET day = '2027-03-03' WHERE id = 1`,
			`CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM ('2028-01-01') TO ('2029-01-01')`, `INSERT INTO t VALUES (4, '2028-02-02', 'new partition')`,
			`TRUNCATE t_2`, `TRUNCATE t`, `INSERT INTO t_1 VALUES (5, '2026-02-02', 'into the leaf')`, `DELETE FROM t`,
		},
	},
	{
		name: "partitions with other identities",
		setup: `CREATE TABLE t (id integer PRIMARY KEY, note text) PARTITION BY RANGE (id);
			CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20);
			ALTER TABLE t_2 REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (11, 'b'), (2, 'c')`,
		tables: []Table{everything("public", "t")},
		run:    []string{`UPDATE t SET note = note || '!' WHERE id < 2`, `UPDATE t SET note = note || '!' WHERE id > 1`},
	},
	{
		name:   "alter table",
		setup:  `CREATE TABLE t (id integer PRIMARY KEY, client_id integer, note text)`,
		tables: []Table{column("public", "t", "id", "client_id", "note", "extra")},
		run: []string{
			`BEGIN; INSERT INTO t VALUES (1, 7, 'a'); ALTER TABLE t ADD extra boolean DEFAULT true; INSERT INTO t VALUES (2, 7, 'b'); COMMIT`,
			`ALTER TABLE t DROP client_id`, `INSERT INTO t VALUES (3, 'c')`,
			`ALTER TABLE t RENAME note TO remark`, `INSERT INTO t VALUES (4, 'd', false)`,
			`ALTER TABLE t ALTER id TYPE text`, `UPDATE t SET extra = NULL WHERE id = '4'`,
			`ALTER TABLE t REPLICA IDENTITY FULL`, `UPDATE t SET extra = true WHERE id = '4'`,
		},
	},
	{
		name:   "generated column",
		setup:  `CREATE TABLE t (id integer PRIMARY KEY, a text, up text GENERATED ALWAYS AS (upper(a)) STORED)`,
		tables: []Table{everything("public", "t")},
		run:    []string{`INSERT INTO t VALUES (1, 'x')`},
	},
	{
		name:    "latin1",
		options: `ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
		setup:   `CREATE TABLE t (id text PRIMARY KEY)`,
		tables:  []Table{everything("public", "t")},
		run:     []string{`INSERT INTO t VALUES ('naïve')`},
	},
	{
		// Such a database stores any bytes. What is not UTF-8 widens.
		name:    "sql ascii",
		options: `ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`,
		setup:   `CREATE TABLE t (id text PRIMARY KEY)`,
		tables:  []Table{everything("public", "t")},
		run:     []string{`INSERT INTO t VALUES ('naïve'), (E'\xff'), (E'again \xff'), ('after')`, `INSERT INTO t VALUES (E'\xfe')`},
	},
}
