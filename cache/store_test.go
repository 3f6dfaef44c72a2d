package cache_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// shared are servers for tests that need no server of their own; each of those
// has a prefix of its own.
var shared struct {
	redis   func() (*servers.Redis, error)
	cluster func() (*servers.RedisCluster, error)

	mu    sync.Mutex
	close []func() error
}

func TestMain(m *testing.M) {
	if how := os.Getenv(stampedeVariable); how != "" {
		if err := stampedeChild(os.Stdout, os.Stdin, how); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	shared.redis = sync.OnceValues(func() (*servers.Redis, error) {
		s, err := servers.StartRedis(context.Background(), servers.RedisOptions{})
		if err == nil {
			atTheEnd(s.Close)
		}
		return s, err
	})
	shared.cluster = sync.OnceValues(func() (*servers.RedisCluster, error) {
		s, err := servers.StartRedisCluster(context.Background(), servers.RedisClusterOptions{Masters: 3})
		if err == nil {
			atTheEnd(s.Close)
		}
		return s, err
	})
	code := m.Run()
	for _, end := range shared.close {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func atTheEnd(end func() error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.close = append(shared.close, end)
}

// backend is one kind of store under test: a cache and an applier over it.
type backend struct {
	t       *testing.T
	cache   *cache.Cache
	applier *cache.Applier
	rdb     redis.UniversalClient // nil in memory
	url     string
	cfg     cache.Config
}

// another opens one more applier over the same store.
func (b *backend) another(t *testing.T, cfg cache.ApplierConfig) *cache.Applier {
	t.Helper()
	var a *cache.Applier
	var err error
	if b.rdb == nil {
		a, err = b.cache.Applier(cfg)
	} else {
		a, err = cache.OpenApplier(b.url, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func open(t *testing.T, url string, rdb redis.UniversalClient, cfg cache.Config) *backend {
	t.Helper()
	c, err := cache.Open(t.Context(), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, cache: c, rdb: rdb, url: url, cfg: cfg}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close cache: %v", err)
		}
		if rdb != nil {
			_ = rdb.Close()
		}
	})
	name := "test"
	if cfg.Prefix != "" {
		name = fmt.Sprintf("test%x", cfg.Prefix)
	}
	b.applier = b.another(t, cache.ApplierConfig{Name: name, Prefix: cfg.Prefix})
	return b
}

// onEveryStore runs a test over memory, one Redis and a Cluster of three
// masters, all of its own.
func onEveryStore(t *testing.T, cfg cache.Config, test func(b *backend)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(open(t, "memory://", nil, cfg))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := servertest.Redis(t)
		test(open(t, server.URL(), server.Client(), cfg))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		servers := servertest.RedisCluster(t, 3)
		test(open(t, servers.URL(), servers.Client(), cfg))
	})
}

// onSharedStores does so over servers that other tests use too, with a prefix
// of the test's own.
func onSharedStores(t *testing.T, cfg cache.Config, test func(b *backend)) {
	t.Helper()
	cfg.Prefix = t.Name() + ":" + rand.Text()[:8] + ":" // runs with -count share the servers
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(open(t, "memory://", nil, cfg))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server, err := shared.redis()
		if err != nil {
			t.Fatal(err)
		}
		test(open(t, server.URL(), server.Client(), cfg))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		cluster, err := shared.cluster()
		if err != nil {
			t.Fatal(err)
		}
		test(open(t, cluster.URL(), cluster.Client(), cfg))
	})
}

// stored reports which keys have a value, of whatever type.
func stored(t *testing.T, c *cache.Cache, keys ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, key := range keys {
		ok, err := c.Exists(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		found[key] = ok
	}
	return found
}
