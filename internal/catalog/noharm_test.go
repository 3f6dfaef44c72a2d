package catalog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
)

// The application's statements on every kind of table, with our publication in
// place. Each of them fails under a publication that somebody made with less
// care, which the second half of the test shows for some.
func TestNoStatementOfTheApplicationFails(t *testing.T) {
	t.Parallel()
	server, db := start(t, append(events,
		`CREATE TABLE plain (id int PRIMARY KEY, client int, note text, gone text)`,
		`CREATE TABLE whole (id int, note text, twice int GENERATED ALWAYS AS (id * 2) STORED)`,
		`ALTER TABLE whole REPLICA IDENTITY FULL`,
		`CREATE TABLE keyed (id int NOT NULL, other int)`, `CREATE UNIQUE INDEX keyed_i ON keyed (id)`,
		`ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_i`,
		`CREATE TABLE base (id int PRIMARY KEY, note text)`,
		`CREATE TABLE child (PRIMARY KEY (id)) INHERITS (base)`,
		`CREATE TABLE late (id int)`,
	)...)
	mustEnsure(t, db, "events", "plain", "whole", "keyed", "base")
	application := connect(t, server.URL())
	run(
		t, application,
		`INSERT INTO plain VALUES (1, 7, 'n', 'g')`, `UPDATE plain SET client = 9, id = 2`,
		`ALTER TABLE plain ALTER COLUMN client TYPE bigint`, `ALTER TABLE plain DROP COLUMN gone`,
		`ALTER TABLE plain RENAME COLUMN note TO remark`, `ALTER TABLE plain ADD COLUMN fresh int DEFAULT 3`,
		`UPDATE plain SET remark = 'm'`, `ALTER TABLE plain REPLICA IDENTITY FULL`, `UPDATE plain SET remark = 'o'`,
		`ALTER TABLE plain ALTER COLUMN client TYPE text USING client::text`, `DELETE FROM plain`,
		`ALTER TABLE plain REPLICA IDENTITY DEFAULT`, `TRUNCATE plain`, `ALTER TABLE plain RENAME TO simple`, `DROP TABLE simple`,
		`INSERT INTO whole VALUES (1, 'n')`, `UPDATE whole SET note = 'm'`, `DELETE FROM whole`,
		`INSERT INTO keyed VALUES (1, 1)`, `UPDATE keyed SET other = 2`, `UPDATE keyed SET id = 3`, `DELETE FROM keyed`,
		`INSERT INTO base VALUES (1, 'b')`, `INSERT INTO child VALUES (2, 'c')`, `UPDATE base SET note = 'd'`,
		`CREATE TABLE grandchild () INHERITS (child)`, `INSERT INTO grandchild VALUES (3, 'g')`, `UPDATE base SET note = 'h'`, `DELETE FROM base`,
		`INSERT INTO events VALUES (1, '2025-02-01', 'eu', 'x'), (2, '2026-02-01', 'us', 'y')`,
		`UPDATE events SET note = 'z'`, `UPDATE events SET at = '2026-03-01'`,
		`CREATE TABLE events_27 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')`,
		`CREATE TABLE events_28 (LIKE events)`,
		`ALTER TABLE events_28 ALTER COLUMN note TYPE varchar`, `ALTER TABLE events_28 ALTER COLUMN note TYPE text`,
		`ALTER TABLE events ATTACH PARTITION events_28 FOR VALUES FROM ('2028-01-01') TO ('2029-01-01')`,
		`INSERT INTO events VALUES (3, '2027-02-01', 'eu', 'x'), (4, '2028-02-01', 'us', 'y')`,
		`UPDATE events SET note = 'w', at = at + 1`, `DELETE FROM events WHERE id > 2`,
		`ALTER TABLE events DETACH PARTITION events_25`, `UPDATE events_25 SET note = 'v'`,
		`ALTER TABLE events ADD COLUMN more text`, `ALTER TABLE events ALTER COLUMN note TYPE varchar(100)`, `ALTER TABLE events DROP COLUMN more`,
		`TRUNCATE events_26_us`, `TRUNCATE events`, `DROP TABLE events`,
		`INSERT INTO late VALUES (1)`, `UPDATE late SET id = 2`,
	)
}

