package cache

import (
	"context"
	"strconv"
	"strings"
)

// Info says how much a store holds, of all its users. On a Cluster the numbers
// are sums over the masters.
type Info struct {
	// Keys is the number of keys, bookkeeping included.
	Keys int64
	// UsedMemory is how many bytes the data takes; 0 for a store in memory.
	UsedMemory int64
	// MaxMemory is how many bytes it may take; 0 means no limit.
	MaxMemory int64
	// Evictions is how many keys have been removed for want of memory since the
	// servers started; 0 for a store in memory.
	Evictions int64
	// Servers is the number of masters; 0 for a store in memory.
	Servers int
	// Version is the servers' version, empty for a store in memory.
	Version string
}

// Info asks the store how much it holds.
func (c *Cache) Info(ctx context.Context) (Info, error) {
	if c.closed.Load() {
		return Info{}, ErrClosed
	}
	info, err := c.store.info(ctx)
	return info, c.failed("info", "", err)
}

func (s *redisStore) info(ctx context.Context) (Info, error) {
	if s.nodes == nil {
		return Info{}, errNoMasters
	}
	topo, err := s.nodes.discover(ctx)
	if err != nil {
		return Info{}, err
	}
	var total Info
	for _, m := range topo.masters {
		pipe := m.client.Pipeline()
		size, text := pipe.DBSize(ctx), pipe.Info(ctx)
		if _, err := pipe.Exec(ctx); err != nil {
			return Info{}, err
		}
		total.add(size.Val(), text.Val())
	}
	return total, nil
}

// add adds what one master says.
func (i *Info) add(keys int64, text string) {
	i.Keys += keys
	i.Servers++
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		number, _ := strconv.ParseInt(value, 10, 64) // 0 where it is none
		switch name {
		case "used_memory":
			i.UsedMemory += number
		case "maxmemory":
			i.MaxMemory += number
		case "evicted_keys":
			i.Evictions += number
		case "redis_version":
			i.Version = value
		}
	}
}

func (s *memoryStore) info(context.Context) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{Keys: int64(len(s.values) + len(s.leases) + len(s.tags))}, nil
}
