// Package servertest starts the servers of package servers for the length of a
// test. It never skips: a server that is not installed fails the test with the
// command that installs it.
package servertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers"
)

// template is initialised once for a test binary, however many clusters its
// tests start. Nobody closes it; its guard removes it when the binary ends.
var template = sync.OnceValues(func() (*servers.PostgresTemplate, error) {
	return servers.NewPostgresTemplate(context.Background(), "")
})

// natsBinary is looked for, and built if need be, once for a test binary.
var natsBinary = sync.OnceValues(func() (string, error) {
	return servers.FindNATS(context.Background(), "")
})

// Postgres starts a Postgres server for the length of the test: superuser
// postgres without a password, database app, logical replication. At most one
// opts may be given.
func Postgres(t testing.TB, opts ...servers.PostgresOptions) *servers.Postgres {
	t.Helper()
	o := one(t, opts)
	if o.Template == nil && o.Bin == "" {
		tmpl, err := template()
		if err != nil {
			t.Fatal(err)
		}
		o.Template = tmpl
	}
	p, err := servers.StartPostgres(t.Context(), o)
	return keep(t, "postgres", p, err)
}

// PostgresStandby starts a streaming standby of a running server for the length
// of the test.
func PostgresStandby(t testing.TB, primary *servers.Postgres) *servers.Postgres {
	t.Helper()
	p, err := primary.Standby(t.Context())
	return keep(t, "postgres standby", p, err)
}

// Redis starts an empty Redis server for the length of the test. At most one
// opts may be given.
func Redis(t testing.TB, opts ...servers.RedisOptions) *servers.Redis {
	t.Helper()
	r, err := servers.StartRedis(t.Context(), one(t, opts))
	return keep(t, "redis", r, err)
}

// RedisCluster starts a Redis Cluster of masters without replicas for the
// length of the test. At most one opts may be given; it is that of each node.
func RedisCluster(t testing.TB, masters int, opts ...servers.RedisOptions) *servers.RedisCluster {
	t.Helper()
	c, err := servers.StartRedisCluster(t.Context(), servers.RedisClusterOptions{Masters: masters, Node: one(t, opts)})
	return keep(t, "redis cluster", c, err)
}

// Sentinel starts a Redis master, one replica of it and a sentinel that watches
// both, for the length of the test. At most one opts may be given; it is that
// of master and replica.
func Sentinel(t testing.TB, opts ...servers.RedisOptions) *servers.Sentinel {
	t.Helper()
	return SentinelOf(t, servers.SentinelOptions{Node: one(t, opts)})
}

// SentinelOf is Sentinel with all of its options.
func SentinelOf(t testing.TB, opts servers.SentinelOptions) *servers.Sentinel {
	t.Helper()
	s, err := servers.StartSentinel(t.Context(), opts)
	return keep(t, "redis sentinel", s, err)
}

// NATS starts a NATS server with JetStream in a process of its own for the
// length of the test. At most one opts may be given.
func NATS(t testing.TB, opts ...servers.NATSOptions) *servers.NATS {
	t.Helper()
	o := one(t, opts)
	if o.Bin == "" {
		bin, err := natsBinary()
		if err != nil {
			t.Fatal(err)
		}
		o.Bin = bin
	}
	n, err := servers.StartNATS(t.Context(), o)
	return keep(t, "nats-server", n, err)
}

// NATSCluster starts a cluster of three NATS servers for the length of the test.
func NATSCluster(t testing.TB, opts servers.NATSClusterOptions) *servers.NATSCluster {
	t.Helper()
	if opts.Node.Bin == "" {
		bin, err := natsBinary()
		if err != nil {
			t.Fatal(err)
		}
		opts.Node.Bin = bin
	}
	c, err := servers.StartNATSCluster(t.Context(), opts)
	return keep(t, "nats cluster", c, err)
}

// FreeAddr returns an address on loopback at which nobody listens, and nobody
// else will for the length of the test.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, release, err := servers.FreeAddr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addr
}

func one[T any](t testing.TB, opts []T) T {
	t.Helper()
	var zero T
	switch len(opts) {
	case 0:
		return zero
	case 1:
		return opts[0]
	default:
		t.Fatalf("servertest: %d options given, at most one is taken", len(opts))
		return zero
	}
}

// server is what all servers can do.
type server interface {
	Log() string
	Close() error
}

// keep registers the end of a server that has just been started.
func keep[S server](t testing.TB, name string, s S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s ends with:\n%s", name, s.Log())
		}
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	return s
}

// Eventually calls condition until it reports true, and fails the test if it
// has not within timeout. The failure names the state that condition returned
// last, so return what there is to know: "3 of 5 keys gone".
func Eventually(t testing.TB, timeout time.Duration, condition func() (ok bool, state string)) {
	t.Helper()
	if state, ok := poll(t.Context(), timeout, condition); !ok {
		t.Fatalf("not within %v; last state: %s", timeout, state)
	}
}

// Never calls condition for the length of d and fails the test as soon as it
// reports true. It takes d always, so d is short.
func Never(t testing.TB, d time.Duration, condition func() (bad bool, state string)) {
	t.Helper()
	if state, bad := poll(t.Context(), d, condition); bad {
		t.Fatalf("happened within %v: %s", d, state)
	}
}

// poll looks often at first, as most things take a millisecond, and up to
// every 25 ms later. The last look is after the deadline.
func poll(ctx context.Context, timeout time.Duration, condition func() (bool, string)) (string, bool) {
	deadline := time.Now().Add(timeout)
	pause := time.Millisecond
	for {
		late := time.Now().After(deadline)
		ok, state := condition()
		if ok || late {
			return state, ok
		}
		select {
		case <-ctx.Done():
			return fmt.Sprintf("%s (test ended: %v)", state, context.Cause(ctx)), false
		case <-time.After(pause):
		}
		pause = slices.Min([]time.Duration{pause * 2, 25 * time.Millisecond, max(time.Until(deadline), time.Millisecond)})
	}
}
