package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

type customer struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

func loadCustomer(_ context.Context, id int) (customer, error) {
	fmt.Println("asking the database")
	if id != 7 {
		return customer{}, cache.ErrNotFound
	}
	return customer{7, "Ada"}, nil
}

func Example() {
	ctx := context.Background()
	c, err := cache.Open(ctx, "memory://", cache.Config{}) // in production redis://…
	if err != nil {
		panic(err)
	}
	defer c.Close()

	for range 2 {
		found, err := cache.GetOrSet(ctx, c, "client:7", time.Hour, func(ctx context.Context) (customer, error) {
			return loadCustomer(ctx, 7)
		})
		fmt.Println(found.Name, err)
	}
	// Output:
	// asking the database
	// Ada <nil>
	// Ada <nil>
}

func ExampleGetOrSet_notFound() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{NegativeTTL: time.Minute})
	defer c.Close()

	for range 2 {
		_, err := cache.GetOrSet(ctx, c, "client:8", time.Hour, func(ctx context.Context) (customer, error) {
			return loadCustomer(ctx, 8)
		})
		fmt.Println(errors.Is(err, cache.ErrNotFound))
	}
	// Output:
	// asking the database
	// true
	// true
}

func ExampleGet() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_, err := cache.Get[string](ctx, c, "greeting")
	fmt.Println(errors.Is(err, cache.ErrMiss))
	_ = cache.Set(ctx, c, "greeting", "hello", time.Minute)
	fmt.Println(cache.Get[string](ctx, c, "greeting"))
	// Output:
	// true
	// hello <nil>
}

func ExampleGetMany() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.SetMany(ctx, c, map[string]int{"stock:1": 10, "stock:2": 20}, time.Minute)
	fmt.Println(cache.GetMany[int](ctx, c, []string{"stock:1", "stock:2", "stock:3"}))
	// Output:
	// map[stock:1:10 stock:2:20] <nil>
}

func ExampleNoFill() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	// Inside a transaction that has written: what it reads must not be shared.
	inTransaction := func(context.Context) (string, error) { return "uncommitted", nil }
	got, err := cache.GetOrSet(ctx, c, "k", time.Minute, inTransaction, cache.NoFill())
	fmt.Println(got, err)
	fmt.Println(c.Exists(ctx, "k"))
	// Output:
	// uncommitted <nil>
	// false <nil>
}

func ExampleCache_Lease() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	lease, err := c.Lease(ctx, "client:7") // before the database is read
	if err != nil {
		panic(err)
	}
	found, _ := loadCustomer(ctx, 7)
	_ = c.Delete(ctx, "client:7") // somebody changes the client meanwhile
	stored, err := lease.Fill(ctx, found, time.Hour)
	fmt.Println(stored, err)
	// Output:
	// asking the database
	// false <nil>
}

func ExampleCache_Refresh() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "client:7", customer{ID: 7, Name: "before"}, time.Hour)
	lease, err := c.Refresh(ctx, "client:7") // whatever is there
	if err != nil {
		panic(err)
	}
	found, _ := loadCustomer(ctx, 7) // had it found none: lease.Remove
	stored, err := lease.Fill(ctx, found, time.Hour)
	fmt.Println(stored, err)
	// Output:
	// asking the database
	// true <nil>
}

func ExampleCache_Delete() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "k", 1, time.Minute)
	fmt.Println(c.Delete(ctx, "k", "not there"))
	fmt.Println(c.Exists(ctx, "k"))
	// Output:
	// <nil>
	// false <nil>
}

func ExampleCache_InvalidatePattern() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Prefix: "shop:"})
	defer c.Close()

	_ = cache.SetMany(ctx, c, map[string]int{"dashboard:1": 1, "dashboard:2": 2, "order:1": 3}, time.Minute)
	swept, err := c.InvalidatePattern(ctx, "dashboard:*")
	fmt.Println(swept.Removed, err)
	for key := range c.Keys(ctx, "*") {
		fmt.Println(key)
	}
	// Output:
	// 2 <nil>
	// order:1
}

