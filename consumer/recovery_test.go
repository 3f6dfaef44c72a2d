package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	for i := range 50 {
		b.exec(fmt.Sprintf("INSERT INTO orders VALUES (%d, 7, 'NEW')", i))
	}
	if err := b.pg.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		b.awaitRow(fmt.Sprint(i), cdc.Insert)
	}
	gap := b.awaitGap("crash")
	if len(gap.Tables) != 0 {
		t.Errorf("got a gap of %v, want all tables", gap.Tables)
	}
	b.exec("INSERT INTO orders VALUES (100, 7, 'NEW')")
	b.awaitRow("100", cdc.Insert)
	b.awaitConfirmed(b.text("SELECT pg_current_wal_flush_lsn()::text"))
	starts := b.worker.allStarts()
	if first, last := starts[0].Epoch, starts[len(starts)-1].Epoch; first != last {
		t.Errorf("epoch went from %s to %s: a crash does not move LSNs back", first, last)
	}
}

// A server that was restored to an earlier state, but not to before what was confirmed, as the invalidator is behind: what it
// writes from then on has the LSNs of what stands in the stream already.
func TestPostgresRestoredBehindWhatIsPublished(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
	b.awaitPassed()
	b.worker.pause(true) // nothing is confirmed from here on
	saved := filepath.Join(t.TempDir(), "saved")
	if err := errors.Join(b.pg.Kill(), copyAll(b.pg.DataDir(), saved), b.pg.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	b.exec("INSERT INTO orders SELECT i, 7, 'LOST' FROM generate_series(100, 5000) i")
	b.awaitPublished(c)
	if err := errors.Join(b.pg.Kill(), os.RemoveAll(b.pg.DataDir()), copyAll(saved, b.pg.DataDir()), b.pg.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.worker.pause(false)
	b.awaitRow("2", cdc.Insert)
	b.awaitGap("wal_moved_back")
	starts := b.worker.allStarts()
	if first, last := starts[0].Epoch, starts[len(starts)-1].Epoch; first == last {
		t.Errorf("the epoch is still %s: the lost LSNs would compare with those written in their place", first)
	}
}

// copyAll copies a folder with owners and rights.
func copyAll(from, to string) error {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

func TestPostgresRestartedCleanlyIsNoGap(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
	if err := errors.Join(b.pg.Stop(), b.pg.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitRow("2", cdc.Insert)
	b.onlyGaps("slot_created")
}

// A walsender keeps a server from shutting down until its client has confirmed everything. What is not applied is not confirmed, so the
// consumer lets go.
func TestShutdownOfPostgresDoesNotWaitForUs(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.worker.pause(true)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitPublished(c)
	if err := b.pg.Stop(); err != nil { // says so when the server had to be killed
		t.Fatal(err)
	}
	if err := b.pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.worker.pause(false)
	b.awaitRow("1", cdc.Insert)
	b.awaitConfirmed(b.flushLSN())
}

func TestStreamDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.worker.pause(true)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitPublished(c)
	if err := b.stream.JetStream().DeleteStream(t.Context(), "freshet-shop"); err != nil {
		t.Fatal(err)
	}
	b.worker.pause(false)
	b.awaitRow("1", cdc.Insert)
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitRow("2", cdc.Insert)
	servertest.Eventually(t, patience, func() (bool, string) {
		_, broken := b.worker.at()
		return broken == "", broken
	})
	b.awaitConfirmed(b.flushLSN())
	b.onlyGaps("slot_created")
}

func TestNATSKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	nats := servertest.NATS(t)
	b.stream = openStream(t, stream.Config{URL: nats.URL()})
	b.worker = startWorker(t, b.stream)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	for i := range 3 {
		b.exec(fmt.Sprintf("INSERT INTO orders VALUES (%d, 7, 'NEW')", 10*i))
		if err := nats.Kill(); err != nil {
			t.Fatal(err)
		}
		b.exec(fmt.Sprintf("INSERT INTO orders VALUES (%d, 7, 'NEW')", 10*i+1))
		if err := nats.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.awaitRow(fmt.Sprint(10*i), cdc.Insert)
		b.awaitRow(fmt.Sprint(10*i+1), cdc.Insert)
	}
	b.awaitConfirmed(b.flushLSN())
}

// With confirm applied the slot still has what the stream's store has lost.
func TestStoreLostWhileInvalidatorIsDown(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	nats := servertest.NATS(t)
	b.stream = openStream(t, stream.Config{URL: nats.URL()})
	b.worker = startWorker(t, b.stream)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.worker.pause(true)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitPublished(c)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nats.Stop(), nats.WipeStore(), nats.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	b.start(b.config()).await(consumer.StateStreaming)
	b.worker.pause(false)
	b.awaitRow("1", cdc.Insert)
	b.awaitGap("evidence_lost")
	b.awaitConfirmed(b.flushLSN())
}

func TestRightsAreNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.exec("CREATE ROLE reader LOGIN; GRANT SELECT ON orders TO reader; CREATE PUBLICATION freshet_shop FOR TABLE ONLY orders")
	cfg := b.config()
	cfg.URL = b.pg.UserURL("reader", "", "app")
	for _, step := range []struct{ want, sql string }{
		{`ALTER ROLE "reader" REPLICATION`, `ALTER ROLE "reader" REPLICATION`},
		{"GRANT pg_read_all_stats", "GRANT pg_read_all_stats TO reader"},
	} {
		c := b.start(cfg)
		<-c.done
		if c.err == nil || !strings.Contains(c.err.Error(), step.want) {
			t.Fatalf("got %v, want %s", c.err, step.want)
		}
		b.exec(step.sql)
	}
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
}

func TestSlotDroppedWhileDown(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	b.awaitFreeSlot()
	b.exec("SELECT pg_drop_replication_slot('freshet_shop')")
	b.exec("INSERT INTO orders VALUES (2, 7, 'UNSEEN')")
	c = b.start(b.config())
	c.await(consumer.StateStreaming)
	gap := b.awaitGap("slot_lost")
	starts := b.worker.allStarts()
	first, last := starts[0], starts[len(starts)-1]
	if last.Epoch.Counter != first.Epoch.Counter+1 || gap.Epoch != last.Epoch || gap.LSN != last.From {
		t.Errorf("got start %+v and gap %+v after start %+v: want the next epoch, and the gap at its start", last, gap, first)
	}
	b.exec("INSERT INTO orders VALUES (3, 7, 'NEW')")
	b.awaitRow("3", cdc.Insert)
	b.awaitConfirmed(b.text("SELECT pg_current_wal_flush_lsn()::text"))
	// Passed by the position, the gap is not declared again.
	b.awaitPassed()
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	n := len(b.worker.allGaps())
	c = b.start(b.config())
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (4, 7, 'NEW')")
	b.awaitRow("4", cdc.Insert)
	if got := len(b.worker.allGaps()); got != n {
		t.Errorf("got %d more gap messages, want none", got-n)
	}
}

func TestSlotMovedByHand(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	b.exec("INSERT INTO orders VALUES (1, 7, 'SKIPPED')")
	b.awaitFreeSlot()
	b.exec("SELECT pg_replication_slot_advance('freshet_shop', pg_current_wal_flush_lsn())")
	b.start(b.config()).await(consumer.StateStreaming)
	b.awaitGap("slot_recreated")
}

// Postgres cannot decode with a publication what was written before there was one. Before version 18 it fails, and the slot is moved
// over it; from then on it skips that in silence, and the catalog's fingerprint tells.
func TestPublicationDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.exec("DROP PUBLICATION freshet_shop")
	b.exec("INSERT INTO orders VALUES (1, 7, 'UNSEEN')")
	if version, err := strconv.Atoi(b.text("SHOW server_version_num")); err != nil || version < 180000 {
		b.awaitGap("publication_lost")
	} else {
		b.awaitGap("table_changed")
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		n := b.text("SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'orders'")
		return n == "1", n
	})
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitRow("2", cdc.Insert)
}

