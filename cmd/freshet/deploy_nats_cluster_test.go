//go:build deploy

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// clusteredShop is a shop on three NATS servers with deploy/nats/cluster.conf.
type clusteredShop struct {
	*shop
	cluster *servers.NATSCluster
	config  string
	roles   []*process
}

func newClusteredShop(t *testing.T) *clusteredShop {
	t.Helper()
	node := natsOptions(t, deployed+"nats/cluster.conf")
	c := &clusteredShop{cluster: servertest.NATSCluster(t, servers.NATSClusterOptions{Node: node})}
	c.shop = newShopOn(t, "", "{url: \"${NATS_URL}\", user: \"${NATS_USER}\", password: \"${NATS_PASSWORD}\", stream: {replicas: 3}}")
	text := readFile(t, c.shop.config)
	with := strings.Replace(text, `"orders:list:*"]`, `"orders:list:*", "seen:{id}"]`, 1)
	if with == text {
		t.Fatal("the shop's rule is another")
	}
	c.config = writeConfig(t, with)
	conn, err := nats.Connect(c.cluster.URL(), nats.UserInfo("freshet", secret("freshet")), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if c.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *clusteredShop) run(user string) *process {
	c.t.Helper()
	p := startService(c.t, command(context.Background(), natsEnvironment(c.cluster.URL(), user), "run", "-c", c.config, "--roles", user))
	c.roles = append(c.roles, p)
	return p
}

// whole waits until every stream of the instance is on all three servers and up to
// date, and returns the number of the change stream's leader.
func (c *clusteredShop) whole() (leader int) {
	c.t.Helper()
	for _, name := range []string{"freshet-shop", "freshet-shop-events", "freshet-shop-dead"} {
		servertest.Eventually(c.t, patience, func() (bool, string) {
			ctx, cancel := context.WithTimeout(c.t.Context(), patience)
			defer cancel()
			stream, err := c.js.Stream(ctx, name)
			if err != nil {
				return false, err.Error()
			}
			info := stream.CachedInfo()
			current := 0
			for _, replica := range info.Cluster.Replicas {
				if replica.Current && !replica.Offline {
					current++
				}
			}
			if name == "freshet-shop" {
				_, err := fmt.Sscanf(info.Cluster.Leader, "nats-%d", &leader)
				if err != nil {
					return false, "no leader"
				}
			}
			return current == 2 && info.Config.Replicas == 3, fmt.Sprintf("%s: %d replicas are up to date: %+v", name, current, info.Cluster)
		})
	}
	return leader - 1
}

// confirmed waits until the slot has let go of what is committed now: a gap that was
// declared before, as for a new slot, is not flushed again from then on.
func (c *clusteredShop) confirmed(consumer *process) {
	c.t.Helper()
	var text string
	if err := c.db.QueryRow(c.t.Context(), `select pg_current_wal_flush_lsn()::text`).Scan(&text); err != nil {
		c.t.Fatal(err)
	}
	end, err := cdc.ParseLSN(text)
	if err != nil {
		c.t.Fatal(err)
	}
	servertest.Eventually(c.t, patience, func() (bool, string) {
		s, err := consumer.status()
		return err == nil && s.Consumer.Confirmed >= end, fmt.Sprintf("confirmed %s, want %s, %v", s.Consumer.Confirmed, end, err)
	})
}

// seenByNobody is a key of the rule that no row has.
const seenByNobody = "seen:0"

// mark holds the writers, and puts a key of its own beside every row, and one more.
func (c *clusteredShop) mark(invalidator *process) (versions map[int]int64) {
	c.t.Helper()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.settle(invalidator)
	versions = c.versions()
	keys := make([]string, 0, len(versions))
	for id := range versions {
		keys = append(keys, fmt.Sprintf("seen:%d", id))
	}
	c.plant(append(keys, seenByNobody)...)
	return versions
}

func (c *clusteredShop) versions() map[int]int64 {
	c.t.Helper()
	rows, err := c.db.Query(c.t.Context(), `select id, version from orders`)
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	versions := make(map[int]int64, shopRows)
	for rows.Next() {
		var id int
		var version int64
		if err := rows.Scan(&id, &version); err != nil {
			c.t.Fatal(err)
		}
		versions[id] = version
	}
	if rows.Err() != nil || len(versions) != shopRows {
		c.t.Fatalf("got %d rows, %v", len(versions), rows.Err())
	}
	return versions
}

// removed expects that the keys beside the rows that have changed since are gone, and
// the key without a row is not: nothing was lost, and nothing had to be flushed to make
// up for it.
func (c *clusteredShop) removed(invalidator *process, before map[int]int64) {
	c.t.Helper()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.settle(invalidator)
	rdb := c.redis.Client()
	defer rdb.Close()
	there := map[string]bool{}
	for keys := rdb.Scan(c.t.Context(), 0, "seen:*", 1000).Iterator(); keys.Next(c.t.Context()); {
		there[keys.Val()] = true
	}
	if !there[seenByNobody] {
		c.t.Errorf("%s is gone, which only a flush removes", seenByNobody)
	}
	changed := 0
	for id, version := range c.versions() {
		if version == before[id] {
			continue // what was sent again may have removed its key, and nobody has put it back
		}
		changed++
		if key := fmt.Sprintf("seen:%d", id); there[key] {
			c.t.Errorf("%s is still there, and its row has changed", key)
		}
	}
	if changed == 0 {
		c.t.Error("no row has changed: the test shows nothing")
	}
	for _, p := range c.roles {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, line := range p.log {
			if strings.Contains(line, `"event":"stream_loss"`) || strings.Contains(line, `"event":"gap"`) && !strings.Contains(line, "slot_created") {
				c.t.Errorf("a cluster that lost one of three servers has lost nothing, and yet: %s", line)
			}
		}
	}
}

// One of three NATS servers is killed under writes and started again: the change
// stream's leader, the next leader, and one that only follows. The others go on, and
// nothing is lost or stale.
func TestDeployedNATSCluster(t *testing.T) {
	t.Parallel()
	c := newClusteredShop(t)
	consumer := c.run("consumer")
	invalidator := c.run("invalidator")
	c.settle(invalidator)
	c.traffic()
	c.awaitCommits(50)
	for _, which := range []string{"leader", "next leader", "follower"} {
		victim := c.whole()
		if which == "follower" {
			victim = (victim + 1) % 3
		}
		c.confirmed(consumer)
		before := c.mark(invalidator)
		t.Logf("kill -9 %s, the %s", c.cluster.Name(victim), which)
		if err := c.cluster.Kill(victim); err != nil {
			t.Fatal(err)
		}
		c.awaitCommits(100)
		c.audit(invalidator) // with two servers
		if err := c.cluster.Start(t.Context(), victim); err != nil {
			t.Fatal(err)
		}
		c.awaitCommits(100)
		c.whole()
		c.audit(invalidator)
		c.removed(invalidator, before)
	}
}
