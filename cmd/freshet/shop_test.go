package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const (
	shopRows    = 1500
	shopClients = 20
)

// shop is the servers of a fault test and the traffic on them: writers that
// count rows up, and readers that fill the cache. All of them survive any
// server's absence.
type shop struct {
	t        *testing.T
	postgres *servers.Postgres
	redis    *servers.Redis
	nats     *servers.NATS
	js       jetstream.JetStream // nil until a test looks at the stream
	db       *pgxpool.Pool
	cache    *cache.Cache
	config   string
	commits  atomic.Int64
	reads    atomic.Int64
	refused  atomic.Pointer[string] // a statement that the server refused, and why
	writing  sync.RWMutex           // held for reading by writers within a transaction
}

func newShop(t *testing.T, extra string) *shop {
	t.Helper()
	n := servertest.NATS(t)
	s := newShopOn(t, extra, fmt.Sprintf("{url: %q}", n.URL()))
	s.nats = n
	return s
}

// newShopOn makes a shop whose NATS, or Cluster of it, is the caller's.
func newShopOn(t *testing.T, extra, natsConfig string) *shop {
	t.Helper()
	s := &shop{
		t:        t,
		postgres: servertest.Postgres(t),
		redis:    servertest.Redis(t, servers.RedisOptions{AppendOnly: true, Args: []string{"--appendfsync", "always"}}),
	}
	var err error
	if s.db, err = pgxpool.New(t.Context(), s.postgres.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.db.Close)
	if s.cache, err = cache.Open(t.Context(), s.redis.URL(), cache.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cache.Close() })
	if _, err := s.db.Exec(t.Context(), fmt.Sprintf(`
		create table orders (id bigint primary key, client_id bigint not null, version bigint not null);
		alter table orders replica identity full;
		insert into orders select n, n %% %d, 0 from generate_series(1, %d) n`, shopClients, shopRows)); err != nil {
		t.Fatal(err)
	}
	s.config = writeConfig(t, fmt.Sprintf(`
name: shop
postgres: {url: %q, heartbeat: 1s%s}
nats: %s
cache: {url: %q}
http: {listen: "127.0.0.1:0"}
rules:
  - table: orders
    invalidate: ["order:{id}", "orders:client:{client_id}", "orders:list:*"]
`, s.postgres.URL(), extra, natsConfig, s.redis.URL()))
	return s
}

// traffic writes and reads until the returned function is called.
func (s *shop) traffic() (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	for range 3 {
		group.Go(func() error { s.write(ctx); return nil })
	}
	for range 4 {
		group.Go(func() error { s.read(ctx); return nil })
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		_ = group.Wait() // its functions return nil
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *shop) write(ctx context.Context) {
	for pause(ctx, 5*time.Millisecond) {
		id := 1 + rand.IntN(shopRows)
		sql := `update orders set version = version + 1 where id = $1`
		if rand.IntN(4) == 0 {
			sql = `update orders set version = version + 1, client_id = (client_id + 7) % 20 where id = $1`
		}
		s.writing.RLock()
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := s.db.Exec(short, sql, id)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			s.commits.Add(1)
		case errors.As(err, &refused) && short.Err() == nil:
			what := fmt.Sprintf("%s: %v", sql, err)
			s.refused.Store(&what)
		}
		cancel()
		s.writing.RUnlock()
	}
}

