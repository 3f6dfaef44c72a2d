package near_test

import (
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
