package cache_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func ExampleTyped() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()
	stock := cache.For[int](c, cache.Spec[int64]{Prefix: "stock", TTL: time.Minute})

	_ = stock.Set(ctx, 1, 10)
	fmt.Println(stock.Get(ctx, 1))
	fmt.Println(stock.GetMany(ctx, []int64{1, 2}))
	fmt.Println(stock.Touch(ctx, 1))
	fmt.Println(stock.Delete(ctx, 1, 2))
	fmt.Println(stock.Exists(ctx, 1))
	// Output:
	// 10 <nil>
	// map[1:10] <nil>
	// true <nil>
	// <nil>
	// false <nil>
}

func ExampleTyped_GetOrSetMany() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()
	clients := cache.For[customer](c, cache.Spec[int]{Prefix: "client", TTL: time.Hour})

	// select id, name from clients where id = any($1)
	load := func(_ context.Context, missing []int) (map[int]customer, error) {
		slices.Sort(missing)
		fmt.Println("asking for", missing)
		return map[int]customer{7: {7, "Ada"}, 8: {8, "Bob"}}, nil // there is no 9
	}
	for range 2 {
		found, err := clients.GetOrSetMany(ctx, []int{7, 8, 9}, load)
		fmt.Println(len(found), found[7].Name, err)
	}
	// Output:
	// asking for [7 8 9]
	// 2 Ada <nil>
	// 2 Ada <nil>
}

func ExampleBatchError() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()
	key := func(id int) string { return cache.Key("client", id) }
	_ = cache.Set(ctx, c, key(7), "Ada", time.Hour)

	found, err := cache.GetOrSetMany(ctx, c, []int{7, 8}, key, time.Hour, func(context.Context, []int) (map[int]string, error) {
		return nil, errors.New("the database is away")
	})
	fmt.Println(found) // what was cached is there all the same
	var some *cache.BatchError
	if errors.As(err, &some) {
		fmt.Println(some.Failed["client:8"])
	}
	// Output:
	// map[7:Ada]
	// the database is away
}

// gobCodec stores values as encoding/gob has them.
type gobCodec struct{}

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func ExampleCodec() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Codec: gobCodec{}}) // no other language reads it
	defer c.Close()

	_ = cache.Set(ctx, c, "client:7", customer{7, "Ada"}, time.Hour)
	fmt.Println(cache.Get[customer](ctx, c, "client:7"))
	// Output:
	// {7 Ada} <nil>
}

// printer prints what it observes.
type printer struct{}

func (printer) Observe(ctx context.Context, op cache.Op, key string) (context.Context, func(cache.Outcome, error)) {
	return ctx, func(outcome cache.Outcome, err error) { fmt.Printf("%s %s %q %v\n", op, key, outcome, err) }
}

func ExampleObserver() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{Observer: printer{}})
	defer c.Close()

	for range 2 {
		_, _ = cache.GetOrSet(ctx, c, "client:7", time.Hour, func(context.Context) (string, error) { return "Ada", nil })
	}
	// Output:
	// load client:7 "" <nil>
	// get_or_set client:7 "miss" <nil>
	// get_or_set client:7 "hit" <nil>
}
