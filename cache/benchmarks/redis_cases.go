package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	rival "github.com/go-redis/cache/v9"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
)

const (
	rawName     = "go-redis, encoding/json"
	rivalName   = "go-redis/cache, JSON"
	msgpackName = "go-redis/cache, msgpack"

	ttl = time.Hour
)

// order is a value as most services have it: some 130 bytes of JSON.
type order struct {
	ID       int64     `json:"id"`
	ClientID int64     `json:"client_id"`
	Status   string    `json:"status"`
	Total    string    `json:"total"`
	Created  time.Time `json:"created_at"`
}

func newOrder(id int64) order {
	return order{ID: id, ClientID: 9, Status: "PAID", Total: "129.90", Created: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}
}

// newList is a value of some 10 kB.
func newList() []order {
	list := make([]order, 90)
	for i := range list {
		list[i] = newOrder(int64(i))
	}
	return list
}

// clients are the contenders' ways to one Redis: all go through the same client.
type clients struct {
	rdb     *redis.Client
	ours    *cache.Cache
	json    *rival.Cache
	msgpack *rival.Cache
	prefix  string // of keys that are new
	keys    atomic.Int64
}

func newClients(rdb *redis.Client, prefix string) *clients {
	return &clients{
		rdb: rdb, prefix: prefix,
		ours: cache.New(rdb, cache.Config{}),
		json: rival.New(&rival.Options{
			Redis:     rdb,
			Marshal:   func(v any) ([]byte, error) { return json.Marshal(v) },
			Unmarshal: func(raw []byte, v any) error { return json.Unmarshal(raw, v) },
		}),
		msgpack: rival.New(&rival.Options{Redis: rdb}),
	}
}

// newKey returns a key that nobody has used.
func (c *clients) newKey() string { return c.prefix + strconv.FormatInt(c.keys.Add(1), 10) }

var errLoaded = errors.New("the loader was called for a value that is there")

// hit compares reading values that are in Redis.
func hit[T any](ctx context.Context, c *clients, name string, value T, count, callers int) (contest, error) {
	keys, packed := make([]string, count), make([]string, count)
	values := make(map[string]T, count)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s:%d", name, i)
		packed[i] = keys[i] + ":msgpack"
		values[keys[i]] = value
	}
	raw, err := c.msgpack.Marshal(value)
	if err != nil {
		return contest{}, err
	}
	if err := errors.Join(cache.SetMany(ctx, c.ours, values, ttl), rawSetMany(ctx, c.rdb, packed, raw)); err != nil {
		return contest{}, err
	}
	rand.Shuffle(count, func(i, j int) {
		keys[i], keys[j] = keys[j], keys[i]
		packed[i], packed[j] = packed[j], packed[i]
	})
	load := func(context.Context) (T, error) { return *new(T), errLoaded }
	once := func(rc *rival.Cache) func(key string) error {
		return func(key string) error {
			var got T
			return rc.Once(&rival.Item{
				Ctx: ctx, Key: key, Value: &got, TTL: ttl,
				Do: func(*rival.Item) (any, error) { return nil, errLoaded },
			})
		}
	}
	return contest{
		name: name, callers: callers, lean: true,
		ours: contender{name: "GetOrSet", run: readAll(keys, func(key string) error {
			_, err := cache.GetOrSet(ctx, c.ours, key, ttl, load)
			return err
		})},
		rivals: []contender{
			{name: rawName, target: 1.05, run: readAll(keys, func(key string) error {
				_, err := rawGet[T](ctx, c.rdb, key)
				return err
			})},
			{name: rivalName, run: readAll(keys, once(c.json))},
			{name: msgpackName, run: readAll(packed, once(c.msgpack))},
		},
	}, nil
}

func rawGet[T any](ctx context.Context, rdb *redis.Client, key string) (T, error) {
	var value T
	raw, err := rdb.Get(ctx, key).Bytes()
	if err != nil {
		return value, err
	}
	return value, json.Unmarshal(raw, &value)
}

func rawSet(ctx context.Context, rdb *redis.Client, key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return rdb.Set(ctx, key, raw, ttl).Err()
}

