package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

// staleAfterHungCommit runs the whole pipeline while a commit hangs, with a
// reader that misses and refills in that time, and returns what is cached and
// what the database says once everything is applied.
func staleAfterHungCommit(t *testing.T, gate bool) (cached, fresh string) {
	t.Helper()
	b := newBench(t, nil)
	b.exec("INSERT INTO orders VALUES (1, 7, 'OLD')")
	redis := servertest.Redis(t)
	db, err := pgxpool.New(t.Context(), b.pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	c, err := cache.Open(t.Context(), redis.URL(), cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })

	const name = "hung"
	cfg := consumer.Config{Name: name, URL: b.pg.URL(), Manage: true, Logger: testLogger(t)}
	if !gate {
		cfg = consumer.WithoutGate(cfg)
	}
	started := make(chan service.Running, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- service.Run(ctx, service.Config{
			PostgresURL: b.pg.URL(),
			Compile: func(s rule.Schema) (*rule.Set, error) {
				return rule.Compile([]rule.Config{{Table: "orders", Invalidate: []string{"order:{id}"}}}, s)
			},
			Stream:      stream.Config{Name: name, Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()}},
			Consumer:    cfg,
			Invalidator: invalidator.Config{Name: name},
			Applier:     cache.ApplierConfig{Name: name},
			CacheURL:    redis.URL(),
			OnStarted:   func(r service.Running) { started <- r },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the service stopped with %v", err)
		}
	})
	var running service.Running
	select {
	case running = <-started:
	case err := <-ended:
		ended <- err
		t.Fatalf("the service did not start: %v", err)
	}
	applied := func(lsn string) {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) {
			s := running.Invalidator.Status()
			return s.Position.LSN.String() != "0/0" && s.Position.Hold == 0 &&
				b.text("SELECT ($1::pg_lsn >= $2::pg_lsn)::text", s.Position.LSN.String(), lsn) == "true", fmt.Sprintf("%s at %s, want %s", s.State, s.Position.LSN, lsn)
		})
	}
	loads := 0
	read := func() {
		t.Helper()
		_, err := cache.GetOrSet(t.Context(), c, "order:1", time.Hour, func(ctx context.Context) (status string, err error) {
			loads++
			return status, db.QueryRow(ctx, "SELECT status FROM orders WHERE id = 1").Scan(&status)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	applied(b.text("SELECT pg_current_wal_flush_lsn()::text"))
	read()
	loads = 0

	done := b.hang("UPDATE orders SET status = 'NEW' WHERE id = 1")
	// A reader that misses while the commit hangs loads the old row and stores
	// it, with a lease that nothing has voided. With the gate nothing is removed
	// yet; without it the value is removed and refilled in vain.
	removed := func() (bool, string) {
		read()
		return loads > 0, "the key is there"
	}
	if gate {
		servertest.Never(t, 2*time.Second, removed)
	} else {
		servertest.Eventually(t, patience, removed)
		// The mark behind the change follows it: no removal is still on its way.
		applied(b.text("SELECT pg_current_wal_flush_lsn()::text"))
		read()
	}
	b.release()
	<-done
	applied(b.text("SELECT pg_current_wal_flush_lsn()::text"))
	cached, err = cache.Get[string](t.Context(), c, "order:1")
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		t.Fatal(err)
	}
	return cached, b.text("SELECT status FROM orders WHERE id = 1")
}

// A commit that hangs in synchronous replication cannot leave the old value
// behind, whatever readers do meanwhile.
func TestHungCommitLeavesNothingStale(t *testing.T) {
	t.Parallel()
	cached, fresh := staleAfterHungCommit(t, true)
	if cached != "" {
		t.Errorf("cached %q after the commit was applied, the database says %q; want the key gone", cached, fresh)
	}
}

// Without the gate the same reader leaves the old value behind for good.
func TestHungCommitWithoutGateIsStale(t *testing.T) {
	t.Parallel()
	cached, fresh := staleAfterHungCommit(t, false)
	if cached == "" || cached == fresh {
		t.Errorf("cached %q, the database says %q: the test above would not notice a missing gate", cached, fresh)
	}
}