func ExampleCache_Keys() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.SetMany(ctx, c, map[string]int{"a:1": 1, "a:2": 2, "b:1": 3}, time.Minute)
	var keys []string
	for key, err := range c.Keys(ctx, "a:*") {
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	fmt.Println(keys)
	// Output:
	// [a:1 a:2]
}

func ExampleApplier() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()
	_ = cache.Set(ctx, c, "order:42", "old", time.Minute)

	a, err := c.Applier(cache.ApplierConfig{Name: "shop"}) // for Redis: cache.OpenApplier
	if err != nil {
		panic(err)
	}
	defer a.Close()
	loaded, _ := a.Load(ctx)
	fmt.Println("verdict:", loaded.Verdict)
	p := cache.Position{Stream: "s", Epoch: "7301:1:0", LSN: 100, Owner: "me", Rules: "r"}
	_ = a.TakeOver(ctx, p)

	applied, err := a.Apply(ctx, cache.Batch{Keys: []string{"order:42"}, Ahead: 200, Epoch: p.Epoch})
	fmt.Println("removed:", applied.Removed, err)
	p.Seq, p.LSN = 1, 200
	fmt.Println("moved:", a.Move(ctx, p))
	// Output:
	// verdict: lost
	// removed: 1 <nil>
	// moved: <nil>
}

func ExampleAtLeast() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Source: "shop"})
	defer c.Close()
	_ = cache.Set(ctx, c, "order:42", "PENDING", time.Minute)

	// After COMMIT of a change: token, err := cache.TokenFrom(ctx, pool)
	token, _ := cache.ParseToken("7301:00000001:0/1A2B3C8")
	load := func(context.Context) (string, error) { return "PAID", nil }

	// Nothing proves yet that the change has reached the cache.
	fmt.Println(cache.GetOrSet(ctx, c, "order:42", time.Minute, load, cache.AtLeast(token)))
	_, err := cache.Get[string](ctx, c, "order:42", cache.AtLeast(token), cache.OrStaleError())
	fmt.Println(errors.Is(err, cache.ErrStale))
	// Output:
	// PAID <nil>
	// true
}

func ExampleWithin() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Source: "shop"})
	defer c.Close()
	_ = cache.Set(ctx, c, "stock:1", 10, time.Minute)
	a, _ := c.Applier(cache.ApplierConfig{Name: "shop"}) // what freshet run does
	_, _ = a.Load(ctx)
	_ = a.TakeOver(ctx, cache.Position{Epoch: "7301:1:0", Time: time.Now(), Owner: "me"})

	fmt.Println(cache.Get[int](ctx, c, "stock:1", cache.Within(2*time.Second)))
	// Output:
	// 10 <nil>
}

func ExampleCache_Clear() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Prefix: "shop:"})
	defer c.Close()

	_ = cache.SetMany(ctx, c, map[string]int{"a": 1, "b": 2}, time.Minute)
	swept, err := c.Clear(ctx)
	fmt.Println(swept.Removed, err)
	// Output:
	// 2 <nil>
}

func ExampleGetOrSet_ofOtherKeys() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Source: "shop", Logger: quiet})
	defer c.Close()

	// A page of a client that is cached by itself. What the cache has of the client
	// may be from before a change that the page must show, so the loader asks for what
	// is proven to be from after its own beginning.
	page, err := cache.GetOrSet(ctx, c, "page:client:7", time.Hour, func(ctx context.Context) (string, error) {
		token, err := cache.TokenFrom(ctx, pool{})
		if err != nil {
			return "", err
		}
		found, err := cache.GetOrSet(ctx, c, "client:7", time.Hour, func(ctx context.Context) (customer, error) {
			return loadCustomer(ctx, 7)
		}, cache.AtLeast(token))
		return "all about " + found.Name, err
	})
	fmt.Println(page, err)
	// Output:
	// asking the database
	// all about Ada <nil>
}
