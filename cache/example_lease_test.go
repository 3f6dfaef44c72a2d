package cache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func ExampleLease_Tag() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	lease, err := c.Lease(ctx, "order:42")
	if err != nil {
		panic(err)
	}
	client := 7 // read from the order
	if err := lease.Tag(ctx, time.Hour, cache.Key("client", client)); err != nil {
		panic(err)
	}
	fmt.Println(lease.Fill(ctx, "order 42 of Ada", time.Hour)) // the client is read in between
	_ = c.InvalidateTags(ctx, "client:7")
	_, err = cache.Get[string](ctx, c, "order:42")
	fmt.Println(errors.Is(err, cache.ErrMiss))
	// Output:
	// true <nil>
	// true
}

func ExampleLease_Remove() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	_ = cache.Set(ctx, c, "client:8", customer{ID: 8, Name: "Bob"}, time.Hour)
	lease, err := c.Refresh(ctx, "client:8")
	if err != nil {
		panic(err)
	}
	if _, err := loadCustomer(ctx, 8); errors.Is(err, cache.ErrNotFound) {
		fmt.Println(lease.Remove(ctx, time.Minute))
	}
	// For a minute nobody asks the database.
	_, err = cache.GetOrSet(ctx, c, "client:8", time.Hour, func(ctx context.Context) (customer, error) {
		return loadCustomer(ctx, 8)
	})
	fmt.Println(errors.Is(err, cache.ErrNotFound))
	// Output:
	// asking the database
	// true <nil>
	// true
}

func ExampleLease_Held() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	first, _ := c.Lease(ctx, "client:7")
	second, _ := c.Lease(ctx, "client:7") // somebody loads already
	fmt.Println(first.Held(), second.Held())
	fmt.Println(first.Release(ctx)) // no value came of it
	third, _ := c.Lease(ctx, "client:7")
	fmt.Println(third.Held())
	// Output:
	// true false
	// <nil>
	// true
}
