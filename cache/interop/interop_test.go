// Package interop shows that what the cache holds belongs to no library:
// redis-cli and a program with ioredis read, write, count and delete the same
// keys, and the cache's bookkeeping is in nobody's way.
package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// order has what is written differently by JSON's writers: HTML's characters,
// U+2028, characters beyond 16 bits, fractions, exponents, nothing at all.
type order struct {
	ID     int64      `json:"id"`
	Client string     `json:"client"`
	Note   *string    `json:"note"`
	Paid   bool       `json:"paid"`
	Total  float64    `json:"total"`
	Weight float64    `json:"weight"`
	Placed time.Time  `json:"placed_at"`
	Lines  []line     `json:"lines"`
	Labels []string   `json:"labels"`
	Sent   *time.Time `json:"sent_at,omitempty"`
}

type line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

func newOrder(id int64) order {
	return order{
		ID:     id,
		Client: "Zoë <zoë@example.com> & 🐟 \"Söhne\"\u2028\\",
		Total:  0.1 + 0.2,
		Weight: 1.5e-9,
		Placed: time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.UTC),
		Lines:  []line{{"A-1", 2}, {"", 0}},
		Labels: []string{},
	}
}

// keys are one of each form of lease key.
var keys = []string{"order:42", "user:{7}:cart", "odd}key"}

// shop is a cache and another client of the same Redis.
type shop struct {
	cache   *cache.Cache
	server  *servers.Redis
	ioredis ioredis
}

func openShop(t *testing.T) shop {
	t.Helper()
	server := servertest.Redis(t)
	return shop{cache: open(t, server.URL()), server: server, ioredis: newIoredis(t, server.Addr())}
}

