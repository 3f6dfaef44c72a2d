package ratelimit_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/servers"
)

// shared are servers that all tests use which need none of their own.
var shared struct {
	redis   func() (*servers.Redis, error)
	cluster func() (*servers.RedisCluster, error)

	mu    sync.Mutex
	close []func() error // guarded by mu
}

func TestMain(m *testing.M) {
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

func redisURL(t testing.TB) string {
	t.Helper()
	s, err := shared.redis()
	if err != nil {
		t.Fatal(err)
	}
	return s.URL()
}

func clusterURL(t testing.TB) string {
	t.Helper()
	s, err := shared.cluster()
	if err != nil {
		t.Fatal(err)
	}
	return s.URL()
}

// patience is how long a test waits for a busy machine.
const patience = 30 * time.Second

// generous is a configuration for tests on a busy machine: open and over give
// it patience.
func generous() ratelimit.Config {
	return ratelimit.Config{Timeout: time.Second, Failure: ratelimit.FailClosed}
}

func open(t testing.TB, url string, cfg ratelimit.Config) *ratelimit.Limiter {
	t.Helper()
	patient := cfg.Timeout == time.Second
	if patient && strings.HasPrefix(url, "redis:") {
		for _, parameter := range []string{"dial_timeout", "read_timeout", "write_timeout", "pool_timeout"} {
			separator := "?"
			if strings.Contains(url, "?") {
				separator = "&"
			}
			url += separator + parameter + "=" + patience.String()
		}
	}
	l, err := ratelimit.Open(t.Context(), url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if patient {
		ratelimit.SetTimeout(l, patience)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close limiter: %v", err)
		}
	})
	return l
}

// over returns a patient Limiter over a client of the test's own.
func over(rdb redis.UniversalClient, cfg ratelimit.Config) *ratelimit.Limiter {
	l := ratelimit.New(rdb, cfg)
	ratelimit.SetTimeout(l, patience)
	return l
}

// fresh is an identifier that nobody has used.
func fresh() string { return "test-" + rand.Text() }

// onEveryStore runs a test over memory, one Redis and a Cluster.
func onEveryStore(t *testing.T, test func(t *testing.T, l *ratelimit.Limiter)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, "memory://", generous()))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, redisURL(t), generous()))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, clusterURL(t), generous()))
	})
}

// client returns a client for the shared Redis.
func client(t testing.TB) *redis.Client {
	t.Helper()
	s, err := shared.redis()
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr(), ReadTimeout: patience, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func allow(t testing.TB, l *ratelimit.Limiter, identifier, endpoint string, limit ratelimit.Limit) ratelimit.Result {
	t.Helper()
	r, err := l.Allow(t.Context(), identifier, endpoint, limit)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// quiet is for examples in which something fails.
var quiet = slog.New(slog.DiscardHandler)

// unreachable is a client for a server that is not there.
func unreachable() *redis.Client {
	return redis.NewClient(&redis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }, MaxRetries: -1, DialerRetries: 1,
	})
}