func (s *shop) read(ctx context.Context) {
	for pause(ctx, time.Millisecond) {
		key := fmt.Sprintf("order:%d", 1+rand.IntN(shopRows))
		switch rand.IntN(4) {
		case 0:
			key = fmt.Sprintf("orders:client:%d", rand.IntN(shopClients))
		case 1:
			key = fmt.Sprintf("orders:list:%d", rand.IntN(3))
		}
		_, err := cache.GetOrSet(ctx, s.cache, key, time.Hour, func(ctx context.Context) (string, error) {
			return s.load(ctx, key)
		})
		if err == nil {
			s.reads.Add(1)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// load computes a key's value from the database.
func (s *shop) load(ctx context.Context, key string) (string, error) {
	kind, id := key[:strings.LastIndexByte(key, ':')], key[strings.LastIndexByte(key, ':')+1:]
	sql := map[string]string{
		"order":         `select client_id || '/' || version from orders where id = $1::text::bigint`,
		"orders:client": `select coalesce(string_agg(id || '/' || version, ' ' order by id), '-') from orders where client_id = $1::text::bigint`,
		"orders:list":   `select sum(version) || '/' || $1::text from orders`,
	}[kind]
	var value string
	err := s.db.QueryRow(ctx, sql, id).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", cache.ErrNotFound
	}
	return value, err
}

// settle waits until what is committed now has been applied, as the position
// in Redis' own status of the given processes says.
func (s *shop) settle(processes ...*process) {
	s.t.Helper()
	s.settleWithin(patience, processes...)
}

func (s *shop) settleWithin(limit time.Duration, processes ...*process) {
	s.t.Helper()
	var text string
	if err := s.db.QueryRow(s.t.Context(), `select pg_current_wal_flush_lsn()::text`).Scan(&text); err != nil {
		s.t.Fatal(err)
	}
	end, err := cdc.ParseLSN(text)
	if err != nil {
		s.t.Fatal(err)
	}
	servertest.Eventually(s.t, limit, func() (bool, string) {
		states := ""
		for _, p := range processes {
			st, err := p.status()
			i := st.Invalidator
			if err == nil && i.Active && i.Position.LSN >= end && i.Pending == 0 && i.Position.Hold == 0 {
				return true, ""
			}
			states += fmt.Sprintf("want %s: invalidator %s at %s hold %s, consumer %s at %s, %v; ",
				end, i.State, i.Position.LSN, i.Position.Hold, st.Consumer.State, st.Consumer.Confirmed, err)
		}
		return false, states
	})
}

// audit holds the writers, waits until everything is applied, lets the readers
// fill the cache, and compares every cached value with the database.
func (s *shop) audit(processes ...*process) {
	s.t.Helper()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.settle(processes...)
	// The cache's connections may not have noticed yet that Redis is back.
	servertest.Eventually(s.t, patience, func() (bool, string) {
		err := s.cache.Ping(s.t.Context())
		return err == nil, fmt.Sprint(err)
	})
	compared, stale := s.compare()
	for _, line := range stale {
		s.t.Errorf("stale: %s", line)
	}
	if compared == 0 {
		s.await("reads", &s.reads, 500)
		if compared, stale = s.compare(); compared == 0 {
			s.t.Error("nothing is cached, so nothing was compared")
		}
	}
	s.t.Logf("%d commits, %d reads: %d cached values compared, %d stale", s.commits.Load(), s.reads.Load(), compared, len(stale))
}

// compare compares every cached value with the database.
func (s *shop) compare() (compared int, stale []string) {
	s.t.Helper()
	rdb := s.redis.Client()
	defer rdb.Close()
	keys := rdb.Scan(s.t.Context(), 0, "order*", 1000).Iterator()
	for keys.Next(s.t.Context()) {
		key := keys.Val()
		cached, err := cache.Get[string](s.t.Context(), s.cache, key)
		if errors.Is(err, cache.ErrMiss) {
			continue
		}
		if err != nil {
			s.t.Fatalf("read %s: %v", key, err)
		}
		fresh, err := s.load(s.t.Context(), key)
		if err != nil && !errors.Is(err, cache.ErrNotFound) {
			s.t.Fatalf("load %s: %v", key, err)
		}
		compared++
		if cached != fresh {
			stale = append(stale, fmt.Sprintf("%s is cached as %q, the database says %q", key, cached, fresh))
		}
	}
	if err := keys.Err(); err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("list keys: %v", err)
	}
	return compared, stale
}

// awaitCommits waits until n more transactions have committed.
func (s *shop) awaitCommits(n int64) {
	s.t.Helper()
	s.await("commits", &s.commits, n)
}

func (s *shop) await(what string, counter *atomic.Int64, n int64) {
	s.t.Helper()
	want := counter.Load() + n
	servertest.Eventually(s.t, patience, func() (bool, string) {
		have := counter.Load()
		return have >= want, fmt.Sprintf("%d of %d %s", have, want, what)
	})
}