func open(t *testing.T, url string) *cache.Cache {
	t.Helper()
	c, err := cache.Open(t.Context(), url, cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func set[T any](t *testing.T, c *cache.Cache, key string, value T, ttl time.Duration, opts ...cache.WriteOption) {
	t.Helper()
	if err := cache.Set(t.Context(), c, key, value, ttl, opts...); err != nil {
		t.Fatal(err)
	}
}

func expect[T any](t *testing.T, c *cache.Cache, key string, want T) {
	t.Helper()
	got, err := cache.Get[T](t.Context(), c, key)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("get %s: got %+v, %v, want %+v", key, got, err, want)
	}
}

func expectMiss(t *testing.T, c *cache.Cache, key string) {
	t.Helper()
	if got, err := cache.Get[any](t.Context(), c, key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("get %s: got %v, %v, want ErrMiss", key, got, err)
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestRedisCLIReadsPlainJSON(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for i, key := range keys {
		want := newOrder(int64(i))
		set(t, s.cache, key, want, time.Minute)
		if got := redisCLI(t, s.server, "GET", key); got != encode(t, want) {
			t.Errorf("%s, set: got %s, want %s", key, got, encode(t, want))
		}
		if err := s.cache.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		want.Paid = true
		load := func(context.Context) (order, error) { return want, nil }
		if _, err := cache.GetOrSet(t.Context(), s.cache, key, time.Minute, load); err != nil {
			t.Fatal(err)
		}
		if got := redisCLI(t, s.server, "GET", key); got != encode(t, want) {
			t.Errorf("%s, loaded: got %s, want %s", key, got, encode(t, want))
		}
	}
	if got, want := redisCLI(t, s.server, "DBSIZE"), "3"; got != want {
		t.Errorf("got %s keys, want %s: no leases, and nothing beside the values", got, want)
	}
}

func TestValuesOfRedisCLIAreRead(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for i, key := range keys {
		want := newOrder(int64(i))
		redisCLI(t, s.server, "SET", key, " "+encode(t, want)+"\n")
		expect(t, s.cache, key, want)
		load := func(context.Context) (order, error) { return order{}, errors.New("loaded what was there") }
		if got, err := cache.GetOrSet(t.Context(), s.cache, key, time.Minute, load); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("get or set %s: got %+v, %v, want %+v", key, got, err, want)
		}
	}
	redisCLI(t, s.server, "SET", "text", `"plain"`, "PX", "60000")
	expect(t, s.cache, "text", "plain")
	redisCLI(t, s.server, "DEL", "text")
	expectMiss(t, s.cache, "text")
}

func TestIoredisReadsAndWrites(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for i, key := range keys {
		want := newOrder(int64(i))
		set(t, s.cache, key, want, time.Minute)
		// What it has parsed and written again is the same to the library.
		s.ioredis.gives(t, []any{want, "OK"}, action{"read", key}, action{"merge", key, map[string]any{"paid": true}})
		want.Paid = true
		expect(t, s.cache, key, want)

		note := "written by it"
		want.Note, want.Sent = &note, &want.Placed
		s.ioredis.do(t, action{"write", key, want, 60})
		expect(t, s.cache, key, want)
	}
	orders, err := cache.GetMany[order](t.Context(), s.cache, keys)
	if err != nil || len(orders) != len(keys) {
		t.Errorf("get many: got %d, %v, want %d", len(orders), err, len(keys))
	}
	if err := s.cache.Delete(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	s.ioredis.gives(t, []any{nil, orders[keys[1]]}, action{"read", keys[0]}, action{"read", keys[1]})
}

func TestIoredisDeletes(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	for i, key := range keys {
		set(t, s.cache, key, newOrder(int64(i)), time.Minute)
		s.ioredis.gives(t, []any{1}, action{"del", key})
		expectMiss(t, s.cache, key)
		if ok, err := s.cache.Exists(t.Context(), key); ok || err != nil {
			t.Errorf("exists %s: got %v, %v", key, ok, err)
		}
		want := newOrder(int64(i + 10))
		load := func(context.Context) (order, error) { return want, nil }
		if _, err := cache.GetOrSet(t.Context(), s.cache, key, time.Minute, load); err != nil {
			t.Fatal(err)
		}
		s.ioredis.reads(t, key, want)
	}
}

func TestTTLsAreRedisOwn(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	ttl := func(least, most time.Duration) {
		t.Helper()
		if got, err := s.cache.TTL(t.Context(), "k"); err != nil || got < least || got > most {
			t.Errorf("got a TTL of %v, %v, want %v to %v", got, err, least, most)
		}
	}
	set(t, s.cache, "k", 1, time.Hour)
	s.ioredis.within(t, 3_000_000, 3_600_000, action{"pttl", "k"})
	s.ioredis.do(t, action{"expire", "k", 7200})
	ttl(100*time.Minute, 2*time.Hour)
	if ok, err := s.cache.Touch(t.Context(), "k", 3*time.Hour); !ok || err != nil {
		t.Errorf("touch: got %v, %v", ok, err)
	}
	s.ioredis.within(t, 10_000, 10_800, action{"ttl", "k"})
	s.ioredis.do(t, action{"persist", "k"})
	ttl(0, 0)
	s.ioredis.do(t, action{"write", "k", 2, 600})
	ttl(time.Minute, 10*time.Minute)
	s.ioredis.do(t, action{"pexpire", "k", 1})
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		_, err := s.cache.TTL(t.Context(), "k")
		return errors.Is(err, cache.ErrMiss), "the value has not expired"
	})
}

func TestCountersAreRedisOwn(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	add := func(key string, delta, want int64) {
		t.Helper()
		if got, err := s.cache.Increment(t.Context(), key, delta, time.Hour); got != want || err != nil {
			t.Errorf("increment %s by %d: got %d, %v, want %d", key, delta, got, err, want)
		}
	}
	add("ours", 5, 5)
	s.ioredis.gives(t, []any{6}, action{"incr", "ours"})
	s.ioredis.within(t, 3_000_000, 3_600_000, action{"pttl", "ours"})
	add("ours", -10, -4)
	s.ioredis.reads(t, "ours", -4)
	if got := redisCLI(t, s.server, "GET", "ours"); got != "-4" {
		t.Errorf("got %q, want a plain integer", got)
	}

	s.ioredis.gives(t, []any{3}, action{"incrby", "theirs", 3})
	expect(t, s.cache, "theirs", 3)
	add("theirs", 4, 7)
	s.ioredis.gives(t, []any{-1}, action{"ttl", "theirs"}) // a counter that is there keeps its end
}

func TestTaggedEntriesAreTheLibrarysOwn(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	set(t, s.cache, "k", newOrder(1), time.Minute, cache.WithTags("client:7"))
	got := s.ioredis.do(t, action{"get", "k"}, action{"write", "k", newOrder(2), 60})
	if text, ok := got[0].(string); !ok || json.Valid([]byte(text)) {
		t.Errorf("got %q, want no JSON: nobody else may take the entry for one without tags", text)
	}
	expect(t, s.cache, "k", newOrder(2))
	set(t, s.cache, "k", newOrder(3), time.Minute, cache.WithTags("client:7"))
	s.ioredis.gives(t, []any{1}, action{"del", "k"})
	expectMiss(t, s.cache, "k")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := servertest.RedisCluster(t, 3)
	c, js := open(t, cluster.URL()), newIoredis(t, cluster.Addrs()...)
	// Lease and value go in one pipeline, which ioredis refuses for keys that
	// are on different masters.
	for i, key := range []string{"order:1", "order:2", "user:{7}:cart"} {
		want := newOrder(int64(i))
		set(t, c, key, want, time.Minute)
		js.gives(t, []any{want, []any{0, "OK"}}, action{"read", key}, action{"replace", key, newOrder(9), 60})
		expect(t, c, key, newOrder(9))
		js.gives(t, []any{[]int{0, 1}}, action{"invalidate", key})
		expectMiss(t, c, key)
	}
}
