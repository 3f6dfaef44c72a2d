package cache_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func ExampleLeaseKey() {
	// A client in another language that invalidates removes this name first.
	fmt.Println(cache.LeaseKey("order:42"))
	fmt.Println(cache.LeaseKey("{client:7}:orders"))
	// Output:
	// freshet:lease:{order:42}
	// freshet:lease:{client:7}:orders
}

func ExampleEscapePattern() {
	name := "50% [sale]*" // as somebody has typed it
	pattern := "search:" + cache.EscapePattern(name) + ":*"
	fmt.Println(pattern)
	fmt.Println(cache.MatchPattern(pattern, "search:50% [sale]*:page:2"))
	// Output:
	// search:50% \[sale\]\*:*
	// true
}

func ExampleParseToken() {
	// The token that a client brings along, say in a header. An empty one is no
	// error: it asks for no particular moment.
	token, err := cache.ParseToken("7301:00000001:0/1A2B3C8")
	fmt.Println(token, err)
	_, err = cache.ParseToken("made up")
	fmt.Println(err)
	// Output:
	// 7301:00000001:0/1A2B3C8 <nil>
	// token "made up": want system:timeline:lsn
}

func ExampleParseLSN() {
	lsn, err := cache.ParseLSN("0/1A2B3C8")
	fmt.Println(uint64(lsn), lsn, err)
	// Output:
	// 27440072 0/1A2B3C8 <nil>
}

func ExampleIsFull() {
	// What Redis says when maxmemory is reached and nothing may be evicted.
	err := fmt.Errorf("set: %w", errors.New("OOM command not allowed when used memory > 'maxmemory'"))
	fmt.Println(cache.IsFull(err), cache.IsFull(cache.ErrUnavailable))
	// Output:
	// true false
}

func ExampleDial() {
	// For a client of your own to the same Redis, such as for a queue.
	rdb, err := cache.Dial("redis://localhost:6379/1", time.Second)
	if err != nil {
		panic(err)
	}
	defer rdb.Close()
	fmt.Println(rdb)
	_, err = cache.Dial("redis://a:6379,b:6379", time.Second)
	fmt.Println(err)
	// Output:
	// Redis<localhost:6379 db:1>
	// parse cache URL: the host has a comma: write further addresses as parameters, ?addr=host:port
}

func ExampleOpenApplier() {
	a, err := cache.OpenApplier("redis://localhost:6379", cache.ApplierConfig{Name: "shop"})
	if err != nil {
		panic(err)
	}
	fmt.Println(a.Close())
	_, err = cache.OpenApplier("redis://localhost:6379", cache.ApplierConfig{})
	fmt.Println(err != nil) // it needs a name
	// Output:
	// <nil>
	// true
}
