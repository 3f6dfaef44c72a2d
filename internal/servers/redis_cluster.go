package servers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// slots is the number of slots of every Redis Cluster.
const slots = 16384

// RedisClusterOptions says how to start a Redis Cluster.
type RedisClusterOptions struct {
	// Masters is the number of masters, among which the slots are divided
	// evenly. Defaults to 3.
	Masters int
	// Replicas is the number of replicas of each master. Defaults to 0.
	Replicas int
	// Node is how each node is started; its ReplicaOf is ignored.
	Node RedisOptions
}

// RedisCluster is a running Redis Cluster. Its first nodes are the masters in
// the order of their slots, the others the replicas: those of the first
// master, then those of the second, and so on.
type RedisCluster struct {
	nodes   []*Redis
	masters int
}

// StartRedisCluster starts a Redis Cluster and returns once every node knows
// all the others and serves. ctx bounds the start only; Close ends all nodes.
func StartRedisCluster(ctx context.Context, opts RedisClusterOptions) (*RedisCluster, error) {
	if opts.Masters == 0 {
		opts.Masters = 3
	}
	opts.Node.cluster, opts.Node.ReplicaOf = true, nil
	c := &RedisCluster{masters: opts.Masters, nodes: make([]*Redis, opts.Masters*(1+opts.Replicas))}
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i := range c.nodes {
		wg.Go(func() { c.nodes[i], errs[i] = StartRedis(ctx, opts.Node) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		err = c.join(ctx, opts.Replicas)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start redis cluster: %w", err), c.Close())
	}
	return c, nil
}

// join makes a cluster of the nodes.
func (c *RedisCluster) join(ctx context.Context, replicas int) error {
	clients := make([]*redis.Client, len(c.nodes))
	for i, node := range c.nodes {
		clients[i] = node.Client()
		defer clients[i].Close()
	}
	for i, client := range clients {
		// Nodes that all begin at epoch 0 would settle who is who by collision.
		if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		if i < c.masters {
			first, last := i*slots/c.masters, (i+1)*slots/c.masters-1
			if err := client.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
				return err
			}
		}
		if i > 0 {
			if err := client.ClusterMeet(ctx, "127.0.0.1", strconv.Itoa(c.nodes[0].Port())).Err(); err != nil {
				return err
			}
		}
	}
	if err := c.await(ctx, clients, func(info string) bool {
		return strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(clients))+"\r")
	}); err != nil {
		return err
	}
	for i := c.masters; i < len(clients); i++ {
		id, err := clients[(i-c.masters)/replicas].Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			return err
		}
		if err := clients[i].ClusterReplicate(ctx, id).Err(); err != nil {
			return err
		}
	}
	if err := c.await(ctx, clients, func(info string) bool {
		return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:"+strconv.Itoa(c.masters)+"\r")
	}); err != nil {
		return err
	}
	// A client that asks any node must hear of every replica as such.
	for i, client := range clients {
		if err := c.nodes[i].proc.await(ctx, func(ctx context.Context) error {
			nodes, err := client.ClusterNodes(ctx).Result()
			if err != nil {
				return err
			}
			if got, want := strings.Count(nodes, "slave "), len(clients)-c.masters; got != want {
				return fmt.Errorf("node %d knows %d of %d replicas", i, got, want)
			}
			if info := client.Info(ctx, "replication").Val(); i >= c.masters && !strings.Contains(info, "master_link_status:up") {
				return fmt.Errorf("replica %d has not synchronised yet", i)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *RedisCluster) await(ctx context.Context, clients []*redis.Client, ready func(info string) bool) error {
	for i, client := range clients {
		if err := c.nodes[i].proc.await(ctx, func(ctx context.Context) error {
			info, err := client.ClusterInfo(ctx).Result()
			if err == nil && !ready(info) {
				err = fmt.Errorf("node %d says %q", i, info)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// AwaitOK returns once every running node reports that the cluster serves,
// for example after a killed node was started again or a replica took over.
func (c *RedisCluster) AwaitOK(ctx context.Context) error {
	for i, node := range c.nodes {
		if !node.proc.running() {
			continue
		}
		client := node.Client()
		err := node.proc.await(ctx, func(ctx context.Context) error {
			info, err := client.ClusterInfo(ctx).Result()
			if err == nil && !strings.Contains(info, "cluster_state:ok") {
				err = fmt.Errorf("node %d says %q", i, info)
			}
			return err
		})
		client.Close()
		if err != nil {
			return fmt.Errorf("await redis cluster: %w", err)
		}
	}
	return nil
}

// URL is the cluster's URL as go-redis parses it for a cluster client.
func (c *RedisCluster) URL() string {
	others := url.Values{"addr": c.Addrs()[1:]}
	return strings.TrimSuffix(c.nodes[0].URL()+"?"+others.Encode(), "?")
}

// Addrs are the addresses of all nodes.
func (c *RedisCluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		addrs[i] = node.Addr()
	}
	return addrs
}

// Nodes are the servers, to be killed, paused and started one by one.
func (c *RedisCluster) Nodes() []*Redis { return c.nodes }

// Node is the server with the given number.
func (c *RedisCluster) Node(i int) *Redis { return c.nodes[i] }

// Client returns a new client for the cluster, for the caller to close.
func (c *RedisCluster) Client() *redis.ClusterClient {
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Username: c.nodes[0].opts.User, Password: c.nodes[0].opts.Password})
}

// Kill ends a node as a crash would.
func (c *RedisCluster) Kill(i int) error { return c.nodes[i].Kill() }

// Start starts a node again.
func (c *RedisCluster) Start(ctx context.Context, i int) error { return c.nodes[i].Start(ctx) }

// Log returns the ends of the nodes' logs.
func (c *RedisCluster) Log() string { return joinLogs(c.nodes) }

func joinLogs(nodes []*Redis) string {
	var logs strings.Builder
	for _, node := range nodes {
		fmt.Fprintf(&logs, "--- %s\n%s\n", node.Addr(), node.Log())
	}
	return logs.String()
}

// Close ends all nodes and removes everything of them. It may be called again.
func (c *RedisCluster) Close() error {
	var err error
	for _, node := range c.nodes {
		if node != nil {
			err = errors.Join(err, node.Close())
		}
	}
	return err
}
