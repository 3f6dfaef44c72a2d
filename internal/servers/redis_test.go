package servers_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestRedisKeepsWhatItIsToldToKeep(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts servers.RedisOptions
		want string
	}{
		{"append-only", servers.RedisOptions{AppendOnly: true}, "v"},
		{"in memory", servers.RedisOptions{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			r := servertest.Redis(t, tc.opts)
			client := r.Client()
			defer client.Close()
			if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			addr, pid := r.Addr(), r.PID()
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			if existing(t, pid) {
				t.Errorf("process %d outlived Kill", pid)
			}
			if err := client.Ping(ctx).Err(); err == nil {
				t.Error("a killed server answered")
			}
			if err := r.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if got := r.Addr(); got != addr {
				t.Errorf("address after Start: got %s, want %s", got, addr)
			}
			got, err := client.Get(ctx, "k").Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("after Kill and Start: got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRedisDumpBringsBackThePast(t *testing.T) {
	t.Parallel()
	for _, appendOnly := range []bool{false, true} {
		t.Run("append-only "+map[bool]string{false: "off", true: "on"}[appendOnly], func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			r := servertest.Redis(t, servers.RedisOptions{AppendOnly: appendOnly})
			client := r.Client()
			defer client.Close()
			set := func(v string) {
				t.Helper()
				if err := client.Set(ctx, "k", v, 0).Err(); err != nil {
					t.Fatal(err)
				}
			}
			set("old")
			dump, err := r.SaveDump(ctx)
			if err != nil {
				t.Fatal(err)
			}
			set("new")
			if err := r.RestoreDump(ctx, dump); err != nil {
				t.Fatal(err)
			}
			if got := client.Get(ctx, "k").Val(); got != "old" {
				t.Errorf("after RestoreDump: got %q, want %q", got, "old")
			}
			if !appendOnly {
				return
			}
			set("newer")
			if err := errors.Join(r.Kill(), r.Start(ctx)); err != nil {
				t.Fatal(err)
			}
			if got := client.Get(ctx, "k").Val(); got != "newer" {
				t.Errorf("after RestoreDump, Kill and Start: got %q, want %q", got, "newer")
			}
			if err := r.WipeData(ctx); err != nil {
				t.Fatal(err)
			}
			if got := client.DBSize(ctx).Val(); got != 0 {
				t.Errorf("keys after WipeData: got %d, want 0", got)
			}
		})
	}
}

func TestRedisPauseAndResume(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t)
	client := redis.NewClient(&redis.Options{Addr: r.Addr(), MaxRetries: -1, ReadTimeout: 50 * time.Millisecond})
	defer client.Close()
	if err := r.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a paused server answered")
	}
	if err := r.Resume(); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		err := client.Ping(t.Context()).Err()
		return err == nil, errorText(err)
	})
}

func TestRedisPassword(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, servers.RedisOptions{Password: "p@ss/word"})
	opts, err := redis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("with the URL's password: %v", err)
	}
	stranger := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without: got %v, want NOAUTH", err)
	}
}

func TestRedisCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	parent := enterableDir(t)
	r := servertest.Redis(t, servers.RedisOptions{Dir: parent, AppendOnly: true})
	pid := r.PID()
	if err := errors.Join(r.Pause(), r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	if existing(t, pid) {
		t.Errorf("process %d outlived Close", pid)
	}
	assertEmpty(t, parent)
	if err := r.Start(t.Context()); !errors.Is(err, servers.ErrClosed) {
		t.Errorf("Start after Close: got %v, want ErrClosed", err)
	}
}

func TestRedisMissingSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	_, err := servers.StartRedis(t.Context(), servers.RedisOptions{Bin: "no-such-redis"})
	var missing *servers.MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "install redis-server") {
		t.Errorf("got %v, want a MissingError with its remedy", err)
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, err := servers.StartRedisCluster(ctx, servers.RedisClusterOptions{Masters: 3, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	opts, err := redis.ParseClusterURL(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClusterClient(opts)
	defer client.Close()
	for i := range 100 {
		if err := client.Set(ctx, "k"+itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for i := range 3 {
		node := c.Node(i).Client()
		n, err := node.DBSize(ctx).Result()
		node.Close()
		if err != nil || n == 0 {
			t.Errorf("master %d holds %d keys (%v)", i, n, err)
		}
		total += int(n)
	}
	if total != 100 {
		t.Errorf("keys on the masters: got %d, want 100", total)
	}

	// The replica of the first master stands first after the masters.
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	replica := c.Node(3).Client()
	defer replica.Close()
	servertest.Eventually(t, patience, func() (bool, string) {
		info := replica.Info(ctx, "replication").Val()
		return strings.Contains(info, "role:master"), info
	})
	if err := c.Start(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitOK(ctx); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		err := client.Set(ctx, "k1", "again", 0).Err()
		return err == nil, errorText(err)
	})
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := servertest.Sentinel(t)
	client := s.Client()
	defer client.Close()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	first, err := s.Master(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if first != s.Nodes()[0] {
		t.Fatal("the sentinel took the replica for the master")
	}
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	second, err := s.AwaitMaster(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		err := client.Set(context.WithoutCancel(ctx), "k", "w", 0).Err()
		return err == nil, errorText(err)
	})
	direct := second.Client()
	defer direct.Close()
	if got := direct.Get(ctx, "k").Val(); got != "w" {
		t.Errorf("on the new master: got %q, want %q", got, "w")
	}
}

func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := servertest.Sentinel(t, servers.RedisOptions{Password: "secret"})
	before, err := s.Master(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Failover(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := s.Master(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before == after {
		t.Error("Failover left the master as it was")
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