func rawSetMany(ctx context.Context, rdb *redis.Client, keys []string, raw []byte) error {
	for some := range slices.Chunk(keys, 1000) {
		if _, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, key := range some {
				pipe.Set(ctx, key, raw, ttl)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// taggedHit shows what tags cost a reader.
func taggedHit(ctx context.Context, c *clients) (contest, error) {
	const key = "hit:tagged"
	tags := cache.WithTags("client:9", "status:PAID")
	if err := cache.Set(ctx, c.ours, key, newOrder(1), ttl, tags); err != nil {
		return contest{}, err
	}
	if err := rawSet(ctx, c.rdb, key+":raw", newOrder(1)); err != nil {
		return contest{}, err
	}
	load := func(context.Context) (order, error) { return order{}, errLoaded }
	return contest{
		name: "hit, two tags",
		ours: contender{name: "GetOrSet", run: each(func() error {
			_, err := cache.GetOrSet(ctx, c.ours, key, ttl, load, tags)
			return err
		})},
		rivals: []contender{{name: rawName, run: each(func() error {
			_, err := rawGet[order](ctx, c.rdb, key+":raw")
			return err
		})}},
	}, nil
}

// hitMany compares reading many values at once.
func hitMany(ctx context.Context, c *clients) (contest, error) {
	keys := make([]string, 100)
	values := map[string]order{}
	for i := range keys {
		keys[i] = fmt.Sprintf("many:%d", i)
		values[keys[i]] = newOrder(int64(i))
	}
	if err := cache.SetMany(ctx, c.ours, values, ttl); err != nil {
		return contest{}, err
	}
	return contest{
		name: "hit, 100 keys at once", lean: true,
		ours: contender{name: "GetMany", run: each(func() error {
			got, err := cache.GetMany[order](ctx, c.ours, keys)
			if err == nil && len(got) != len(keys) {
				return errMissing
			}
			return err
		})},
		rivals: []contender{{name: rawName, run: each(func() error { return rawGetMany(ctx, c.rdb, keys) })}},
	}, nil
}

var errMissing = errors.New("a value is not there")

func rawGetMany(ctx context.Context, rdb *redis.Client, keys []string) error {
	all, err := rdb.MGet(ctx, keys...).Result()
	if err != nil {
		return err
	}
	values := make(map[string]order, len(keys))
	for i, raw := range all {
		text, ok := raw.(string)
		if !ok {
			return errMissing
		}
		var value order
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			return err
		}
		values[keys[i]] = value
	}
	return nil
}

// set compares storing a value.
func set(ctx context.Context, c *clients) (contest, error) {
	value := newOrder(1)
	return contest{
		name: "set", lean: true,
		ours: contender{name: "Set", run: each(func() error { return cache.Set(ctx, c.ours, "set:ours", value, ttl) })},
		rivals: []contender{
			{name: rawName, run: each(func() error { return rawSet(ctx, c.rdb, "set:raw", value) })},
			{name: rivalName, run: each(func() error {
				return c.json.Set(&rival.Item{Ctx: ctx, Key: "set:json", Value: value, TTL: ttl})
			})},
			{name: msgpackName, run: each(func() error {
				return c.msgpack.Set(&rival.Item{Ctx: ctx, Key: "set:msgpack", Value: value, TTL: ttl})
			})},
		},
	}, nil
}

// miss compares loading a value that is not there, with a loader that costs
// nothing. The rivals let a value land that an invalidation has passed, and all
// processes load at once.
func miss(ctx context.Context, c *clients, callers int) (contest, error) {
	value := newOrder(1)
	name := "miss"
	if callers > 1 {
		name = fmt.Sprintf("miss, %d callers", callers)
	}
	return contest{
		name: name, callers: callers, lean: true,
		ours: contender{name: "GetOrSet", run: each(func() error {
			_, err := cache.GetOrSet(ctx, c.ours, c.newKey(), ttl, func(context.Context) (order, error) { return value, nil })
			return err
		})},
		rivals: []contender{
			{name: rawName, run: each(func() error {
				key := c.newKey()
				if _, err := rawGet[order](ctx, c.rdb, key); !errors.Is(err, redis.Nil) {
					return errors.Join(errLoaded, err)
				}
				return rawSet(ctx, c.rdb, key, value)
			})},
			{name: rivalName, run: each(func() error {
				var got order
				return c.json.Once(&rival.Item{
					Ctx: ctx, Key: c.newKey(), Value: &got, TTL: ttl,
					Do: func(*rival.Item) (any, error) { return value, nil },
				})
			})},
		},
	}, nil
}
