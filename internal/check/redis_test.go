package check_test

import (
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestRedisLines(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	ctx := t.Context()
	rdb := b.redis.Client()
	defer rdb.Close()
	for _, key := range []string{"order:1", "order:2", "orders:client:7", "other"} {
		if err := rdb.Set(ctx, key, "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	report := b.check(t)
	if all := text(t, report); !strings.Contains(all, "order:* matches 2 keys") || !strings.Contains(all, "orders:client:* matches 1 keys") {
		t.Errorf("coverage: got\n%s", all)
	}

	set := func(key, value string) {
		t.Helper()
		if err := rdb.ConfigSet(ctx, key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, report, "cache", "maxmemory", check.Warn, "not set")
	set("maxmemory", "100mb")
	set("maxmemory-policy", "noeviction")
	expect(t, b.check(t), "cache", "eviction", check.Warn, "noeviction")
	set("maxmemory-policy", "allkeys-lru") // the remedy
	expect(t, b.check(t), "cache", "eviction", check.OK, "allkeys-lru")
	expect(t, b.check(t), "cache", "maxmemory", check.OK, "of 100.00M used")

	// A user that may do too little, and then what the remedy grants.
	url := b.cfg.CacheURL
	if err := rdb.Do(ctx, "ACL", "SETUSER", "app", "on", ">se/cret", "~*", "+@read", "+info", "+time").Err(); err != nil {
		t.Fatal(err)
	}
	b.cfg.CacheURL = strings.Replace(url, "redis://", "redis://app:se%2Fcret@", 1)
	refused := expect(t, b.check(t), "cache", "rights", check.Fail, "lacks")
	_, grant, _ := strings.Cut(refused.Remedy, "<user> ")
	grant, _, _ = strings.Cut(grant, ";")
	args := []any{"ACL", "SETUSER", "app"}
	for _, word := range strings.Fields(grant) {
		args = append(args, word)
	}
	if err := rdb.Do(ctx, args...).Err(); err != nil {
		t.Fatal(err)
	}
	if report = b.check(t); report.Failed() {
		t.Errorf("after the remedy:\n%s", text(t, report))
	}
	b.cfg.CacheURL = strings.Replace(url, "redis://", "redis://app:wrong@", 1)
	expect(t, b.check(t), "cache", "connection", check.Fail, "mend user and password")

	// A replica.
	master := servertest.Redis(t)
	b.cfg.CacheURL = url
	host, port, _ := strings.Cut(master.Addr(), ":")
	if err := rdb.ReplicaOf(ctx, host, port).Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, b.check(t), "cache", "master", check.Fail, "name the master")
	if err := rdb.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}

	b.cfg.CacheURL = "redis://" + servertest.FreeAddr(t) + "?password=se/cret"
	report = b.check(t)
	expect(t, report, "cache", "connection", check.Fail, "")
	b.cfg.CacheURL = "redis://:se/cret@" + servertest.FreeAddr(t) + "/%zz"
	if all := text(t, b.check(t)); strings.Contains(all, "se/cret") {
		t.Errorf("the password is in the report:\n%s", all)
	}
	// The service's own parameters are known.
	b.cfg.CacheURL = "rediss://" + servertest.FreeAddr(t) + "?ca_file=no/such.pem"
	if line := expect(t, b.check(t), "cache", "connection", check.Fail, ""); !strings.Contains(line.Text, "no/such.pem") {
		t.Errorf("got %q, want the file that is missing", line.Text)
	}
	b.cfg.CacheURL = "memory://"
	expect(t, b.check(t), "cache", "connection", check.Warn, "one process")
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	cluster := servertest.RedisCluster(t, 3)
	b.cfg.CacheURL = cluster.URL()
	report := b.check(t)
	if report.Failed() {
		t.Errorf("got\n%s", text(t, report))
	}
	masters := 0
	for _, l := range report.Lines {
		if l.Area == "cache" && l.Check == "connection" {
			masters++
		}
	}
	if masters != 3 {
		t.Errorf("got %d masters, want 3\n%s", masters, text(t, report))
	}
	expect(t, report, "cache", "cluster", check.OK, "all slots served by 3 masters")

	// One of its masters alone.
	b.cfg.CacheURL = cluster.Node(0).URL()
	expect(t, b.check(t), "cache", "cluster", check.Fail, "is one of 3 masters")

	// One is gone.
	b.cfg.CacheURL = cluster.URL()
	if err := cluster.Kill(2); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		report := b.check(t)
		for _, l := range report.Lines {
			if l.Check == "cluster" && l.Status == check.Fail && strings.Contains(l.Text, "in state fail") && strings.Contains(l.Remedy, "redis-cli --cluster check") {
				return true, ""
			}
		}
		return false, text(t, report)
	})
}

func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	b.cfg.CacheURL = servertest.Sentinel(t).URL()
	report := b.check(t)
	expect(t, report, "cache", "connection", check.OK, "")
	if report.Failed() {
		t.Errorf("got\n%s", text(t, report))
	}
}
