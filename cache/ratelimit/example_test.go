package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

func Example() {
	ctx := context.Background()
	limiter, err := ratelimit.Open(ctx, "memory://", ratelimit.Config{}) // in production redis://…
	if err != nil {
		panic(err)
	}
	defer limiter.Close()

	for range 3 {
		r, err := limiter.Allow(ctx, "user:42", "/login", ratelimit.PerMinute(2))
		fmt.Println(r.Allowed, r.Remaining, r.RetryAfter > 59*time.Second, err)
	}
	// Output:
	// true 1 false <nil>
	// true 0 false <nil>
	// false 0 true <nil>
}

func ExampleNew() {
	// A client of yours, to a server that is not there:
	rdb := unreachable()
	defer rdb.Close()
	limiter := ratelimit.New(rdb, ratelimit.Config{Failure: ratelimit.FailOpen, Logger: quiet})
	defer limiter.Close()

	r, err := limiter.Allow(context.Background(), "user:42", "/login", ratelimit.PerMinute(5))
	fmt.Println(r.Allowed, errors.Is(err, ratelimit.ErrUnavailable))
	// Output: true true
}

func ExampleNewMemory() {
	limiter := ratelimit.NewMemory(ratelimit.Config{MemoryEntries: 1000})
	r, err := limiter.Allow(context.Background(), "user:42", "", ratelimit.PerSecond(10))
	fmt.Println(r.Allowed, r.Remaining, err)
	// Output: true 9 <nil>
}

func ExampleLimiter_AllowN() {
	ctx := context.Background()
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	megabytes := ratelimit.Limit{Max: 100, Window: time.Hour, Name: "upload"}
	for _, size := range []int{60, 60, 40} {
		r, _ := limiter.AllowN(ctx, "user:42", "/upload", megabytes, size)
		fmt.Println(size, r.Allowed, r.Remaining)
	}
	// Output:
	// 60 true 40
	// 60 false 40
	// 40 true 0
}

func ExampleLimiter_AllowAll() {
	ctx := context.Background()
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	limits := []ratelimit.Limit{ratelimit.PerSecond(2).Named("burst"), ratelimit.PerHour(1000).Named("hourly")}
	for range 3 {
		rs, err := limiter.AllowAll(ctx, "user:42", "/search", limits...)
		fmt.Println(rs.Allowed(), rs[0].Remaining, rs[1].Remaining, rs.Tightest().Limit.Name, err)
	}
	// Output:
	// true 1 999 burst <nil>
	// true 0 998 burst <nil>
	// false 0 998 burst <nil>
}

func ExampleLimiter_AllowAllN() {
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	rs, err := limiter.AllowAllN(context.Background(), "user:42", "/batch", 50,
		ratelimit.PerMinute(100), ratelimit.PerHour(1000))
	fmt.Println(rs.Allowed(), rs[0].Remaining, rs[1].Remaining, err)
	// Output: true 50 950 <nil>
}

func ExampleLimiter_Peek() {
	ctx := context.Background()
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	limit := ratelimit.PerMinute(1)
	before, _ := limiter.Peek(ctx, "user:42", "/login", limit)
	_, _ = limiter.Allow(ctx, "user:42", "/login", limit)
	after, _ := limiter.Peek(ctx, "user:42", "/login", limit)
	fmt.Println(before.Allowed, after.Allowed)
	// Output: true false
}

func ExampleLimiter_Reset() {
	ctx := context.Background()
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	limit := ratelimit.PerHour(1)
	for range 2 {
		r, _ := limiter.Allow(ctx, "user:42", "/login", limit)
		fmt.Println(r.Allowed)
	}
	_ = limiter.Reset(ctx, "user:42", "/login")
	r, _ := limiter.Allow(ctx, "user:42", "/login", limit)
	fmt.Println(r.Allowed)
	// Output:
	// true
	// false
	// true
}

func ExampleLimiter_Stats() {
	ctx := context.Background()
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	for range 5 {
		_, _ = limiter.Allow(ctx, "user:42", "/login", ratelimit.PerMinute(2))
	}
	fmt.Printf("%+v\n", limiter.Stats())
	// Output: {Allowed:2 Denied:3 Remembered:0 Errors:0 Unasked:0}
}

func ExampleKey() {
	fmt.Println(ratelimit.Key("user:42", "/login"))
	fmt.Println(ratelimit.Key("ip:2001:db8::/64", "GET /orders/{id}"))
	// Output:
	// ratelimit:user:42:/login
	// ratelimit:ip:2001:db8::/64:GET /orders/%7Bid%7D
}

func ExampleOpen() {
	limiter, err := ratelimit.Open(context.Background(), "redis://localhost:6379/0", ratelimit.Config{Prefix: "shop:"})
	if err != nil {
		panic(err)
	}
	fmt.Println(limiter.Close()) // it has not connected
	_, err = ratelimit.Open(context.Background(), "localhost:6379", ratelimit.Config{})
	fmt.Println(err)
	// Output:
	// <nil>
	// ratelimit: parse cache URL: redis: invalid URL scheme: localhost
}

func ExampleLimit() {
	fmt.Println(ratelimit.PerMinute(100))
	fmt.Println(ratelimit.PerHour(1000).By(ratelimit.FixedWindow).Named("hourly"))
	fmt.Println(ratelimit.Limit{Max: 10, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 20})
	// Output:
	// 100 per 1m0s (sliding window)
	// hourly: 1000 per 1h0m0s (fixed window)
	// 10 per 1s (GCRA, burst 20)
}

func ExampleResults() {
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	// A plan that has no limits is a mistake, and admits nobody.
	rs, err := limiter.AllowAll(context.Background(), "user:42", "/search")
	fmt.Println(rs.Allowed(), errors.Is(err, ratelimit.ErrLimit))
	// Output: false true
}
