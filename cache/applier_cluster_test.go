package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// resharding moves slots of a Cluster step by step.
type resharding struct {
	t     *testing.T
	nodes []*servers.Redis
	rdb   []*redis.Client
	ids   []string
}

func newResharding(t *testing.T, cluster *servers.RedisCluster) *resharding {
	t.Helper()
	r := &resharding{t: t, nodes: cluster.Nodes()}
	for _, node := range r.nodes {
		rdb := node.Client()
		t.Cleanup(func() { _ = rdb.Close() })
		id, err := rdb.Do(t.Context(), "CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatal(err)
		}
		r.rdb, r.ids = append(r.rdb, rdb), append(r.ids, id)
	}
	return r
}

func (r *resharding) do(node int, args ...any) {
	r.t.Helper()
	if err := r.rdb[node].Do(r.t.Context(), args...).Err(); err != nil {
		r.t.Fatalf("%v at node %d: %v", args, node, err)
	}
}

func (r *resharding) begin(slot uint16, from, to int) {
	r.t.Helper()
	r.do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", r.ids[from])
	r.do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", r.ids[to])
}

func (r *resharding) migrate(from, to int, keys ...string) {
	r.t.Helper()
	args := []any{"MIGRATE", "127.0.0.1", strconv.Itoa(r.nodes[to].Port()), "", 0, 5000, "KEYS"}
	for _, key := range keys {
		args = append(args, key)
	}
	r.do(from, args...)
}

// rest moves all keys that the slot still has.
func (r *resharding) rest(slot uint16, from, to int) {
	r.t.Helper()
	keys, err := r.rdb[from].ClusterGetKeysInSlot(r.t.Context(), int(slot), 1000).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	if len(keys) > 0 {
		r.migrate(from, to, keys...)
	}
}

func (r *resharding) finish(slot uint16, to int) {
	r.t.Helper()
	r.do(to, "CLUSTER", "SETSLOT", slot, "NODE", r.ids[to])
	for i := range r.rdb {
		if i != to {
			r.do(i, "CLUSTER", "SETSLOT", slot, "NODE", r.ids[to])
		}
	}
}

// raw asks one node for a key of a slot that is on its way.
func (r *resharding) exists(node int, key string) bool {
	r.t.Helper()
	pipe := r.rdb[node].Pipeline()
	pipe.Do(r.t.Context(), "ASKING")
	n := pipe.Exists(r.t.Context(), key)
	_, _ = pipe.Exec(r.t.Context()) // a redirect means that it is not there
	return n.Val() > 0
}

func openCluster(t *testing.T, masters int) (*servers.RedisCluster, *backend) {
	t.Helper()
	cluster := servertest.RedisCluster(t, masters)
	b := open(t, cluster.URL(), cluster.Client(), cache.Config{})
	return cluster, b
}

