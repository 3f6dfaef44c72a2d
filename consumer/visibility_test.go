package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// hang begins an UPDATE whose commit waits for a standby that does not exist, and returns when it does. The channel is closed when the
// commit has returned.
func (b *bench) hang(sql string) <-chan struct{} {
	b.t.Helper()
	ctx := b.t.Context()
	if err := b.pg.SetConfig(ctx, "synchronous_standby_names", "ghost"); err != nil {
		b.t.Fatal(err)
	}
	if err := b.pg.Reload(ctx); err != nil {
		b.t.Fatal(err)
	}
	conn := b.connect()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
			b.t.Errorf("%s: %v", sql, err)
		}
	}()
	b.t.Cleanup(func() {
		b.release()
		<-done
	})
	servertest.Eventually(b.t, patience, func() (bool, string) {
		event := b.text("SELECT coalesce(string_agg(wait_event, ' '), '') FROM pg_stat_activity WHERE query = $1", sql)
		return strings.Contains(event, "SyncRep"), event
	})
	return done
}

// release lets every commit return that waits for a standby.
func (b *bench) release() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := errors.Join(b.pg.SetConfig(ctx, "synchronous_standby_names", ""), b.pg.Reload(ctx)); err != nil {
		b.t.Error(err)
	}
}

func TestNothingIsPublishedBeforeItIsVisible(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]string{"wal_sender_timeout": "6s"})
	b.exec("INSERT INTO orders VALUES (1, 7, 'OLD')")
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (2, 7, 'FIRST')")
	b.awaitRow("2", cdc.Insert)
	done := b.hang("UPDATE orders SET status = 'HUNG' WHERE id = 1")
	c.await(consumer.StateInvisible)
	// Longer than wal_sender_timeout: the walsender hears from a consumer that waits.
	servertest.Never(t, 8*time.Second, func() (bool, string) {
		seen := b.worker.seen("1")
		return len(seen) > 0 || c.Status().State != consumer.StateInvisible, fmt.Sprint(seen, c.Status().State, c.Status().LastError)
	})
	if got := b.text("SELECT status FROM orders WHERE id = 1"); got != "OLD" {
		t.Fatalf("SELECT shows %s while the commit hangs", got)
	}
	b.release()
	<-done
	b.awaitRow("1", cdc.Update)
	c.await(consumer.StateStreaming)
	if n := len(b.worker.allStarts()); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
}

// Without the gate the change is published while every SELECT still shows the old row.
func TestGateIsWhatHolds(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.exec("INSERT INTO orders VALUES (1, 7, 'OLD')")
	c := b.start(consumer.WithoutGate(b.config()))
	c.await(consumer.StateStreaming)
	done := b.hang("UPDATE orders SET status = 'HUNG' WHERE id = 1")
	b.awaitRow("1", cdc.Update)
	if got := b.text("SELECT status FROM orders WHERE id = 1"); got != "OLD" {
		t.Fatalf("SELECT shows %s while the commit hangs", got)
	}
	select {
	case <-done:
		t.Fatal("the commit returned")
	default:
	}
}

func TestSynchronousForAllIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	if err := errors.Join(b.pg.SetConfig(t.Context(), "synchronous_standby_names", "*"), b.pg.Reload(t.Context())); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		got := b.text("SHOW synchronous_standby_names")
		return got == "*", got
	})
	c := b.start(b.config())
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatal("Run goes on")
	}
	if !errors.Is(c.err, consumer.ErrConfiguration) || !strings.Contains(c.err.Error(), "synchronous_standby_names") {
		t.Fatalf("got %v, want an error that names synchronous_standby_names", c.err)
	}
	// No standby is connected: with '*' commits wait only once one is, so any that hangs now hangs for us.
	if got := b.text("SELECT count(*)::text FROM pg_stat_replication"); got != "0" {
		t.Fatalf("%s walsenders are left", got)
	}
}

// A standby name that comes to cover us while we stream ends the session before commits wait for us for long.
func TestSynchronousLaterEndsTheSession(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	if err := errors.Join(b.pg.SetConfig(t.Context(), "synchronous_standby_names", "*"), b.pg.Reload(t.Context())); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		s := c.Status()
		return strings.Contains(s.LastError, "synchronous") && s.Remedy != "", string(s.State) + " " + s.LastError
	})
	b.release()
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.awaitRow("1", cdc.Insert)
}
