package scaffold_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/scaffold"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

// database runs the files and returns a connection.
func database(t *testing.T, files ...string) *pgx.Conn {
	t.Helper()
	db, err := servertest.Postgres(t).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	for _, file := range files {
		sql, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(t.Context(), string(sql), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return db
}

// TestDrafts compares whole drafts with testdata/*.yaml. That they pass
// `freshet check` is tested on the command.
func TestDrafts(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"demo": "../demo/shop.sql", "pgbench": "testdata/pgbench.sql", "prisma": "testdata/prisma.sql", "odd": "testdata/odd.sql",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := database(t, schema)
			if version, err := catalog.ServerVersion(t.Context(), db); err != nil || name == "odd" && version >= 180000 {
				return // which sends generated columns; the checks of the command hold there too
			}
			draft, err := scaffold.New(t.Context(), db, scaffold.Config{})
			if err != nil {
				t.Fatal(err)
			}
			golden := "testdata/" + name + ".yaml"
			if *update {
				if err := os.WriteFile(golden, []byte(draft.YAML), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if draft.YAML != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s\n(go test ./internal/scaffold -update, if it should be so)", draft.YAML, want)
			}
		})
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	db := database(t, "testdata/odd.sql")
	draft, err := scaffold.New(t.Context(), db, scaffold.Config{Tables: []string{"stock", `"my.schema".devices`, "schema_migrations", "events_2027"}})
	if err != nil {
		t.Fatal(err)
	}
	if draft.Rules != 3 || strings.Contains(draft.YAML, "- table: shops") || !strings.Contains(draft.YAML, "stocks:shop:{shop_id}") {
		t.Errorf("got %d rules, want 3\n%s", draft.Rules, draft.YAML)
	}
	if len(draft.Left) != 1 || draft.Left[0].Table.Table != "events_2027" || !strings.Contains(draft.Left[0].Reason, "a partition of events") {
		t.Errorf("left out: got %+v, want the partition", draft.Left)
	}
	for asked, want := range map[string]string{
		"stok":      "did you mean stock?",
		"a.b.c":     "schema.table",
		"elsewhere": "there are",
	} {
		_, err := scaffold.New(t.Context(), db, scaffold.Config{Tables: []string{asked}})
		var missing *scaffold.TableError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a TableError with %q", asked, err, want)
		}
	}
	if _, err = scaffold.New(t.Context(), db, scaffold.Config{Tables: []string{"scratch"}}); !errors.Is(err, scaffold.ErrNoTables) ||
		!strings.Contains(err.Error(), "not logged") {
		t.Errorf("got %v, want ErrNoTables and why", err)
	}
}

func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	_, err := scaffold.New(t.Context(), database(t), scaffold.Config{})
	if !errors.Is(err, scaffold.ErrNoTables) || !strings.Contains(err.Error(), "database app") {
		t.Errorf("got %v, want ErrNoTables", err)
	}
}