func TestTablesThatCannotBePublishedAreRefusedWithTheirRemedy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		setup   []string
		problem string
		sql     string // the remedy; empty: there is no statement
	}{
		{"no key", []string{`CREATE TABLE t (id int)`}, "no usable replica identity", `REPLICA IDENTITY FULL`},
		{"nothing", []string{`CREATE TABLE t (id int PRIMARY KEY)`, `ALTER TABLE t REPLICA IDENTITY NOTHING`}, "(nothing)", `REPLICA IDENTITY DEFAULT`},
		{"unique index", []string{`CREATE TABLE t (id int NOT NULL)`, `CREATE UNIQUE INDEX "I" ON t (id)`}, "no usable", `REPLICA IDENTITY USING INDEX "I"`},
		{"index gone", []string{
			`CREATE TABLE t (id int NOT NULL)`, `CREATE UNIQUE INDEX i ON t (id)`,
			`ALTER TABLE t REPLICA IDENTITY USING INDEX i`, `DROP INDEX i`,
		}, "an index that is gone", `REPLICA IDENTITY FULL`},
		{"unlogged", []string{`CREATE UNLOGGED TABLE t (id int PRIMARY KEY)`}, "not logged", `SET LOGGED`},
		{"view", []string{`CREATE VIEW t AS SELECT 1 AS id`}, "is a view", ""},
		{"partitioned without key", []string{
			`CREATE TABLE t (id int) PARTITION BY LIST (id)`, `CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`,
			`ALTER TABLE t1 REPLICA IDENTITY FULL`, `ALTER TABLE t REPLICA IDENTITY FULL`,
		}, "partitioned and has no primary key", ""},
		{"partitioned with a unique index", []string{
			`CREATE TABLE t (id int NOT NULL) PARTITION BY LIST (id)`, `CREATE UNIQUE INDEX ON t (id)`,
			`CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`,
		}, "partitioned and has no primary key", `ADD PRIMARY KEY ("id")`},
		{"leaf without identity", []string{
			`CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id)`, `CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`,
			`ALTER TABLE t1 REPLICA IDENTITY NOTHING`,
		}, "public.t1 (part of public.t)", `ALTER TABLE "public"."t1" REPLICA IDENTITY DEFAULT`},
		{"child without key", []string{`CREATE TABLE t (id int PRIMARY KEY)`, `CREATE TABLE t1 () INHERITS (t)`}, "public.t1 (part of", `"t1" REPLICA IDENTITY FULL`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, db := start(t, append(tt.setup, `CREATE TABLE fine (id int PRIMARY KEY)`)...)
			change, err := ensure(t, db, "t", "fine")
			var remedy *catalog.RemedyError
			if !errors.As(err, &remedy) || !strings.Contains(remedy.Problem, tt.problem) {
				t.Fatalf("got %v, want a refusal that says %q", err, tt.problem)
			}
			if !change.Created || !slices.Equal(published(t, db), []string{"fine"}) {
				t.Errorf("the other table must be published alone: got %+v, %v", change, published(t, db))
			}
			if tt.sql == "" {
				return
			}
			script := catalog.Script(remedy.SQL)
			if !strings.Contains(script, tt.sql) {
				t.Errorf("remedy: got %s, want %s", script, tt.sql)
			}
			run(t, db, script)
			mustEnsure(t, db, "t", "fine")
			run(t, db, `INSERT INTO t VALUES (1)`, `UPDATE t SET id = 1`, `DELETE FROM t`)
		})
	}
}

// Refused for a reason: what would happen otherwise.
func TestWhatPublishingThemWouldBreak(t *testing.T) {
	t.Parallel()
	_, db := start(t,
		`CREATE TABLE t (id int) PARTITION BY LIST (id)`, `ALTER TABLE t REPLICA IDENTITY FULL`,
		`CREATE PUBLICATION careless FOR TABLE t`,
		`CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`, `INSERT INTO t VALUES (1)`,
	)
	if _, err := db.Exec(t.Context(), `UPDATE t SET id = 1`); err == nil {
		t.Error("UPDATE of a new partition without identity succeeds: the refusal of partitioned tables without a primary key is not needed")
	}
}

