package uninstall

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
)

// bookkeeping are the beginnings of the keys that an instance keeps, before its
// name. They have no expiry. Leases, tags and the warmers' limit have one.
var bookkeeping = []string{"freshet:position:", "freshet:ahead:", "freshet:counter:"}

// openRedis looks for the bookkeeping keys.
func openRedis(ctx context.Context, cfg Config, r *Report) (done func()) {
	if cfg.CacheURL == "" || strings.HasPrefix(cfg.CacheURL, "memory:") {
		return nothing
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	rdb, err := cache.Dial(cfg.CacheURL, patience)
	if err != nil {
		r.unreachable("redis", err)
		return nothing
	}
	done = func() { _ = rdb.Close() } // nothing is buffered
	keys, err := keysOf(within, rdb, cfg.Name)
	if err != nil {
		r.unreachable("redis", err)
		return done
	}
	for _, key := range keys {
		r.add(&Item{Where: "redis", Kind: "key", Name: key, State: Found, remove: func(ctx context.Context) error {
			return rdb.Del(ctx, key).Err()
		}})
	}
	return done
}

// keysOf finds the keys there are. On a Cluster each master has its own, which end
// with a hash tag of a slot of its own: only a scan finds those that an earlier
// distribution of the slots has left.
func keysOf(ctx context.Context, rdb redis.UniversalClient, name string) ([]string, error) {
	var found []string
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		for _, prefix := range bookkeeping {
			n, err := rdb.Exists(ctx, prefix+name).Result()
			if err != nil {
				return nil, err
			}
			if n > 0 {
				found = append(found, prefix+name)
			}
		}
		return found, nil
	}
	var mu sync.Mutex // guards found
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		scan := master.Scan(ctx, 0, "freshet:*:"+name+":{*}", 1000).Iterator()
		for scan.Next(ctx) {
			for _, prefix := range bookkeeping {
				if strings.HasPrefix(scan.Val(), prefix+name+":{") {
					mu.Lock()
					found = append(found, scan.Val())
					mu.Unlock()
				}
			}
		}
		return scan.Err()
	})
	return found, err
}
