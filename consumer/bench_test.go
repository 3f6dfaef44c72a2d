package consumer_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const backlogSQL = `CREATE TABLE wide (id int PRIMARY KEY, client_id int, status text, total numeric, note text, created timestamptz, flags bool);
INSERT INTO wide SELECT i, i %% 1000, 'NEW', i * 1.5, repeat('n', 20), now(), true FROM generate_series(1, %d) i;`

// manySQL makes single-row transactions inside one statement.
const manySQL = `DO $$ BEGIN FOR i IN 1..%d LOOP UPDATE wide SET total = total + 1, status = 'PAID' WHERE id = i; COMMIT; END LOOP; END $$`

// BenchmarkBacklog drains a backlog of single-row transactions and of three large ones into JetStream.
func BenchmarkBacklog(b *testing.B) {
	const single, large = 60_000, 50_000
	for b.Loop() {
		bench := newBench(b, map[string]string{"synchronous_commit": "off"})
		bench.worker.pause(true)
		bench.exec(fmt.Sprintf(backlogSQL, single))
		cfg := bench.config()
		cfg.MarkInterval = 100 * time.Millisecond
		cfg.Tables = []consumer.Table{{Schema: "public", Name: "wide", Columns: []string{"id", "client_id", "status"}}}
		first := bench.start(cfg)
		first.await(consumer.StateStreaming)
		if err := first.end(); err != nil {
			b.Fatal(err)
		}
		bench.exec(fmt.Sprintf(manySQL, single))
		for range 3 {
			bench.exec(fmt.Sprintf("UPDATE wide SET total = total + 1 WHERE id <= %d", large))
		}
		end, err := cdc.ParseLSN(bench.text("SELECT pg_current_wal_flush_lsn()::text"))
		if err != nil {
			b.Fatal(err)
		}
		began, spent := time.Now(), processorTime(b)
		c := bench.start(cfg)
		servertest.Eventually(b, time.Minute, func() (bool, string) {
			s := c.Status()
			return s.Published >= end, fmt.Sprintf("published %s, want %s: %s", s.Published, end, s.LastError)
		})
		b.ReportMetric(float64(single+3*large)/time.Since(began).Seconds(), "rows/s")
		b.ReportMetric(float64((processorTime(b)-spent).Microseconds())/float64(single+3*large), "cpu-µs/row")
		s := c.Status()
		b.ReportMetric(float64(s.Changes)/float64(max(s.Messages, 1)), "rows/message")
	}
}

// processorTime is what this process, with the stream's server in it, has used. Unlike rows/s it says something on a busy machine.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkLatency measures from the return of a commit to its arrival at a reader of the stream.
func BenchmarkLatency(b *testing.B) {
	bench := newBench(b, nil)
	c := bench.start(bench.config())
	c.await(consumer.StateStreaming)
	conn := bench.connect()
	var waits []time.Duration
	i := 0
	for b.Loop() {
		i++
		if _, err := conn.Exec(b.Context(), "INSERT INTO orders VALUES ($1, 7, 'NEW')", pgx.QueryExecModeCacheStatement, i); err != nil {
			b.Fatal(err)
		}
		committed := time.Now()
		key := fmt.Sprint(i)
		servertest.Eventually(b, patience, func() (bool, string) {
			seen := bench.worker.last(key)
			if seen.IsZero() {
				return false, ""
			}
			waits = append(waits, seen.Sub(committed))
			return true, ""
		})
	}
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
}