// TestApplyWhileASlotMoves: values and leases of one slot on either side, in
// every combination.
func TestApplyWhileASlotMoves(t *testing.T) {
	t.Parallel()
	cluster, b := openCluster(t, 3)
	r := newResharding(t, cluster)
	mustTakeOver(t, b.applier, position("a", 1))
	// A slot in the middle of the first node's, so that no bookkeeping moves.
	tag := cache.SlotTag(1000)
	var keys, all []string
	for i := range 4 {
		key := fmt.Sprintf("{%s}:%d", tag, i)
		keys, all = append(keys, key), append(all, key, cache.LeaseKey(key))
	}
	fresh := func() {
		for _, name := range all {
			if err := r.rdb[0].Set(t.Context(), name, "x", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(when string) {
		t.Helper()
		for _, name := range all {
			for node := range 2 {
				if r.exists(node, name) {
					t.Errorf("%s: %q is still at node %d", when, name, node)
				}
			}
		}
	}
	fresh()
	r.begin(1000, 0, 1)
	// Of key 0 nothing has moved, of 1 the value, of 2 the lease, of 3 both.
	r.migrate(0, 1, keys[1], cache.LeaseKey(keys[2]), keys[3], cache.LeaseKey(keys[3]))
	applied := mustApply(t, b.applier, cache.Batch{Keys: append(keys, "elsewhere"), WantExisted: true})
	if applied.Removed != 4 || len(applied.Existed) != 4 {
		t.Errorf("got %d removed and %v existed, want 4", applied.Removed, applied.Existed)
	}
	gone("half moved")
	mustMove(t, b.applier, position("a", 2))
	r.rest(1000, 0, 1)
	r.finish(1000, 1)
	for _, name := range all {
		if err := r.rdb[1].Set(t.Context(), name, "x", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	}
	mustApply(t, b.applier, cache.Batch{Keys: keys})
	gone("moved")
	mustMove(t, b.applier, position("a", 3))
}

// TestLowestSlotMoves: the names of the bookkeeping keys depend on it.
func TestLowestSlotMoves(t *testing.T) {
	t.Parallel()
	cluster, b := openCluster(t, 3)
	r := newResharding(t, cluster)
	mustTakeOver(t, b.applier, position("a", 1))
	mustMove(t, b.applier, position("a", 2))
	r.begin(0, 0, 1)
	r.rest(0, 0, 1)
	r.finish(0, 1)
	mustApply(t, b.applier, cache.Batch{Keys: manyKeys(100), Ahead: 7, Epoch: "e"})
	mustMove(t, b.applier, position("a", 3))
	for node, slot := range []uint16{1, 0, 10922} {
		key := "freshet:position:test:{" + cache.SlotTag(slot) + "}"
		if n, err := r.rdb[node].Exists(t.Context(), key).Result(); n != 1 || err != nil {
			t.Errorf("node %d has no %s: %v", node, key, err)
		}
	}
	loaded, err := b.another(t, cache.ApplierConfig{Name: "test"}).Load(t.Context())
	if err != nil || loaded.Verdict != cache.VerdictContinue || loaded.Position.Seq != 3 {
		t.Errorf("got %v from %d (%s), %v, want to continue from 3", loaded.Verdict, loaded.Position.Seq, loaded.Detail, err)
	}
}

// TestNewMasterIsNotTrusted: a node that gets its first slots has values that
// no counter of ours stands behind.
func TestNewMasterIsNotTrusted(t *testing.T) {
	t.Parallel()
	cluster, b := openCluster(t, 3)
	r := newResharding(t, cluster)
	// Free the third node of its slots, so that it can be new.
	servertest.Eventually(t, 20*time.Second, func() (bool, string) {
		// Gossip that is under way may bring the former owner back.
		for i := range 3 {
			_ = r.rdb[2-i].Do(t.Context(), "CLUSTER", "DELSLOTSRANGE", 10922, 16383).Err()
		}
		err := r.rdb[1].ClusterAddSlotsRange(t.Context(), 10922, 16383).Err()
		return err == nil, errorText(err)
	})
	r.do(1, "CLUSTER", "BUMPEPOCH")
	if err := cluster.AwaitOK(t.Context()); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, 20*time.Second, func() (bool, string) {
		loaded, err := b.applier.Load(t.Context())
		return err == nil && loaded.Masters == 2, fmt.Sprintf("%d masters, %v", loaded.Masters, err)
	})
	mustTakeOver(t, b.applier, position("a", 1))
	key := fmt.Sprintf("{%s}", cache.SlotTag(1000))
	mustSet(t, b.cache, key+":value")
	r.begin(1000, 0, 2)
	r.rest(1000, 0, 2)
	r.finish(1000, 2)
	_, err := b.applier.Apply(t.Context(), cache.Batch{Keys: []string{key + ":other"}})
	if !errors.Is(err, cache.ErrRolledBack) {
		t.Fatalf("got %v, want ErrRolledBack", err)
	}
	loaded := recovers(t, b.applier, "a")
	if loaded.Verdict != cache.VerdictLost || loaded.Masters != 3 || loaded.Position.Seq != 1 {
		t.Errorf("got %v, %d masters, from %d; want lost, 3, 1", loaded.Verdict, loaded.Masters, loaded.Position.Seq)
	}
	mustMove(t, b.applier, position("a", 2))
}

// TestSweepWhileSlotsMove: keys change masters during the passes.
func TestSweepWhileSlotsMove(t *testing.T) {
	t.Parallel()
	cluster, b := openCluster(t, 3)
	r := newResharding(t, cluster)
	mustTakeOver(t, b.applier, position("a", 1))
	const slot = 1000
	tag := cache.SlotTag(slot)
	for _, at := range []string{"before", "between", "amid"} {
		values := map[string]int{}
		for i := range 200 {
			values[fmt.Sprintf("k:{%s}:%d", tag, i)] = i
			if at != "amid" { // else the importer is done at once
				values[fmt.Sprintf("k:%d", i)] = i
			}
		}
		if err := cache.SetMany(t.Context(), b.cache, values, time.Minute); err != nil {
			t.Fatal(err)
		}
		from, to := 0, 2
		if at == "between" {
			from, to = 2, 0
		}
		half := func() {
			r.begin(slot, from, to)
			keys, err := r.rdb[from].ClusterGetKeysInSlot(t.Context(), slot, 100).Result()
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) > 0 {
				r.migrate(from, to, keys...)
			}
		}
		variant := cache.SweepVariant{Count: 10}
		switch at {
		case "before":
			half()
		case "between":
			variant.BetweenPasses = half
		}
		a := b.another(t, variant.Vary(cache.ApplierConfig{Name: "other"}))
		moved := false
		swept, err := a.Flush(t.Context(), []string{"k:*"}, 0, func(_, removed int64) {
			if removed > 50 && !moved {
				moved = true
				if at == "amid" {
					half()
				}
				r.rest(slot, from, to)
				r.finish(slot, to)
			}
		})
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if !moved {
			t.Errorf("%s: the slot did not move during the sweep", at)
		}
		for node := range r.rdb {
			left, err := r.rdb[node].Keys(t.Context(), "k:*").Result()
			if err != nil || len(left) > 0 {
				t.Errorf("%s: node %d still has %d keys after %+v: %v", at, node, len(left), swept, err)
			}
		}
		mustApply(t, b.applier, cache.Batch{Keys: manyKeys(50)})
	}
}

func manyKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key:%d", i)
	}
	return keys
}

