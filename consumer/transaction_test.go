package consumer_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

func TestTransactions(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)

	conn := b.connect()
	run := func(statements ...string) {
		t.Helper()
		for _, sql := range statements {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	run("BEGIN", "INSERT INTO orders VALUES (1, 7, 'KEPT')", "SAVEPOINT a", "INSERT INTO orders VALUES (2, 7, 'UNDONE')",
		"ROLLBACK TO a", "SAVEPOINT b", "INSERT INTO orders VALUES (3, 7, 'KEPT')", "RELEASE b", "COMMIT")
	run("BEGIN", "INSERT INTO orders VALUES (4, 7, 'UNDONE')", "ROLLBACK")
	run("BEGIN", "INSERT INTO orders VALUES (5, 7, 'PREPARED')", "PREPARE TRANSACTION 'p'")
	run("BEGIN", "INSERT INTO orders VALUES (6, 7, 'UNDONE')", "PREPARE TRANSACTION 'q'", "ROLLBACK PREPARED 'q'")
	run("INSERT INTO orders VALUES (7, 7, 'KEPT')")
	b.awaitRow("7", cdc.Insert)
	if seen := b.worker.seen("5"); len(seen) != 0 {
		t.Errorf("a prepared transaction was published before it committed: %v", seen)
	}
	run("COMMIT PREPARED 'p'")
	b.awaitRow("5", cdc.Insert)
	// As a subscription applies what it receives from elsewhere.
	run("SELECT pg_replication_origin_create('elsewhere')", "SELECT pg_replication_origin_session_setup('elsewhere')",
		"SET session_replication_role = replica", "BEGIN", "SELECT pg_replication_origin_xact_setup('0/1234', now())",
		"INSERT INTO orders VALUES (9, 7, 'FROM ELSEWHERE')", "COMMIT", "RESET session_replication_role", "SELECT pg_replication_origin_session_reset()")
	b.awaitRow("9", cdc.Insert)
	run("INSERT INTO orders VALUES (1, 8, 'MERGED') ON CONFLICT (id) DO UPDATE SET client_id = excluded.client_id")
	b.awaitRow("1", cdc.Update)
	run("TRUNCATE orders", "INSERT INTO orders VALUES (8, 7, 'KEPT')")
	b.awaitRow("8", cdc.Insert)
	b.awaitRow("", cdc.Truncate)
	for _, key := range []string{"1", "3"} {
		b.awaitRow(key, cdc.Insert)
	}
	for _, key := range []string{"2", "4", "6"} {
		if seen := b.worker.seen(key); len(seen) != 0 {
			t.Errorf("row %s was rolled back and published: %v", key, seen)
		}
	}
}

// A transaction of a million rows goes through in pieces. The stream's server is a process of its own here, and nothing reads the
// stream until the consumer's memory has been measured.
func TestLargeTransactionInFlatMemory(t *testing.T) { //nolint:paralleltest // it measures memory
	const rows = 1_000_000
	b := &bench{t: t, pg: servertest.Postgres(t, servers.PostgresOptions{
		Settings: map[string]string{"max_wal_size": "2GB", "synchronous_commit": "off"},
	})}
	b.exec(ordersSQL)
	b.stream = openStream(t, stream.Config{URL: servertest.NATS(t).URL()})
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	grew := func(n int) int {
		t.Helper()
		runtime.GC()
		debug.FreeOSMemory()
		before, most := resident(t), 0
		had := c.Status().Changes
		b.exec(fmt.Sprintf("INSERT INTO orders SELECT i, i %% 1000, 'NEW' FROM generate_series(%d, %d) i", had, had+uint64(n)-1))
		servertest.Eventually(t, 5*time.Minute, func() (bool, string) {
			most = max(most, resident(t))
			s := c.Status()
			return s.Changes >= had+uint64(n), fmt.Sprintf("%d rows: %s", s.Changes-had, s.LastError)
		})
		t.Logf("%d rows: resident memory %d MiB before, %d MiB at most", n, before>>20, most>>20)
		if most > 100<<20 {
			t.Errorf("resident memory reached %d MiB", most>>20)
		}
		return most - before
	}
	small, large := grew(rows/10), grew(rows)
	if large > small+20<<20 {
		t.Errorf("memory grew by %d MiB for %d rows and %d MiB for ten times as many", small>>20, rows/10, large>>20)
	}
	b.worker = startWorker(t, b.stream)
	servertest.Eventually(t, 5*time.Minute, func() (bool, string) {
		n := b.worker.count()
		return n == rows+rows/10, fmt.Sprintf("%d rows in the stream", n)
	})
	if n := len(b.worker.allStarts()); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
}

// resident returns the process's resident memory in bytes.
func resident(t testing.TB) int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Error(err)
		return 0
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Error(err)
	}
	return pages * os.Getpagesize()
}

func (w *worker) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rows
}

func TestCanonicalText(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]string{"timezone": "Asia/Tokyo", "datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "bytea_output": "escape", "extra_float_digits": "-3"})
	b.exec("CREATE TABLE odd (id int PRIMARY KEY, at timestamptz, day date, span interval, raw bytea, f float8)")
	cfg := b.config()
	cfg.Tables = append(cfg.Tables, consumer.Table{Schema: "public", Name: "odd", All: true})
	b.start(cfg).await(consumer.StateStreaming)
	b.exec(`INSERT INTO odd VALUES (1, '2026-11-23 10:00:00.5+00', '2026-11-23', '1 day 02:03:04', '\x00ff', 0.1::float8 + 0.2::float8)`)
	b.awaitRow("1", cdc.Insert)
	want := `insert odd 1 2026-11-23T10:00:00.5Z 2026-11-23 1 day 02:03:04 \x00ff 0.30000000000000004`
	if got := b.worker.seen("1")[0].String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
