package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// nodes finds the masters of a Redis deployment and keeps a client for each.
type nodes struct {
	single  *redis.Client        // a single server, or what Sentinel says is the master
	cluster *redis.ClusterClient // not nil for a Cluster

	mu      sync.Mutex
	clients map[string]*redis.Client // of a Cluster's nodes by address; guarded by mu
}

// topology is which masters there are at one moment.
type topology struct {
	masters []*master // by their lowest slot
	bySlot  []uint16  // index into masters plus one, 0 where no master serves; nil without Cluster
}

// master is one master and the slots it serves.
type master struct {
	addr    string
	client  *redis.Client
	tag     string // of its lowest slot; empty without Cluster
	lowest  uint16
	noSlots bool  // a master of a Cluster that serves no slot yet
	book    *book // what this applier left there; nil before TakeOver
}

func newNodes(rdb redis.UniversalClient) (*nodes, error) {
	switch client := rdb.(type) {
	case *redis.Client:
		return &nodes{single: client}, nil
	case *redis.ClusterClient:
		return &nodes{cluster: client, clients: map[string]*redis.Client{}}, nil
	default:
		return nil, fmt.Errorf("cache: a %T has no masters that can be addressed; use a Client, a failover Client or a ClusterClient", rdb)
	}
}

// discover asks which masters there are now.
func (n *nodes) discover(ctx context.Context) (*topology, error) {
	if n.single != nil {
		return &topology{masters: []*master{{addr: n.single.Options().Addr, client: n.single}}}, nil
	}
	slots, err := n.slots(ctx)
	if err != nil {
		return nil, fmt.Errorf("discover cluster: %w", err)
	}
	t := &topology{bySlot: make([]uint16, slotCount)}
	byAddr := map[string]*master{}
	slices.SortFunc(slots, func(a, b redis.ClusterSlot) int { return cmp.Compare(a.Start, b.Start) })
	for _, r := range slots {
		if len(r.Nodes) == 0 || r.Start < 0 || r.End >= slotCount {
			return nil, fmt.Errorf("discover cluster: slots %d to %d make no sense", r.Start, r.End)
		}
		addr := r.Nodes[0].Addr
		m := byAddr[addr]
		if m == nil {
			lowest := uint16(r.Start)
			m = &master{addr: addr, client: n.client(addr), tag: slotTag(lowest), lowest: lowest}
			byAddr[addr] = m
			t.masters = append(t.masters, m)
		}
		index := uint16(slices.Index(t.masters, m) + 1)
		for slot := r.Start; slot <= r.End; slot++ {
			t.bySlot[slot] = index
		}
	}
	if len(t.masters) == 0 {
		return nil, errors.New("discover cluster: no node serves any slot")
	}
	n.prune(slots)
	return t, nil
}

// slots asks the nodes known so far, then those the client was configured with.
func (n *nodes) slots(ctx context.Context) ([]redis.ClusterSlot, error) {
	opts := n.cluster.Options()
	if opts.ClusterSlots != nil {
		return opts.ClusterSlots(ctx)
	}
	n.mu.Lock()
	addrs := make([]string, 0, len(n.clients)+len(opts.Addrs))
	for addr := range n.clients {
		addrs = append(addrs, addr)
	}
	n.mu.Unlock()
	addrs = append(addrs, opts.Addrs...)
	var errs []error
	for _, addr := range addrs {
		slots, err := n.client(addr).ClusterSlots(ctx).Result() //nolint:staticcheck // Redis 6.2 has no CLUSTER SHARDS
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", addr, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		for i := range slots {
			for j := range slots[i].Nodes {
				node := &slots[i].Nodes[j]
				// A node that does not know its own name means the one it was asked at.
				if h, port, err := net.SplitHostPort(node.Addr); err == nil && h == "" {
					node.Addr = net.JoinHostPort(host, port)
				}
			}
		}
		return slots, nil
	}
	return nil, errors.Join(errs...)
}

// client returns the client of one node of a Cluster.
func (n *nodes) client(addr string) *redis.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	client := n.clients[addr]
	if client == nil {
		client = newNodeClient(n.cluster.Options(), addr)
		n.clients[addr] = client
	}
	return client
}

// newNodeClient returns a client for one node that neither follows redirects
// nor repeats commands: whoever uses it does so by the order it needs.
func newNodeClient(o *redis.ClusterOptions, addr string) *redis.Client {
	opts := &redis.Options{
		Addr: addr, ClientName: o.ClientName, Dialer: o.Dialer, OnConnect: o.OnConnect,
		Protocol: o.Protocol, Username: o.Username, Password: o.Password,
		CredentialsProvider: o.CredentialsProvider, CredentialsProviderContext: o.CredentialsProviderContext,
		StreamingCredentialsProvider: o.StreamingCredentialsProvider,
		MaxRetries:                   -1,
		DialTimeout:                  o.DialTimeout, DialerRetries: o.DialerRetries, DialerRetryTimeout: o.DialerRetryTimeout,
		ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: o.ContextTimeoutEnabled,
		PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
		TLSConfig: o.TLSConfig, DisableIdentity: o.DisableIdentity, IdentitySuffix: o.IdentitySuffix,
		MaintNotificationsConfig: noMaintenance(),
	}
	if o.NewClient != nil {
		return o.NewClient(opts)
	}
	return redis.NewClient(opts)
}

// prune closes the clients of nodes that are not in the Cluster any more.
func (n *nodes) prune(slots []redis.ClusterSlot) {
	keep := map[string]bool{}
	for _, addr := range n.cluster.Options().Addrs {
		keep[addr] = true
	}
	for _, r := range slots {
		for _, node := range r.Nodes {
			keep[node.Addr] = true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for addr, client := range n.clients {
		if !keep[addr] {
			delete(n.clients, addr)
			_ = client.Close() // its connections lead nowhere we go again
		}
	}
}

// close closes the clients made here, not the one given.
func (n *nodes) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, client := range n.clients {
		errs = append(errs, client.Close())
	}
	n.clients = map[string]*redis.Client{}
	return errors.Join(errs...)
}

// of returns the master that serves a key.
func (t *topology) of(key string) (*master, error) {
	if t.bySlot == nil {
		return t.masters[0], nil
	}
	slot := slotOf(key)
	index := t.bySlot[slot]
	if index == 0 {
		return nil, fmt.Errorf("slot %d: no master serves it", slot)
	}
	return t.masters[index-1], nil
}

// each calls fn for every master at the same time and joins the errors.
func (t *topology) each(fn func(*master) error) error {
	if len(t.masters) == 1 {
		return fn(t.masters[0])
	}
	errs := make([]error, len(t.masters))
	var wg sync.WaitGroup
	for i, m := range t.masters {
		wg.Go(func() {
			if err := fn(m); err != nil {
				errs[i] = fmt.Errorf("master %s: %w", m.addr, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// key returns the name of a bookkeeping key on this master.
func (m *master) key(prefix, name string) string {
	if m.tag == "" {
		return prefix + name
	}
	return prefix + name + ":{" + m.tag + "}"
}