// TestClusterFailover: a replica becomes master, with everything.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster, err := servers.StartRedisCluster(t.Context(), servers.RedisClusterOptions{Masters: 3, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.Close() })
	b := open(t, cluster.URL(), cluster.Client(), cache.Config{})
	mustTakeOver(t, b.applier, position("a", 1))
	mustApply(t, b.applier, cache.Batch{Keys: manyKeys(100)})
	mustMove(t, b.applier, position("a", 2))
	replica := cluster.Node(3).Client()
	defer replica.Close()
	if err := replica.Do(t.Context(), "CLUSTER", "FAILOVER").Err(); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, 30*time.Second, func() (bool, string) {
		info := replica.Info(t.Context(), "replication").Val()
		return len(info) > 0 && info[:len("# Replication\r\nrole:master")] == "# Replication\r\nrole:master", info
	})
	// Another server, so what it holds has to be looked at.
	err = again(t, func() error {
		_, err := b.applier.Apply(t.Context(), cache.Batch{Keys: manyKeys(100)})
		return err
	})
	if !errors.Is(err, cache.ErrRolledBack) {
		t.Fatalf("got %v, want ErrRolledBack", err)
	}
	loaded := recovers(t, b.applier, "a")
	if loaded.Verdict != cache.VerdictContinue || loaded.Position.Seq != 2 || loaded.Masters != 3 {
		t.Errorf("got %v, %d masters, from %d (%s); want to continue from 2", loaded.Verdict, loaded.Masters, loaded.Position.Seq, loaded.Detail)
	}
	mustApply(t, b.applier, cache.Batch{Keys: manyKeys(100)})
	mustMove(t, b.applier, position("a", 3))
}

// TestSentinelFailover: the applier follows the master by itself, and notices
// if that forgot anything.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	sentinel := servertest.Sentinel(t)
	b := open(t, sentinel.URL(), sentinel.Client(), cache.Config{})
	mustTakeOver(t, b.applier, position("a", 1))
	mustSet(t, b.cache, "k")
	old, err := sentinel.Master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := sentinel.AwaitMaster(ctx, old); err != nil {
		t.Fatal(err)
	}
	err = again(t, func() error {
		_, err := b.applier.Apply(t.Context(), cache.Batch{Keys: []string{"k"}})
		return err
	})
	if errors.Is(err, cache.ErrRolledBack) {
		recovers(t, b.applier, "a") // the replica lacked what was written last
	} else if err != nil {
		t.Fatal(err)
	}
	mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}})
	mustMove(t, b.applier, position("a", 2))
	servertest.Eventually(t, 20*time.Second, func() (bool, string) {
		_, err := cache.Get[string](t.Context(), b.cache, "k")
		return errors.Is(err, cache.ErrMiss), errorText(err)
	})
}
