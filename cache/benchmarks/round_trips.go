package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	rival "github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
)

// tripCounter counts round trips on a client's connections: how often something
// was read after something was written.
type tripCounter struct{ trips atomic.Int64 }

// client returns a client of one connection that is counted.
func (c *tripCounter) client(addr string) *redis.Client {
	var dialer net.Dialer
	return redis.NewClient(&redis.Options{
		Addr: addr, PoolSize: 1,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn, counter: c}, nil
		},
	})
}

type countedConn struct {
	net.Conn
	counter *tripCounter
	wrote   atomic.Bool
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.wrote.Store(true)
	return c.Conn.Write(b)
}

func (c *countedConn) Read(b []byte) (int, error) {
	if c.wrote.Swap(false) {
		c.counter.trips.Add(1)
	}
	return c.Conn.Read(b)
}

// countTrips compares round trips, which no clock has to measure.
func countTrips(ctx context.Context, addr string) ([]row, error) {
	counter := &tripCounter{}
	rdb := counter.client(addr)
	defer rdb.Close()
	c := newClients(rdb, "trips:")
	defer c.ours.Close()
	other := redis.NewClient(&redis.Options{Addr: addr}) // somebody else's
	defer other.Close()
	value := newOrder(1)
	const key, rawKey = "trips", "trips:raw"
	getOrSet := func(key string) error {
		_, err := cache.GetOrSet(ctx, c.ours, key, ttl, func(context.Context) (order, error) { return value, nil })
		return err
	}
	once := func(key string) error {
		var got order
		return c.json.Once(&rival.Item{
			Ctx: ctx, Key: key, Value: &got, TTL: ttl,
			Do: func(*rival.Item) (any, error) { return value, nil },
		})
	}
	var rows []row
	for _, t := range []struct {
		name         string
		before       func() error
		ours, theirs func() error
		rival        string
		most         float64
	}{
		{
			name: "set", rival: rawName,
			ours:   func() error { return cache.Set(ctx, c.ours, key, value, ttl) },
			theirs: func() error { return rawSet(ctx, rdb, rawKey, value) },
		},
		{
			name: "hit", rival: rawName, most: 1,
			ours: func() error { return getOrSet(key) },
			theirs: func() error {
				_, err := rawGet[order](ctx, rdb, rawKey)
				return err
			},
		},
		{
			name: "miss of a new key", rival: rivalName, most: 2,
			ours:   func() error { return getOrSet(c.newKey()) },
			theirs: func() error { return once(c.newKey()) },
		},
		{
			name: "miss of a key deleted elsewhere", rival: rivalName, most: 2,
			before: func() error { return other.Del(ctx, key).Err() },
			ours:   func() error { return getOrSet(key) },
			theirs: func() error { return once(key) },
		},
	} {
		ours, err := counter.count(t.before, t.ours)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		theirs, err := counter.count(t.before, t.theirs)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", t.name, t.rival, err)
		}
		r := row{Contest: t.name, Metric: metricTrips, Value: ours, Rival: t.rival, RivalValue: theirs, Ratio: ours / theirs}
		if t.most > 0 {
			r.Target, r.Verdict = "value ≤ "+number(t.most), verdict(ours <= t.most)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// count returns how many round trips an operation takes once scripts are known
// and connections are open.
func (c *tripCounter) count(before, op func() error) (float64, error) {
	const warm, n = 3, 100
	total := int64(0)
	for i := range warm + n {
		if before != nil {
			if err := before(); err != nil {
				return 0, err
			}
		}
		start := c.trips.Load()
		if err := op(); err != nil {
			return 0, err
		}
		if i >= warm {
			total += c.trips.Load() - start
		}
	}
	return float64(total) / n, nil
}
