package consumer_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// A database of no encoding stores any bytes. A row that is not UTF-8 widens,
// and what follows it still comes through.
func TestDatabaseWithoutEncoding(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.exec(`CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	cfg := b.config()
	cfg.URL = b.pg.DatabaseURL("bytes")
	conn, err := pgx.Connect(t.Context(), cfg.URL+"&client_encoding=SQL_ASCII")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(`CREATE TABLE orders (id text PRIMARY KEY, client_id int, status text)`)
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	exec(`INSERT INTO orders VALUES (E'\xff', 7, 'NEW')`)
	exec(`INSERT INTO orders VALUES ('after', 7, 'NEW')`)
	b.awaitRow("after", cdc.Insert)
	if n := len(b.worker.allStarts()); n != 1 {
		t.Errorf("got %d sessions, want 1: the row ended one", n)
	}
}
