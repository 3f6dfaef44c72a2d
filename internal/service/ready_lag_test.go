package service_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// boundLag is the ready_lag of these tests: a busy machine is behind by less most
// of the time.
const boundLag = 3 * time.Second

// An invalidator that nothing is sent to says how far behind it is.
func TestInvalidatorBehindIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}"), nats: true, readyLag: boundLag})
	reader, worker := b.start("consumer"), b.start("invalidator")
	b.settle(worker)
	worker.awaitReady(http.StatusOK, "ready")
	reader.stop()
	worker.awaitReady(http.StatusServiceUnavailable, "invalidator: active, applied up to")
	b.start("consumer")
	worker.awaitReady(http.StatusOK, "ready")
}

// A consumer that may not publish what nobody can see yet says so.
func TestConsumerBehindIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}"), readyLag: boundLag})
	r := b.start()
	b.settle(r)
	r.awaitReady(http.StatusOK, "ready")
	standbys := func(names string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(b.postgres.SetConfig(ctx, "synchronous_standby_names", names), b.postgres.Reload(ctx)); err != nil {
			t.Error(err)
		}
	}
	standbys("ghost")
	t.Cleanup(func() { standbys("") }) // the pool waits for the commit
	ended := make(chan error, 1)
	go func() {
		_, err := b.db.Exec(context.WithoutCancel(t.Context()), `set synchronous_commit = on; insert into t values (1)`)
		ended <- err
	}()
	r.awaitReady(http.StatusServiceUnavailable, "consumer: waiting_for_visibility")
	standbys("")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	r.awaitReady(http.StatusOK, "ready")
}

// Who pauses an instance is told when that has left it too far behind.
func TestPausedForTooLongIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}"), readyLag: boundLag})
	r := b.start()
	b.settle(r)
	r.awaitReady(http.StatusOK, "ready")
	if err := r.Stream.Pause(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	r.awaitReady(http.StatusServiceUnavailable, "by a test; `freshet resume`")
	if err := r.Stream.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.awaitReady(http.StatusOK, "ready")
}

// A slot that is lost is said until there is another one, and what it may have
// missed is flushed.
func TestLostSlotIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}")})
	r := b.start()
	b.settle(r)
	r.awaitReady(http.StatusOK, "ready")

	// A transaction that writes now keeps the server from making a slot.
	writer, err := b.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Exec(t.Context(), `insert into t values (1)`); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		// The consumer may take the slot again in between.
		_, err := b.db.Exec(t.Context(), `select pg_terminate_backend(active_pid) from pg_replication_slots where active`)
		if err == nil {
			_, err = b.db.Exec(t.Context(), `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_type = 'logical'`)
		}
		if err != nil {
			return false, err.Error()
		}
		return r.Consumer.Status().State == "creating_slot", string(r.Consumer.Status().State)
	})
	r.awaitReady(http.StatusServiceUnavailable, "consumer: creating_slot: Postgres makes a slot once")
	if err := writer.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.awaitReady(http.StatusOK, "ready")
	b.settle(r)
}
