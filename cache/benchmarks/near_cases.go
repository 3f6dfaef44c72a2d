package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	rival "github.com/go-redis/cache/v9"
	"github.com/maypok86/otter/v2"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
)

// nearKeys is how many keys are read in turn, so that not all is in the
// processor's first cache.
const nearKeys = 1024

// nearClients are the contenders' ways to entries in the process.
type nearClients struct {
	layer  *near.Layer
	ours   *cache.Cache
	local  *rival.Cache // of go-redis/cache
	keys   []string
	others []string
}

func newNearClients(ctx context.Context, rdb *redis.Client, conn *nats.Conn) (*nearClients, error) {
	// Entries last for longer than the run: this is about hits.
	layer, err := near.New(conn, near.Config{
		Name: "benchmarks", NoInvalidator: true, TTL: time.Hour, Patience: time.Minute,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	n := &nearClients{
		layer: layer,
		ours:  cache.New(rdb, cache.Config{Near: layer}),
		local: rival.New(&rival.Options{
			Redis: rdb, LocalCache: rival.NewTinyLFU(10*nearKeys, time.Hour),
			Marshal:   func(v any) ([]byte, error) { return json.Marshal(v) },
			Unmarshal: func(raw []byte, v any) error { return json.Unmarshal(raw, v) },
		}),
	}
	for i := range nearKeys {
		n.keys = append(n.keys, fmt.Sprintf("near:%d", i))
		n.others = append(n.others, fmt.Sprintf("basket:%d", i))
	}
	rand.Shuffle(nearKeys, func(i, j int) {
		n.keys[i], n.keys[j] = n.keys[j], n.keys[i]
		n.others[i], n.others[j] = n.others[j], n.others[i]
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, sound := layer.Mark(); sound {
			return n, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(errors.New("the near layer keeps nothing: it does not hear itself"), n.close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), n.close())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (n *nearClients) close() error { return errors.Join(n.ours.Close(), n.layer.Close()) }

// fill stores a value under all keys and reads each until it is near.
func fill[T any](ctx context.Context, n *nearClients, keys []string, value T) error {
	values := make(map[string]T, len(keys))
	for _, key := range keys {
		values[key] = value
	}
	if err := cache.SetMany(ctx, n.ours, values, ttl); err != nil {
		return err
	}
	for _, key := range keys {
		for deadline := time.Now().Add(30 * time.Second); ; {
			if _, err := cache.Get[T](ctx, n.ours, key); err != nil {
				return err
			}
			if _, ok := n.layer.Get(key); ok {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not stay in the near layer", key)
			}
		}
	}
	return nil
}

func newOtter[T any](value T, keys []string, expiry otter.ExpiryCalculator[string, T]) (*otter.Cache[string, T], error) {
	c, err := otter.New(&otter.Options[string, T]{MaximumSize: 10 * nearKeys, ExpiryCalculator: expiry})
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		c.Set(key, value)
	}
	return c, nil
}

// nearHit compares reading a value that is kept in the process.
func nearHit(ctx context.Context, n *nearClients, callers int) (contest, error) {
	value := newOrder(1)
	if err := fill(ctx, n, n.keys, value); err != nil {
		return contest{}, err
	}
	plain, err := newOtter(value, n.keys, nil)
	if err != nil {
		return contest{}, err
	}
	expiring, err := newOtter(value, n.keys, otter.ExpiryWriting[string, order](time.Hour))
	if err != nil {
		return contest{}, err
	}
	fromOtter := func(c *otter.Cache[string, order]) func(int) error {
		return readAll(n.keys, func(key string) error {
			if got, ok := c.GetIfPresent(key); !ok || got.ID != value.ID {
				return errMissing
			}
			return nil
		})
	}
	load := func(context.Context) (order, error) { return order{}, errLoaded }
	name := "near hit"
	if callers > 1 {
		name = fmt.Sprintf("near hit, %d callers", callers)
	}
	before := n.ours.Stats()
	return contest{
		name: name, callers: callers, inProcess: true, atMost: 200 * time.Nanosecond, lean: true,
		ours: contender{name: "GetOrSet", run: readAll(n.keys, func(key string) error {
			got, err := cache.GetOrSet(ctx, n.ours, key, ttl, load)
			if got.ID != value.ID {
				return errors.Join(errMissing, err)
			}
			return err
		})},
		rivals: []contender{
			{name: "otter", target: 2, run: fromOtter(plain)},
			{name: "otter, with expiry", run: fromOtter(expiring)},
			{name: "go-redis/cache, TinyLFU", run: readAll(n.keys, func(key string) error {
				var got order
				return n.local.Once(&rival.Item{
					Ctx: ctx, Key: key, Value: &got, TTL: ttl,
					Do: func(*rival.Item) (any, error) { return nil, errLoaded },
				})
			})},
		},
		check: n.onlyNear(before),
	}, nil
}

// onlyNear fails if the store served more than a thousandth of the reads since.
func (n *nearClients) onlyNear(before cache.Stats) func() error {
	return func() error {
		after := n.ours.Stats()
		nearHits, hits := after.NearHits-before.NearHits, after.Hits-before.Hits
		if hits*1000 > nearHits {
			return fmt.Errorf("%d hits in Redis and %d in the near layer: this is not about near hits", hits, nearHits)
		}
		return nil
	}
}

// nearDecoded is about values that callers could change: each gets one of its
// own, decoded anew. otter alone would give all callers the same.
func nearDecoded(ctx context.Context, n *nearClients) (contest, error) {
	type basket struct {
		order

		Lines []string `json:"lines"`
	}
	value := basket{newOrder(1), []string{"A-1", "B-2"}}
	if err := fill(ctx, n, n.others, value); err != nil {
		return contest{}, err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return contest{}, err
	}
	encoded, err := newOtter(raw, n.others, nil)
	if err != nil {
		return contest{}, err
	}
	load := func(context.Context) (basket, error) { return basket{}, errLoaded }
	before := n.ours.Stats()
	return contest{
		name: "near hit, a value of the caller's own", inProcess: true, lean: true,
		ours: contender{name: "GetOrSet", run: readAll(n.others, func(key string) error {
			_, err := cache.GetOrSet(ctx, n.ours, key, ttl, load)
			return err
		})},
		rivals: []contender{
			{name: "otter, encoding/json", run: readAll(n.others, func(key string) error {
				raw, ok := encoded.GetIfPresent(key)
				if !ok {
					return errMissing
				}
				var got basket
				return json.Unmarshal(raw, &got)
			})},
		},
		check: n.onlyNear(before),
	}, nil
}
