package main

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// redisConfigured are options of a Redis server with a file of deploy/redis.
func redisConfigured(t *testing.T, file string) servers.RedisOptions {
	t.Helper()
	options := redisUsers(t)
	options.ConfigFile = filepath.Join(t.TempDir(), "redis.conf")
	if err := os.WriteFile(options.ConfigFile, []byte(filled(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	return options
}

// as is a URL with another user.
func as(t *testing.T, address, user string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if query := u.Query(); query.Has("master_name") {
		query.Set("username", user)
		query.Set("password", secret(user))
		u.RawQuery = query.Encode()
		return u.String()
	}
	u.User = url.UserPassword(user, secret(user))
	return u.String()
}

// serves expects that a pattern and names go.
func (d *deployment) serves(p *process, status string) {
	d.t.Helper()
	want := []string{
		"dashboard:1", "order:1", "order:1:status", "orders:client:1", "orders:list:0f", "orders:list:all",
		"orders:metrics:2026-11", "production:metrics:2026-11-23",
	}
	if got := d.removedBy(p, `UPDATE orders SET status = '`+status+`' WHERE id = 1`); !slices.Equal(got, want) {
		d.t.Errorf("removed %v, want %v", got, want)
	}
}

// The service works on a Redis Cluster with deploy's configuration and users.
func TestDeployedRedisCluster(t *testing.T) {
	t.Parallel()
	c := servertest.RedisCluster(t, 3, redisConfigured(t, "cluster/redis.conf"))
	d := deployOn(t, c.Client(), as(t, c.URL(), "freshet"))
	config := d.config(false)
	if out, status := d.check(config); status != exitDone {
		t.Errorf("check: status %d\n%s", status, out)
	}
	p := d.run(config)
	d.serves(p, "PAID")
	if status, _ := p.terminate(); status != exitDone {
		t.Errorf("the service ended with status %d:\n%s", status, p.tail())
	}
	for _, node := range c.Nodes() {
		denied(t, node)
	}
}

// The service works on what Sentinel says is the master, with deploy's configuration
// and users, and goes on with the replica when the master has died.
func TestDeployedRedisSentinel(t *testing.T) {
	t.Parallel()
	s := servertest.SentinelOf(t, servers.SentinelOptions{
		Node: redisConfigured(t, "sentinel/redis.conf"), Config: filled(t, "sentinel/sentinel.conf"),
	})
	d := deployOn(t, s.Client(), as(t, s.URL(), "freshet"))
	config := d.config(false)
	if out, status := d.check(config); status != exitDone {
		t.Errorf("check: status %d\n%s", status, out)
	}
	p := d.run(config)
	d.serves(p, "PAID")
	master, err := s.Master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	denied(t, master)
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	successor, err := s.AwaitMaster(t.Context(), master)
	if err != nil {
		t.Fatal(err)
	}
	d.serves(p, "SENT")
	denied(t, successor)
}
