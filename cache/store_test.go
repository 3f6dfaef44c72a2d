package cache_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// backend is one kind of store under test: a cache and an applier over it.
type backend struct {
	cache   *cache.Cache
	applier *cache.Applier
	rdb     redis.UniversalClient // nil in memory
	url     string
}

// another opens one more applier over the same store.
func (b *backend) another(t *testing.T, cfg cache.ApplierConfig) *cache.Applier {
	t.Helper()
	var a *cache.Applier
	var err error
	if b.url == "memory://" {
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
	b := &backend{cache: c, rdb: rdb, url: url}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close cache: %v", err)
		}
		if rdb != nil {
			_ = rdb.Close()
		}
	})
	b.applier = b.another(t, cache.ApplierConfig{Name: "test", Prefix: cfg.Prefix})
	return b
}

// onEveryStore runs a test over memory, one Redis and a Cluster of three
// masters.
func onEveryStore(t *testing.T, cfg cache.Config, test func(t *testing.T, b *backend)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, "memory://", nil, cfg))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		server := servertest.Redis(t)
		test(t, open(t, server.URL(), server.Client(), cfg))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		servers := servertest.RedisCluster(t, 3)
		test(t, open(t, servers.URL(), servers.Client(), cfg))
	})
}
