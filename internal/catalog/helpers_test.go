package catalog_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// start starts a server, runs the statements and returns it with a connection.
func start(t *testing.T, statements ...string) (*servers.Postgres, *pgx.Conn) {
	t.Helper()
	server := servertest.Postgres(t)
	db := connect(t, server.URL())
	run(t, db, statements...)
	return server, db
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	return db
}

func run(t *testing.T, db *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func table(name string) cdc.TableName { return cdc.TableName{Schema: "public", Table: name} }

func read(t *testing.T, db *pgx.Conn, name cdc.TableName) *catalog.Table {
	t.Helper()
	tables, err := catalog.Tables(t.Context(), db, []cdc.TableName{name})
	if err != nil {
		t.Fatal(err)
	}
	if tables[name] == nil {
		t.Fatalf("%s not found", name)
	}
	return tables[name]
}

func version(t *testing.T, db *pgx.Conn) int {
	t.Helper()
	v, err := catalog.ServerVersion(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	servertest.Eventually(t, 90*time.Second, func() (bool, string) { return condition(), "not yet" })
}
