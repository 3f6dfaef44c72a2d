package catalog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

func ensure(t *testing.T, db *pgx.Conn, names ...string) (catalog.Change, error) {
	t.Helper()
	var tables []cdc.TableName
	for _, name := range names {
		tables = append(tables, table(name))
	}
	return catalog.EnsurePublication(t.Context(), db, "fresh", tables, true)
}

func mustEnsure(t *testing.T, db *pgx.Conn, names ...string) catalog.Change {
	t.Helper()
	change, err := ensure(t, db, names...)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func published(t *testing.T, db *pgx.Conn) []string {
	t.Helper()
	p, err := catalog.ReadPublication(t.Context(), db, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	if p == nil {
		return nil
	}
	var names []string
	for _, t := range p.Tables {
		names = append(names, t.Name.Table)
	}
	return names
}

func TestEnsurePublicationFollowsTheRules(t *testing.T) {
	t.Parallel()
	_, db := start(t, append(events,
		`CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE "B ""x""" (id int PRIMARY KEY)`, `CREATE TABLE c (id int PRIMARY KEY)`,
		`CREATE TABLE c_child (PRIMARY KEY (id)) INHERITS (c)`,
	)...)
	if change := mustEnsure(t, db, "a", `B "x"`); !change.Created || len(change.Added) != 2 {
		t.Errorf("create: got %+v", change)
	}
	if change := mustEnsure(t, db, "a", `B "x"`); change.Any() {
		t.Errorf("nothing to do, got %+v", change)
	}
	change := mustEnsure(t, db, "a", "c", "events")
	if change.Created || !slices.Equal(change.Dropped, []cdc.TableName{table(`B "x"`)}) ||
		!slices.Equal(change.Added, []cdc.TableName{table("c"), table("c_child"), table("events")}) {
		t.Errorf("alter: got %+v", change)
	}
	if got, want := published(t, db), []string{"a", "c", "c_child", "events"}; !slices.Equal(got, want) {
		t.Errorf("published: got %v, want %v", got, want)
	}
	p, err := catalog.ReadPublication(t.Context(), db, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Insert || !p.Update || !p.Delete || !p.Truncate || p.ViaRoot || p.AllTables || !p.Ours || p.SendsGenerated != (version(t, db) >= 180000) {
		t.Errorf("options: got %+v", p)
	}

	// Whatever somebody changes about it is put right, as it is ours.
	run(t, db,
		`ALTER PUBLICATION fresh SET (publish = 'insert', publish_via_partition_root = true)`,
		`ALTER PUBLICATION fresh DROP TABLE ONLY a`, `ALTER PUBLICATION fresh ADD TABLE ONLY a (id) WHERE (id > 7)`)
	if change := mustEnsure(t, db, "a", "c", "events"); !change.Altered {
		t.Errorf("mend: got %+v", change)
	}
	if p, err = catalog.ReadPublication(t.Context(), db, "fresh"); err != nil {
		t.Fatal(err)
	}
	if !p.Insert || !p.Update || !p.Delete || !p.Truncate || p.ViaRoot || p.Tables[0].Columns || p.Tables[0].Filter {
		t.Errorf("mended: got %+v", p)
	}
}

func TestEnsurePublicationTogether(t *testing.T) {
	t.Parallel()
	server, _ := start(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	const together = 5
	errs := make(chan error, together)
	for range together {
		db := connect(t, server.URL())
		go func() {
			_, err := catalog.EnsurePublication(context.Background(), db, "fresh", []cdc.TableName{table("a")}, true)
			errs <- err
		}()
	}
	for range together {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestEnsurePublicationLeavesForeignOnesToPeople(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, create, problem string }{
		{"all tables", `CREATE PUBLICATION fresh FOR ALL TABLES`, "all tables"},
		{"schema", `CREATE PUBLICATION fresh FOR TABLES IN SCHEMA public`, "whole schemas"},
		{"column list", `CREATE PUBLICATION fresh FOR TABLE a (id)`, "public.a with a column list"},
		{"row filter", `CREATE PUBLICATION fresh FOR TABLE a WHERE (id > 7)`, "public.a with a row filter"},
		{"operations", `CREATE PUBLICATION fresh FOR TABLE a WITH (publish = 'insert')`, "does not publish all of"},
		{"via root", `CREATE PUBLICATION fresh FOR TABLE a WITH (publish_via_partition_root)`, "as their root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, db := start(t, `CREATE TABLE a (id int PRIMARY KEY, note text)`, `CREATE TABLE b (id int PRIMARY KEY)`, tt.create)
			change, err := ensure(t, db, "a", "b")
			var remedy *catalog.RemedyError
			if !errors.As(err, &remedy) || !strings.Contains(err.Error(), tt.problem) || len(remedy.SQL) == 0 {
				t.Fatalf("got %v, want a remedy that names %q", err, tt.problem)
			}
			if change.Any() {
				t.Errorf("changed on its own: %+v", change)
			}
			run(t, db, catalog.Script(remedy.SQL))
			if change := mustEnsure(t, db, "a", "b"); change.Any() {
				t.Errorf("after the remedy: still changed %v", change.Statements)
			}
			if got := published(t, db); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("published: got %v", got)
			}
		})
	}
}

func TestEnsurePublicationAddsToAForeignOneAndTakesNothingAway(t *testing.T) {
	t.Parallel()
	_, db := start(t, `CREATE TABLE a (id int PRIMARY KEY)`, `CREATE TABLE b (id int PRIMARY KEY)`)
	run(t, db, `CREATE PUBLICATION fresh FOR TABLE a`)
	if version(t, db) >= 180000 {
		run(t, db, `ALTER PUBLICATION fresh SET (publish_generated_columns = stored)`)
	}
	mustEnsure(t, db, "b")
	if got := published(t, db); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("published: got %v, want a and b", got)
	}
}

func TestEnsurePublicationWithoutRights(t *testing.T) {
	t.Parallel()
	server, db := start(t,
		`CREATE TABLE a (id int PRIMARY KEY)`, `CREATE ROLE app LOGIN REPLICATION`, `GRANT SELECT ON a TO app`)
	app := connect(t, server.UserURL("app", "", "app"))
	ours := func(manage bool) *catalog.RemedyError {
		t.Helper()
		_, err := catalog.EnsurePublication(t.Context(), app, "fresh", []cdc.TableName{table("a")}, manage)
		if err == nil {
			return nil
		}
		var remedy *catalog.RemedyError
		if !errors.As(err, &remedy) {
			t.Fatalf("got %v, want a remedy", err)
		}
		return remedy
	}
	for _, manage := range []bool{true, false} {
		remedy := ours(manage)
		if remedy == nil || len(remedy.SQL) == 0 || manage != (remedy.Err != nil) {
			t.Fatalf("manage %v: got %+v, want the statements", manage, remedy)
		}
		run(t, db, catalog.Script(remedy.SQL))
		if left := ours(manage); left != nil {
			t.Fatalf("after the statements: %v", left)
		}
		run(t, db, `DROP PUBLICATION fresh`)
	}
	got := read(t, app, table("a"))
	if got.Owned || !got.Readable || got.Owner != "postgres" {
		t.Errorf("rights: got %+v", got.Relation)
	}
	run(t, db, `REVOKE SELECT ON a FROM app`)
	if read(t, app, table("a")).Readable {
		t.Error("readable without SELECT")
	}
	run(t, db, `GRANT SELECT (id) ON a TO app`)
	if !read(t, app, table("a")).Readable {
		t.Error("not readable with SELECT on every column")
	}
	role, err := catalog.ReadRole(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if want := (catalog.Role{Name: "app", Replication: true}); *role != want {
		t.Errorf("role: got %+v, want %+v", *role, want)
	}
	if _, err := catalog.ReadServer(t.Context(), app); err != nil {
		t.Errorf("a plain role must be able to read the settings: %v", err)
	}
	run(t, db, `ALTER ROLE app NOREPLICATION`)
	_, err = catalog.CreateSlot(t.Context(), app, "fresh")
	var remedy *catalog.RemedyError
	if !errors.As(err, &remedy) || len(remedy.SQL) != 1 {
		t.Errorf("create slot: got %v, want the statement", err)
	}
}

// A migration of the application may stand behind us in a table's lock queue,
// so we leave the queue, and try again.
func TestEnsurePublicationDoesNotQueueForever(t *testing.T) {
	t.Parallel()
	server, db := start(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	blocker := connect(t, server.URL())
	run(t, blocker, `BEGIN`, `LOCK TABLE a IN SHARE UPDATE EXCLUSIVE MODE`)
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := catalog.EnsurePublication(ctx, db, "fresh", []cdc.TableName{table("a")}, true)
		done <- err
	}()
	watcher := connect(t, server.URL())
	waits := func(want bool) {
		t.Helper()
		eventually(t, func() bool {
			var waiting bool
			if err := watcher.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)`).Scan(&waiting); err != nil {
				t.Fatal(err)
			}
			return waiting == want
		})
	}
	waits(true)
	// A write does not wait behind us.
	run(t, watcher, `SET lock_timeout = '1s'`, `INSERT INTO a VALUES (1)`, `UPDATE a SET id = 2`)
	waits(false) // given up for the moment
	run(t, blocker, `COMMIT`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
