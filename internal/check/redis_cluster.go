package check

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// hashSlots is how many slots the keys of a Redis Cluster are divided into.
const hashSlots = 16384

// clusterInfo asks a server of a Cluster for the Cluster's state; nil from a
// server that is in none.
func clusterInfo(ctx context.Context, master *redis.Client, info map[string]string) (map[string]string, error) {
	if info["cluster_enabled"] != "1" {
		return nil, nil //nolint:nilnil // absence is an ordinary answer here
	}
	text, err := master.ClusterInfo(ctx).Result()
	if err != nil {
		return nil, err
	}
	return fields(text), nil
}

// cluster judges the state of the Cluster as one of its masters sees it, and
// reports whether that one answers commands.
func (c *redisCheck) cluster(address string, state map[string]string, asCluster bool) bool {
	number := func(key string) int {
		n, _ := strconv.Atoi(state[key]) // what is missing is zero
		return n
	}
	switch assigned, suspect := number("cluster_slots_assigned"), number("cluster_slots_pfail")+number("cluster_slots_fail"); {
	case state == nil && !asCluster:
		return true
	case state == nil:
		c.fail("cluster", address+" is not part of a Cluster", "name the master alone in cache.url, without addr=")
	case !asCluster && number("cluster_size") > 1:
		c.fail("cluster", fmt.Sprintf("%s is one of %d masters of a Cluster, and the keys of the others would stay", address, number("cluster_size")),
			"name more of its nodes with addr= in cache.url")
	case state["cluster_state"] != "ok":
		c.fail("cluster", fmt.Sprintf("%s sees the Cluster in state %s, with %d of %d slots served", address, state["cluster_state"], assigned-suspect, hashSlots),
			"redis-cli --cluster check "+address)
		return false
	case assigned < hashSlots || number("cluster_slots_fail") > 0:
		c.fail("cluster", fmt.Sprintf("%s sees %d of %d slots served: keys in the others cannot be removed", address, assigned-number("cluster_slots_fail"), hashSlots),
			"redis-cli --cluster check "+address)
	case suspect > 0:
		c.warn("cluster", fmt.Sprintf("%s does not reach the masters of %d slots", address, suspect), "redis-cli --cluster check "+address)
	default:
		c.ok("cluster", "%s sees all slots served by %d masters", address, number("cluster_size"))
	}
	return true
}