// An identity taken away later makes the application's UPDATE fail for as long
// as the table is published, so the next look takes it out.
func TestATableThatLosesItsIdentityIsTakenOut(t *testing.T) {
	t.Parallel()
	_, db := start(t, `CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE b (id int PRIMARY KEY)`)
	mustEnsure(t, db, "a", "b")
	run(t, db, `INSERT INTO a VALUES (1)`, `ALTER TABLE a DROP CONSTRAINT a_pkey`)
	change, err := ensure(t, db, "a", "b")
	var remedy *catalog.RemedyError
	if !errors.As(err, &remedy) || len(change.Dropped) != 1 {
		t.Fatalf("got %+v, %v, want a taken out and a remedy", change, err)
	}
	run(t, db, `UPDATE a SET id = 2`)
	if got := published(t, db); !slices.Equal(got, []string{"b"}) {
		t.Errorf("published: got %v, want b alone", got)
	}
}

// Postgres 18 has virtual generated columns, which make UPDATE and DELETE fail
// under REPLICA IDENTITY FULL.
func TestVirtualGeneratedColumns(t *testing.T) {
	t.Parallel()
	_, db := start(t)
	if v := version(t, db); v < 180000 {
		// Nothing to refuse: the server has no such columns.
		if _, err := db.Exec(t.Context(), `CREATE TABLE t (id int, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)`); err == nil {
			t.Errorf("version %d has virtual columns", v)
		}
		return
	}
	run(t, db,
		`CREATE TABLE t (id int, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)`,
		`ALTER TABLE t REPLICA IDENTITY FULL`)
	_, err := ensure(t, db, "t")
	var remedy *catalog.RemedyError
	if !errors.As(err, &remedy) || !strings.Contains(remedy.Problem, "virtual generated column") {
		t.Fatalf("got %v, want a refusal", err)
	}
	if c, _ := read(t, db, table("t")).Column("twice"); c.Sent || c.Generated != catalog.Virtual {
		t.Errorf("column: got %+v", c)
	}
	run(t, db, `INSERT INTO t VALUES (1)`, `CREATE PUBLICATION careless FOR TABLE t`)
	if _, err := db.Exec(t.Context(), `UPDATE t SET id = 2`, pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("UPDATE succeeds: the refusal is not needed")
	}
	run(t, db, `DROP PUBLICATION careless`, catalog.Script(remedy.SQL))
	mustEnsure(t, db, "t")
	run(t, db, `UPDATE t SET id = 2`)
}

func ExampleRemedyError() {
	fmt.Println(&catalog.RemedyError{
		Problem: `publication "freshet_shop" does not match the rules`,
		Note:    "postgres.manage is false",
		SQL:     []string{`ALTER PUBLICATION "freshet_shop" ADD TABLE ONLY "public"."orders"`},
	})
	// Output:
	// publication "freshet_shop" does not match the rules; postgres.manage is false; run:
	// ALTER PUBLICATION "freshet_shop" ADD TABLE ONLY "public"."orders";
}

// Writers with little patience, while tables come into the publication and go.
func TestWritersDoNotWaitForThePublication(t *testing.T) {
	t.Parallel()
	server, db := start(t, append(events,
		`CREATE TABLE a (id int PRIMARY KEY, note text)`, `CREATE TABLE b (id int, note text)`, `ALTER TABLE b REPLICA IDENTITY FULL`,
		`INSERT INTO a SELECT n, 'x' FROM generate_series(1, 100) n`, `INSERT INTO b SELECT n, 'x' FROM generate_series(1, 100) n`,
	)...)
	stop, failed := make(chan struct{}), make(chan error, 3)
	for _, sql := range []string{
		`UPDATE a SET note = note || 'y' WHERE id = 7`,
		`UPDATE b SET note = 'z' WHERE id = 8`,
		`INSERT INTO events VALUES (1, '2026-02-01', 'us', 'y') ON CONFLICT (id, at, region) DO UPDATE SET note = events.note`,
	} {
		writer := connect(t, server.URL())
		run(t, writer, `SET lock_timeout = '2s'`)
		go func() {
			for {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				if _, err := writer.Exec(t.Context(), sql); err != nil {
					failed <- fmt.Errorf("%s: %w", sql, err)
					return
				}
			}
		}()
	}
	for range 25 {
		mustEnsure(t, db, "a")
		mustEnsure(t, db, "a", "b", "events")
		mustEnsure(t, db, "b")
	}
	close(stop)
	for range 3 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}
