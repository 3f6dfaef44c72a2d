package near_test

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
)

// serve starts a NATS server, for the example to stand alone.
func serve() *server.Server {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("no NATS server")
	}
	return s
}

// process is a service that keeps entries near. No invalidator serves this one:
// the processes tell each other what they change.
func process(url string) (*near.Layer, func()) {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		panic(err)
	}
	layer, err := near.New(conn, near.Config{Name: "shop", NoInvalidator: true})
	if err != nil {
		panic(err)
	}
	return layer, func() {
		_ = layer.Close()
		conn.Close()
	}
}

// A service keeps entries near, in front of the store that Freshet keeps fresh.
func Example() {
	nats := serve() // in production: nats.Connect to the server that Freshet uses
	defer nats.WaitForShutdown()
	defer nats.Shutdown()
	layer, closeLayer := process(nats.ClientURL())
	defer closeLayer()
	ctx := context.Background()
	c, err := cache.Open(ctx, "memory://", cache.Config{Near: layer}) // in production redis://… and a Source
	if err != nil {
		panic(err)
	}
	defer c.Close() // first of the three

	for !layer.Stats().Sound { // for the first milliseconds every read goes to the store
		<-time.After(time.Millisecond)
	}
	load := func(context.Context) (string, error) { return "open", nil }
	for range 3 {
		if _, err := cache.GetOrSet(ctx, c, "order:42", time.Minute, load); err != nil {
			panic(err)
		}
	}
	s := c.Stats()
	fmt.Println(s.Loads, "load,", s.Hits, "from the store,", s.NearHits, "from the process")
	// Output: 1 load, 1 from the store, 1 from the process
}

// Two processes each keep entries in front of the same Redis. Package cache makes
// these calls when a layer is its Config's Near.
func ExampleNew() {
	nats := serve()
	defer nats.WaitForShutdown()
	defer nats.Shutdown()
	reader, closeReader := process(nats.ClientURL())
	defer closeReader()
	writer, closeWriter := process(nats.ClientURL())
	defer closeWriter()
	heard := make(chan struct{})
	defer reader.Listen(func(i cache.Invalidation) {
		if len(i.Keys) == 1 && i.Keys[0] == "order:42" {
			close(heard)
		}
	})()

	mark, ok := reader.Mark()
	for !ok { // for the first milliseconds
		<-time.After(time.Millisecond)
		mark, ok = reader.Mark()
	}
	// Here the reader asks Redis.
	reader.Put("order:42", cache.NearEntry{Value: "open", TTL: time.Minute, Size: 4}, mark)
	fmt.Println(reader.Get("order:42"))

	// Here the writer deletes the key in Redis.
	writer.Invalidated(cache.Invalidation{Keys: []string{"order:42"}})
	<-heard
	fmt.Println(reader.Get("order:42"))
	// What was read before that comes too late.
	reader.Put("order:42", cache.NearEntry{Value: "open", TTL: time.Minute, Size: 4}, mark)
	fmt.Println(reader.Get("order:42"))
	// Output:
	// open true
	// <nil> false
	// <nil> false
}

func ExampleDecode() {
	data, err := near.Broadcast{Sender: "inv-7F", N: 12, Keys: []string{"order:42"}}.Encode()
	if err != nil {
		panic(err)
	}
	said, _, err := near.Decode(data)
	fmt.Println(near.Subject("shop", said.Sender), said.N, said.Keys, err)
	// Output: freshet.shop.invalidated.inv-7F 12 [order:42] <nil>
}
