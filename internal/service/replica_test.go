package service_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// replica is a cache whose loaders read a streaming standby.
type replica struct {
	*bundle
	standby *pgxpool.Pool
	cache   *cache.Cache
	tells   bool // loaders say how far the standby had replayed
}

const replicaRows = 20

func newReplica(t *testing.T, tells bool) (*replica, *running) {
	t.Helper()
	b := newBundle(t, options{
		schema: fmt.Sprintf(`create table orders (id bigint primary key, version bigint not null);
			insert into orders select i, 0 from generate_series(1, %d) i`, replicaRows),
		rules: on("orders", "order:{id}"),
	})
	v := b.start()
	b.settle(v)
	r := &replica{bundle: b, tells: tells}
	var err error
	if r.standby, err = pgxpool.New(t.Context(), servertest.PostgresStandby(t, b.postgres).URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.standby.Close)
	if r.cache, err = cache.Open(t.Context(), b.redis.URL(), cache.Config{Source: instance}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cache.Close() })
	return r, v
}

func orderKey(id int) string { return fmt.Sprintf("order:%d", id) }

// get reads an order's version through the cache.
func (r *replica) get(ctx context.Context, id int) (int64, error) {
	return cache.GetOrSet(ctx, r.cache, orderKey(id), time.Hour, func(ctx context.Context) (version int64, err error) {
		if r.tells {
			// Before the query, and in a statement of its own.
			var replayed string
			if err := r.standby.QueryRow(ctx, `select pg_last_wal_replay_lsn()::text`).Scan(&replayed); err != nil {
				return 0, err
			}
			lsn, err := cache.ParseLSN(replayed)
			if err != nil {
				return 0, err
			}
			cache.LoadedAt(ctx, lsn)
		}
		err = r.standby.QueryRow(ctx, `select version from orders where id = $1`, id).Scan(&version)
		return version, err
	})
}

// on runs a statement on the standby.
func (r *replica) on(sql string) {
	r.t.Helper()
	if _, err := r.standby.Exec(r.t.Context(), sql); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

// caughtUp waits until the standby has replayed what is committed now.
func (r *replica) caughtUp() {
	r.t.Helper()
	end := r.walEnd().String()
	servertest.Eventually(r.t, patience, func() (bool, string) {
		var done bool
		err := r.standby.QueryRow(r.t.Context(), `select pg_last_wal_replay_lsn() >= $1::text::pg_lsn`, end).Scan(&done)
		return done, fmt.Sprint(err)
	})
}

// A loader that reads a standby which has stopped replaying stores what is older
// than the invalidation: documented, and what LoadedAt is there for.
func TestStandbyWithoutLoadedAtStoresWhatIsStale(t *testing.T) {
	t.Parallel()
	r, v := newReplica(t, false)
	r.caughtUp()
	r.on(`select pg_wal_replay_pause()`)
	servertest.Eventually(t, patience, func() (bool, string) {
		var state string
		err := r.standby.QueryRow(t.Context(), `select pg_get_wal_replay_pause_state()`).Scan(&state)
		return state == "paused", fmt.Sprint(state, err)
	})
	r.exec(`update orders set version = 1 where id = 1`)
	r.settle(v)
	if got, err := r.get(t.Context(), 1); got != 0 || err != nil {
		t.Fatalf("got %d, %v, want what the standby still has", got, err)
	}
	if got, err := cache.Get[int64](t.Context(), r.cache, orderKey(1)); got != 0 || err != nil {
		t.Errorf("got %d, %v: this loader is expected to store the stale value", got, err)
	}
	r.on(`select pg_wal_replay_resume()`)
}

// With LoadedAt nothing is ever stored that is older than what has been
// invalidated, whatever the standby does; and what it has caught up with is stored.
func TestStandbyWithLoadedAtStoresNothingStale(t *testing.T) {
	t.Parallel()
	r, v := newReplica(t, true)
	// committed is what a row's version is at least, for every later read of the
	// cache that comes after it has been applied.
	var committed [replicaRows + 1]atomic.Int64
	var refused, stored int

	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	t.Cleanup(traffic.Wait)
	t.Cleanup(cancel)
	for range 2 {
		traffic.Go(func() {
			for ctx.Err() == nil {
				if _, err := r.get(ctx, 1+rand.IntN(replicaRows)); err != nil && ctx.Err() == nil {
					t.Errorf("read: %v", err)
					return
				}
			}
		})
	}
	const rounds = 40
	for round := range rounds {
		if round%2 == 0 {
			r.on(`select pg_wal_replay_pause()`)
		}
		for range 5 {
			id := 1 + rand.IntN(replicaRows)
			var version int64
			if err := r.db.QueryRow(ctx, `update orders set version = version + 1 where id = $1 returning version`, id).Scan(&version); err != nil {
				t.Fatal(err)
			}
			committed[id].Store(version)
		}
		r.settle(v) // the invalidations have been applied; readers go on
		for id := 1; id <= replicaRows; id++ {
			want := committed[id].Load()
			if got, err := r.get(ctx, id); err != nil || got > want {
				t.Fatalf("got %d, %v, want at most %d", got, err, want)
			}
			switch got, err := cache.Get[int64](ctx, r.cache, orderKey(id)); {
			case errors.Is(err, cache.ErrMiss):
				refused++
			case err != nil:
				t.Fatal(err)
			case got != want:
				t.Errorf("round %d: order %d is cached in version %d, and %d has been applied", round, id, got, want)
			default:
				stored++
			}
		}
		if round%2 == 1 {
			r.on(`select pg_wal_replay_resume()`)
			r.caughtUp()
		}
	}
	cancel()
	traffic.Wait()
	t.Logf("%d looks found the last version, %d nothing, none an older one", stored, refused)
	if stored == 0 || refused == 0 {
		t.Errorf("%d looks found a value and %d none: one of the two was not tested", stored, refused)
	}
	// Once something of the standby is beyond the last deletes, fills are stored.
	servertest.Eventually(t, patience, func() (bool, string) {
		r.exec(`select pg_logical_emit_message(true, 'test', '')`)
		r.caughtUp()
		if _, err := r.get(t.Context(), 1); err != nil {
			return false, err.Error()
		}
		got, err := cache.Get[int64](t.Context(), r.cache, orderKey(1))
		return err == nil && got == committed[1].Load(), fmt.Sprint(got, err)
	})
}
