package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
)

func ExampleOpen() {
	c, err := cache.Open(context.Background(), "redis://user:secret@localhost:port/0", cache.Config{})
	fmt.Println(c == nil, err)
	// Output:
	// true parse cache URL: invalid port ":port" after host
}

func ExampleNew() {
	ctx := context.Background()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1}) // nobody is there
	defer rdb.Close()
	c := cache.New(rdb, cache.Config{})
	defer c.Close()

	// Without Redis a loading call loads, and any other says so.
	fmt.Println(cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (string, error) { return "from the database", nil }))
	_, err := cache.Get[string](ctx, c, "k")
	fmt.Println(errors.Is(err, cache.ErrUnavailable))
	// Output:
	// from the database <nil>
	// true
}

func ExampleSet() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	// For what does not come from a table; all else goes through GetOrSet.
	fmt.Println(cache.Set(ctx, c, "theme:7", "dark", 24*time.Hour))
	fmt.Println(errors.Is(cache.Set(ctx, c, "theme:7", "dark", 0), cache.ErrTTL))
	// Output:
	// <nil>
	// true
}

func ExampleSetMany() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	err := cache.SetMany(ctx, c, map[string]any{"a": 1, "b": func() {}}, time.Minute)
	var batch *cache.BatchError
	if errors.As(err, &batch) {
		for key := range batch.Failed {
			fmt.Println(key, "failed")
		}
	}
	fmt.Println(c.Exists(ctx, "a"))
	// Output:
	// b failed
	// true <nil>
}

func ExampleGetOrSetMany() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	// select id, name from clients where id = any($1)
	load := func(_ context.Context, missing []int) (map[int]string, error) {
		slices.Sort(missing)
		fmt.Println("asking for", missing)
		return map[int]string{1: "Ada", 2: "Bob"}, nil // there is no 3
	}
	key := func(id int) string { return cache.Key("client", id) }
	for _, ids := range [][]int{{1, 3}, {1, 2, 3}} {
		names, err := cache.GetOrSetMany(ctx, c, ids, key, time.Hour, load)
		fmt.Println(names, err)
	}
	// Output:
	// asking for [1 3]
	// map[1:Ada] <nil>
	// asking for [2]
	// map[1:Ada 2:Bob] <nil>
}

func ExampleMemoize() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	count := func(_ context.Context, status string) (int, error) {
		fmt.Println("counting", status)
		return len(status), nil
	}
	orders := cache.Memoize(c, func(status string) string { return cache.Key("orders", "count", status) }, time.Minute, count)
	fmt.Println(orders(ctx, "PAID"))
	fmt.Println(orders(ctx, "PAID"))
	// Output:
	// counting PAID
	// 4 <nil>
	// 4 <nil>
}

func ExampleFor() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	// Said once, used everywhere.
	clients := cache.For[customer](c, cache.Spec[int]{
		Prefix: "client", Version: 2, TTL: time.Hour, Jitter: 0.1, FailSafe: 24 * time.Hour,
		Tags: func(id int) []string { return []string{cache.Key("client", id)} },
	})
	fmt.Println(clients.Key(7))
	found, err := clients.GetOrSet(ctx, 7, func(ctx context.Context) (customer, error) { return loadCustomer(ctx, 7) })
	fmt.Println(found.Name, err)
	_ = c.InvalidateTags(ctx, "client:7")
	_, err = clients.Get(ctx, 7)
	fmt.Println(errors.Is(err, cache.ErrMiss))
	// Output:
	// client:7:v2
	// asking the database
	// Ada <nil>
	// true
}

func ExampleKey() {
	fmt.Println(cache.Key("orders", "client", 7))
	// Output:
	// orders:client:7
}

func ExampleVersionedKey() {
	fmt.Println(cache.VersionedKey(2, "user", 7))
	// Output:
	// user:7:v2
}

func ExampleWithTags() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	report := func(context.Context) (string, error) { fmt.Println("computing"); return "report", nil }
	for range 2 {
		_, _ = cache.GetOrSet(ctx, c, "report:2026", time.Hour, report, cache.WithTags("client:7", "client:9"))
	}
	_ = c.InvalidateTags(ctx, "client:9") // however many entries carry it
	_, _ = cache.GetOrSet(ctx, c, "report:2026", time.Hour, report, cache.WithTags("client:7", "client:9"))
	// Output:
	// computing
	// computing
}

func ExampleCache_InvalidateTags() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "a", 1, time.Minute, cache.WithTags("t"))
	fmt.Println(cache.Get[int](ctx, c, "a"))
	fmt.Println(c.InvalidateTags(ctx, "t"))
	_, err := cache.Get[int](ctx, c, "a")
	fmt.Println(errors.Is(err, cache.ErrMiss))
	// Output:
	// 1 <nil>
	// <nil>
	// true
}

func ExampleTag() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	load := func(ctx context.Context) (string, error) {
		clientID := 7 // read from the order
		if err := cache.Tag(ctx, cache.Key("client", clientID)); err != nil {
			return "", err
		}
		return "order 42 of Ada", nil // now read the client
	}
	_, _ = cache.GetOrSet(ctx, c, "order:42", time.Minute, load)
	_ = c.InvalidateTags(ctx, "client:7")
	_, err := cache.Get[string](ctx, c, "order:42")
	fmt.Println(errors.Is(err, cache.ErrMiss))
	// Output:
	// true
}

func ExampleWithJitter() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "k", 1, time.Hour, cache.WithJitter(0.1))
	ttl, _ := c.TTL(ctx, "k")
	fmt.Println(ttl > 53*time.Minute, ttl <= time.Hour)
	// Output:
	// true true
}

