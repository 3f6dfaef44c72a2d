package consumer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

func (b *bench) flushLSN() string { return b.text("SELECT pg_current_wal_flush_lsn()::text") }

func (b *bench) confirmed() string {
	return b.text("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'freshet_shop'")
}

// The slot keeps what is published and not applied.
func TestConfirmApplied(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitConfirmed(b.flushLSN())
	b.worker.pause(true)
	before := b.flushLSN()
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitPublished(c)
	servertest.Never(t, 3*time.Second, func() (bool, string) {
		at := b.confirmed()
		return b.text("SELECT ($1::pg_lsn > $2::pg_lsn)::text", at, b.flushLSN()) == "true" ||
			b.text("SELECT ($1::pg_lsn >= commit)::text FROM (SELECT $2::pg_lsn AS commit) x", at, nextCommit(b, before)) == "true", at
	})
	b.worker.pause(false)
	b.awaitConfirmed(b.flushLSN())
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
}

// nextCommit returns an LSN that is confirmed only if the transaction after lsn is.
func nextCommit(b *bench, lsn string) string {
	return b.text("SELECT ($1::pg_lsn + 200)::text", lsn)
}

func TestConfirmPublished(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.worker.pause(true)
	cfg := b.config()
	cfg.Confirm = consumer.Published
	b.start(cfg).await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitConfirmed(b.flushLSN())
}

// The WAL of another database moves the slot on.
func TestIdleSlotMoves(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.exec("CREATE DATABASE other")
	conn, err := b.pg.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	b.exec("CREATE TABLE noise (x text)") // of ours, and not published
	for range 5 {
		b.exec("INSERT INTO noise SELECT repeat('x', 100) FROM generate_series(1, 10000)")
	}
	end := b.flushLSN()
	b.awaitConfirmed(end)
	b.awaitPublished(c)
	if n := c.Status().Changes; n != 0 {
		t.Errorf("%d changes were published", n)
	}
	// Marks tell the time although nothing happens.
	servertest.Eventually(t, patience, func() (bool, string) {
		age := time.Since(b.worker.lastMark().Time)
		return age < 500*time.Millisecond, age.String()
	})
}

// Under load that never pauses the walsender hears from us often enough, and the slot moves.
func TestStatusUnderSustainedLoad(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]string{"wal_sender_timeout": "4s", "synchronous_commit": "off"})
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 2 {
		conn := b.connect()
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, err := conn.Exec(context.WithoutCancel(ctx), "INSERT INTO orders SELECT $1 * 10000000 + $2 * 50 + j, 1, 'LOAD' FROM generate_series(1, 50) j", i, n)
				if err != nil {
					t.Errorf("insert: %v", err)
					return
				}
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	from := b.confirmed()
	servertest.Never(t, 8*time.Second, func() (bool, string) {
		s := c.Status()
		return s.LastError != "", s.LastError
	})
	if n := len(b.worker.allStarts()); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		return b.text("SELECT ($1::pg_lsn - $2::pg_lsn > 1000000)::text", b.confirmed(), from) == "true", b.confirmed()
	})
}

// The stream never holds more unapplied messages than it can keep.
func TestBackpressure(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	small := openStream(t, stream.Config{Embedded: stream.EmbeddedConfig{StoreDir: t.TempDir()}, MaxBytes: 2 << 20})
	b.stream, b.worker = small, startWorker(t, small)
	b.worker.pause(true)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	const rows = 60_000
	for i := range 6 {
		b.exec(fmt.Sprintf("INSERT INTO orders SELECT i, 7, repeat('s', 100) FROM generate_series(%d, %d) i", i*rows/6, (i+1)*rows/6-1))
	}
	c.await(consumer.StatePaused)
	servertest.Never(t, 2*time.Second, func() (bool, string) {
		info, err := b.stream.Info(t.Context())
		if err != nil {
			return true, err.Error()
		}
		return info.FirstSeq > 1 || info.Bytes > 2<<20, fmt.Sprintf("%+v", info)
	})
	b.worker.pause(false)
	servertest.Eventually(t, 5*time.Minute, func() (bool, string) {
		n := b.worker.count()
		return n >= rows, fmt.Sprintf("%d rows; %s", n, c.Status().State)
	})
	if _, broken := b.worker.at(); broken != "" {
		t.Errorf("the stream lost something: %s", broken)
	}
}

func TestGovernor(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.worker.pause(true)
	cfg := b.config()
	cfg.MaxWAL = 8 << 20
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	fill := func() {
		b.exec("INSERT INTO orders SELECT i, 7, repeat('s', 400) FROM generate_series(1, 20000) i ON CONFLICT (id) DO UPDATE SET status = excluded.status || '1'")
	}
	fill()
	// Beyond max_wal what is published is confirmed, though nothing is applied.
	b.awaitConfirmed(b.flushLSN())
	servertest.Eventually(t, patience, func() (bool, string) {
		events := b.events()
		return strings.Contains(events, "governor"), events
	})
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	// A backlog of more than twice max_wal is given up.
	for range 4 {
		fill()
	}
	end := b.flushLSN()
	b.start(cfg)
	b.awaitConfirmed(end)
	b.worker.pause(false)
	b.awaitGap("governor")
	b.exec("INSERT INTO orders VALUES (1000000, 7, 'NEW')")
	b.awaitRow("1000000", cdc.Insert)
	b.awaitConfirmed(b.flushLSN())
}

// WAL that is kept for a transaction of the application's is not given up: that would not free it.
func TestGovernorSparesOpenTransactions(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.MaxWAL = 24 << 20
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	conn := b.connect()
	if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO orders VALUES (-1, 7, 'OPEN')"); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		b.exec("INSERT INTO orders SELECT i, 7, repeat('s', 400) FROM generate_series(1, 10000) i ON CONFLICT (id) DO UPDATE SET status = excluded.status || '1'")
		b.awaitConfirmed(b.flushLSN())
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		s := c.Status()
		return s.Retained > 2*cfg.MaxWAL && s.LagBytes < 1<<20, fmt.Sprintf("%d retained, %d behind", s.Retained, s.LagBytes)
	})
	b.onlyGaps("slot_created")
	if n := len(b.worker.allStarts()); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	b.awaitRow("-1", cdc.Insert)
}

func TestHeartbeatLate(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Heartbeat = 200 * time.Millisecond
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	done := b.hang("INSERT INTO orders VALUES (1, 7, 'HUNG')")
	servertest.Eventually(t, patience, func() (bool, string) {
		events := b.events()
		return strings.Contains(events, "heartbeat_late") && c.Status().Late, events
	})
	b.release()
	<-done
	b.awaitRow("1", cdc.Insert)
	servertest.Eventually(t, patience, func() (bool, string) { return !c.Status().Late, "still said to be late" })
}

// events returns the subjects of the events announced so far.
func (b *bench) events() string {
	b.t.Helper()
	ctx := b.t.Context()
	s, err := b.stream.JetStream().Stream(ctx, "freshet-shop-events")
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	info, err := s.Info(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq != 0 && seq <= info.State.LastSeq; seq++ {
		if msg, err := s.GetMsg(ctx, seq); err == nil {
			out = append(out, msg.Subject)
		}
	}
	return strings.Join(out, " ")
}

func (w *worker) lastMark() cdc.Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mark
}