// A gap that the position has not passed is published by every session.
func TestGapIsRepeatedUntilPassed(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.worker.pause(true)
	const sessions = 4
	for i := range sessions {
		before := b.gapMessages()
		c := b.start(b.config())
		// Streaming comes before the gap is published, so the message itself is waited for.
		servertest.Eventually(t, patience, func() (bool, string) {
			n := b.gapMessages()
			return n > before, fmt.Sprintf("session %d: %d gap messages, %d before it; %s", i, n, before, c.Status().LastError)
		})
		if i == sessions-1 {
			break // goes on, so that the position can pass
		}
		if err := c.end(); err != nil {
			t.Fatal(err)
		}
	}
	b.worker.pause(false)
	b.awaitGap("slot_created")
	servertest.Eventually(t, patience, func() (bool, string) {
		gaps := b.worker.allGaps()
		firsts := 0
		for _, g := range gaps {
			if g.ID != gaps[0].ID {
				t.Fatalf("got gap %s, want %s again", g.ID, gaps[0].ID)
			}
			if !g.Final {
				firsts++
			}
		}
		return firsts >= sessions, fmt.Sprintf("%d first messages in %d sessions", firsts, sessions)
	})
	b.awaitPassed()
}

// gapMessages counts the gap messages in the stream, whether the worker has read them or not.
func (b *bench) gapMessages() uint64 {
	b.t.Helper()
	ctx := b.t.Context()
	js, err := b.stream.JetStream().Stream(ctx, "freshet-shop")
	if err != nil {
		b.t.Fatal(err)
	}
	subject := "freshet.shop.progress.gap"
	info, err := js.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		b.t.Fatal(err)
	}
	return info.State.Subjects[subject]
}

func TestSecondConsumerTakesOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	first := b.start(b.config())
	first.await(consumer.StateStreaming)
	second := b.start(b.config())
	second.await(consumer.StateWaiting)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
	if s := second.Status(); s.State != consumer.StateWaiting || s.LastError != "" {
		t.Fatalf("the second consumer does not wait quietly: %+v", s)
	}
	// As if its process were killed: the socket closes and nothing is said.
	b.exec("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
	first.stop()
	began := time.Now()
	second.await(consumer.StateStreaming)
	took := time.Since(began)
	t.Logf("took over after %s", took)
	// The walsender of one that vanished goes after wal_sender_timeout, a minute. This one was seen to go.
	if took > 30*time.Second {
		t.Errorf("took over after %s, want seconds", took)
	}
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitRow("2", cdc.Insert)
}

func TestResend(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
	// What is not yet applied is skipped by an ordinary session, as it stands in the stream, and sent again on request.
	b.worker.pause(true)
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitPublished(c)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	c = b.start(cfg)
	c.await(consumer.StateStreaming)
	b.awaitPublished(c)
	b.worker.pause(false)
	b.awaitRow("2", cdc.Insert)
	b.worker.pause(true)
	if n := len(b.worker.seen("2")); n != 1 {
		t.Errorf("the row was published %d times, want once: it was in the stream", n)
	}
	b.exec("INSERT INTO orders VALUES (3, 7, 'NEW')")
	b.awaitPublished(c)
	if err := b.stream.RequestResend(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		requested, err := b.stream.ResendRequested(t.Context())
		return err == nil && !requested, fmt.Sprint(requested, err)
	})
	c.await(consumer.StateStreaming)
	b.worker.pause(false)
	servertest.Eventually(t, patience, func() (bool, string) {
		n := len(b.worker.seen("3"))
		return n == 2, fmt.Sprintf("published %d times, want twice", n)
	})
}

func TestUnmanagedPrintsSQL(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Manage = false
	c := b.start(cfg)
	<-c.done
	if c.err == nil || !strings.Contains(c.err.Error(), "CREATE PUBLICATION") {
		t.Fatalf("got %v, want the SQL that creates the publication", c.err)
	}
	for _, sql := range strings.Split(statements(c.err), ";\n") {
		b.exec(sql)
	}
	c = b.start(cfg)
	<-c.done
	if c.err == nil || !strings.Contains(c.err.Error(), "pg_create_logical_replication_slot") {
		t.Fatalf("got %v, want the SQL that creates the slot", c.err)
	}
	b.exec(statements(c.err))
	c = b.start(cfg)
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
}

// statements returns the SQL in an error.
func statements(err error) string {
	_, sql, _ := strings.Cut(err.Error(), "run:\n")
	return sql
}

// onlyGaps fails if a gap of another reason was declared.
func (b *bench) onlyGaps(reasons ...string) {
	b.t.Helper()
	for _, g := range b.worker.allGaps() {
		known := false
		for _, r := range reasons {
			known = known || g.Reason == r
		}
		if !known {
			b.t.Errorf("unexpected gap: %+v", g)
		}
	}
}

// awaitPassed waits until no gap is kept with the evidence.
func (b *bench) awaitPassed() {
	b.t.Helper()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		entry, err := b.stream.KV().Get(context.Background(), "evidence")
		if err != nil {
			return false, err.Error()
		}
		return !strings.Contains(string(entry.Value()), `"gaps"`), string(entry.Value())
	})
}

// awaitPublished waits until everything committed so far is published.
func (b *bench) awaitPublished(c *running) {
	b.t.Helper()
	end, err := cdc.ParseLSN(b.text("SELECT pg_current_wal_flush_lsn()::text"))
	if err != nil {
		b.t.Fatal(err)
	}
	servertest.Eventually(b.t, patience, func() (bool, string) {
		s := c.Status()
		return s.Published >= end, fmt.Sprintf("%s: published %s, want %s: %s", s.State, s.Published, end, s.LastError)
	})
}