func ExampleWithNegativeTTL() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	none := func(context.Context) (int, error) { fmt.Println("asking"); return 0, cache.ErrNotFound }
	for range 2 { // a client that is about to be created: do not remember that it is not there
		_, err := cache.GetOrSet(ctx, c, "client:8", time.Hour, none, cache.WithNegativeTTL(-1))
		fmt.Println(errors.Is(err, cache.ErrNotFound))
	}
	// Output:
	// asking
	// true
	// asking
	// true
}

func ExampleWithRefreshAhead() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "dashboard:1", "old", 30*time.Second)
	refreshed := make(chan bool)
	load := func(context.Context) (string, error) { defer close(refreshed); return "new", nil }
	// Less than a minute is left: nobody waits, and it is loaded in the background.
	fmt.Println(cache.GetOrSet(ctx, c, "dashboard:1", 5*time.Minute, load, cache.WithRefreshAhead(time.Minute)))
	<-refreshed
	// Output:
	// old <nil>
}

func ExampleWithFailSafe() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Logger: quiet})
	defer c.Close()

	rate := func(v float64, err error) (float64, error) {
		return cache.GetOrSet(ctx, c, "rate:EUR", 20*time.Millisecond, func(context.Context) (float64, error) { return v, err },
			cache.WithFailSafe(time.Hour))
	}
	fmt.Println(rate(1.08, nil))
	<-time.After(30 * time.Millisecond) // it has expired
	fmt.Println(rate(0, errors.New("the source is down")))
	// Output:
	// 1.08 <nil>
	// 1.08 <nil>
}

func ExampleCache_Increment() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	fmt.Println(c.Increment(ctx, "visits:today", 1, 24*time.Hour))
	fmt.Println(c.Increment(ctx, "visits:today", 2, 24*time.Hour))
	// Output:
	// 1 <nil>
	// 3 <nil>
}

func ExampleCache_Decrement() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "seats", 10, time.Hour)
	fmt.Println(c.Decrement(ctx, "seats", 3, time.Hour))
	// Output:
	// 7 <nil>
}

func ExampleCache_Exists() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	fmt.Println(c.Exists(ctx, "k"))
	// Output:
	// false <nil>
}

func ExampleCache_TTL() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "k", 1, time.Hour)
	ttl, err := c.TTL(ctx, "k")
	fmt.Println(ttl.Round(time.Minute), err)
	// Output:
	// 1h0m0s <nil>
}

func ExampleCache_Touch() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "session:9", "…", 15*time.Minute)
	fmt.Println(c.Touch(ctx, "session:9", 15*time.Minute))
	fmt.Println(c.Touch(ctx, "session:gone", 15*time.Minute))
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleCache_Ping() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	fmt.Println(c.Ping(ctx))
	// Output:
	// <nil>
}

func ExampleCache_Info() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "k", 1, time.Hour)
	info, err := c.Info(ctx)
	fmt.Println(info.Keys, err)
	// Output:
	// 1 <nil>
}

func ExampleCache_Stats() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "order:1", 1, time.Hour)
	_, _ = cache.Get[int](ctx, c, "order:1")
	_, _ = cache.Get[int](ctx, c, "user:1")
	s := c.Stats()
	fmt.Println(s.Hits, s.Misses, s.Prefixes["order"].Hits)
	// Output:
	// 1 1 1
}

// pool stands for a pgx pool.
type pool struct{}

type row struct{}

func (row) Scan(dest ...any) error {
	*dest[0].(*string) = "7301:00000001:0/1A2B3C8:8192"
	return nil
}

func (pool) QueryRow(context.Context, string, ...any) row { return row{} }

func ExampleTokenFrom() {
	ctx := context.Background()
	// After the COMMIT of a change; the token travels in a cookie or a header.
	token, err := cache.TokenFrom(ctx, pool{})
	fmt.Println(token, err)
	// Output:
	// 7301:00000001:0/1A2B3C8 <nil>
}

func ExampleLoadedAt() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Source: "shop"})
	defer c.Close()

	got, err := cache.GetOrSet(ctx, c, "order:42", time.Minute, func(ctx context.Context) (string, error) {
		replayed, err := cache.ParseLSN("0/1A2B3C8") // select pg_last_wal_replay_lsn()
		if err != nil {
			return "", err
		}
		cache.LoadedAt(ctx, replayed)
		return "from a standby", nil
	})
	fmt.Println(got, err)
	fmt.Println(c.Exists(ctx, "order:42")) // nothing is known yet of how far deletes have gone
	// Output:
	// from a standby <nil>
	// false <nil>
}

func ExampleOrStaleError() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Source: "shop"})
	defer c.Close()

	_ = cache.Set(ctx, c, "k", 1, time.Minute)
	_, err := cache.Get[int](ctx, c, "k", cache.Within(time.Second), cache.OrStaleError())
	fmt.Println(errors.Is(err, cache.ErrStale))
	// Output:
	// true
}

var quiet = slog.New(slog.DiscardHandler)

func ExampleLimitTTL() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_, _ = cache.GetOrSet(ctx, c, "access-token", time.Hour, func(ctx context.Context) (string, error) {
		cache.LimitTTL(ctx, 5*time.Minute) // what the issuer says of it
		return "…", nil
	})
	ttl, _ := c.TTL(ctx, "access-token")
	fmt.Println(ttl.Round(time.Minute))
	// Output:
	// 5m0s
}
