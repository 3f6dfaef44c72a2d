package invalidator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/invalidator"
)

func TestWaitsForARedisThatWasKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, servers.RedisOptions{AppendOnly: true, Args: []string{"--appendfsync", "always"}})
	events := w.events()
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.Batch = 20 })
	w.settle(v)
	keys := orders(0, 3000)
	w.fill(keys...)
	for i := range keys {
		if i == len(keys)/3 {
			if err := w.redis.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		w.publish("orders", order(i))
	}
	last := w.mark()
	v.is(invalidator.StateRedisDown)
	if got := events.await("redis_down", 1); len(got) != 1 {
		t.Errorf("redis_down was announced %d times, want once", len(got))
	}
	if err := w.redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.reaches(last)
	w.gone(keys...)
	v.is(invalidator.StateActive)
}

func TestGoesBackWithARedisThatWasRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	keys := orders(0, 500)
	w.fill(keys...)
	dump, err := w.redis.SaveDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		w.publish("orders", order(i))
	}
	v.reaches(w.mark())
	w.gone(keys...)
	if err := w.redis.RestoreDump(t.Context(), dump); err != nil {
		t.Fatal(err)
	}
	w.stays(keys...)
	// The next thing that is written finds it out.
	v.reaches(w.mark())
	w.gone(keys...)
	events.await("redis_rollback", 1)
}

// A restored dump is noticed without another message: nothing at all is
// published after it.
func TestGoesBackWhileNothingIsPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	keys := orders(0, 20)
	w.fill(keys...)
	dump, err := w.redis.SaveDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		w.publish("orders", order(i))
	}
	v.reaches(w.mark())
	w.gone(keys...)
	if err := w.redis.RestoreDump(t.Context(), dump); err != nil {
		t.Fatal(err)
	}
	w.gone(keys...)
}

func TestFlushesForARedisThatLostEverythingButTheKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	v.stop()
	w.fill("order:1", "orders:client:1", "dashboard:3", "user:5", "unrelated")
	if err := w.rdb.Del(t.Context(), "freshet:position:"+instance, "freshet:counter:"+instance).Err(); err != nil {
		t.Fatal(err)
	}
	events := w.events()
	v = w.start()
	v.reaches(w.mark())
	if left := w.present("order:1", "orders:client:1", "dashboard:3", "user:5"); len(left) > 0 {
		t.Errorf("left by the time there is a position: %q", left)
	}
	w.stays("unrelated")
	events.await("redis_rollback", 1)
	events.await("flushed", 1)
}

func TestRemovesAgainWhatAPromotedReplicaStillHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replica := servertest.Redis(t, servers.RedisOptions{ReplicaOf: w.redis})
	rc := client(t, replica)
	proxy := servertest.NewProxy(t, w.redis.Addr())
	w.url = "redis://" + proxy.Addr()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	keys := orders(0, 500)
	w.fill(keys...)
	servertest.Eventually(t, waiting, func() (bool, string) {
		n, err := rc.Exists(t.Context(), keys...).Result()
		return err == nil && n == int64(len(keys)), fmt.Sprintf("%d keys at the replica, %v", n, err)
	})

	// The replica hears nothing of the deletes, and becomes the master.
	if err := rc.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		w.publish("orders", order(i))
	}
	v.reaches(w.mark())
	w.gone(keys...)
	proxy.Lead(replica.Addr())
	w.rdb = rc
	w.stays(keys...)
	v.reaches(w.mark())
	w.gone(keys...)
}

func TestRemovesPatternsAgainWhenAReplicaIsPromotedBehindThePass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replica := servertest.Redis(t, servers.RedisOptions{ReplicaOf: w.redis})
	rc := client(t, replica)
	proxy := servertest.NewProxy(t, w.redis.Addr())
	w.url = "redis://" + proxy.Addr()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("dashboard:1")
	servertest.Eventually(t, waiting, func() (bool, string) {
		n, err := rc.Exists(t.Context(), "dashboard:1").Result()
		return err == nil && n == 1, fmt.Sprintf("%d, %v", n, err)
	})
	if err := rc.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	w.gone("dashboard:1")
	proxy.Lead(replica.Addr())
	w.rdb = rc
	w.stays("dashboard:1")
	v.reaches(w.mark())
	w.gone("dashboard:1")
}

func TestDeletesFromARedisThatIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, servers.RedisOptions{Args: []string{"--maxmemory-policy", "noeviction"}})
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill(orders(0, 100)...)
	before := w.position()
	limit(t, w.rdb, "1mb") // less than the server takes by itself
	for i := range 50 {
		w.publish("orders", order(i))
	}
	w.mark()
	w.gone(orders(0, 50)...)
	v.is(invalidator.StateRedisFull)
	events.await("redis_full", 1)
	for i := range 50 {
		w.publish("orders", order(50+i))
	}
	last := w.mark()
	w.gone(orders(50, 100)...)
	if got := w.position(); got.Seq != before.Seq {
		t.Errorf("position moved to %d while Redis was full, want %d", got.Seq, before.Seq)
	}
	limit(t, w.rdb, "0")
	v.reaches(last)
	v.is(invalidator.StateActive)
	if n := len(events.of("redis_full")); n != 1 {
		t.Errorf("redis_full was announced %d times, want once", n)
	}
}

func limit(t *testing.T, rdb redis.UniversalClient, maxmemory string) {
	t.Helper()
	if err := rdb.ConfigSet(t.Context(), "maxmemory", maxmemory).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestAppliesToACluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := servertest.RedisCluster(t, 3)
	cc := c.Client()
	t.Cleanup(func() { cc.Close() })
	w.rdb, w.url = cc, c.URL()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	keys := orders(0, 300)
	w.fill(append(keys, "dashboard:1", "dashboard:2", "dashboard:3")...)
	for i := range keys {
		w.publish("orders", order(i))
	}
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	w.gone(append(keys, "dashboard:1", "dashboard:2", "dashboard:3")...)
	var positions int
	for _, node := range c.Nodes() {
		names, err := client(t, node).Keys(t.Context(), "freshet:position:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		positions += len(names)
		for _, name := range names {
			if !strings.HasPrefix(name, "freshet:position:"+instance+":{") {
				t.Errorf("position under %q", name)
			}
		}
	}
	if positions != 3 {
		t.Errorf("positions on %d masters, want 3", positions)
	}
}
