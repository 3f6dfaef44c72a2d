// Package near keeps entries of a cache in the process, and owns the format in
// which invalidations are broadcast to all who do.
//
// A [Layer] is made for one Freshet instance and given to package cache:
//
//	layer, err := near.New(conn, near.Config{Name: "shop"})
//	…
//	defer layer.Close()
//	c, err := cache.Open(ctx, url, cache.Config{Near: layer})
//
// It keeps entries only while it is certain that it hears of every invalidation:
// those of the active invalidator and those of every other process that has a
// layer. It is certain while its own heartbeats come back through the server in
// time, an invalidator is heard, and no sender's numbers have a gap. Whenever it
// cannot be, it is empty and every read goes to the store. A fill that raced an
// invalidation, or a time of uncertainty, is refused.
//
// What nobody broadcasts, a write by any other client, is seen after
// [Config].TTL at the latest. What is broadcast and lost is found within
// [Config].Patience. DESIGN.md beside this file has the reasons.
//
// # Broadcasts
//
// Each sender, the active invalidator and every library instance that has a
// layer, numbers its messages on a subject of its own,
// freshet.<name>.invalidated.<sender>, over core NATS. Core NATS delivers at
// most once, so the numbers are what makes a loss evident: a receiver that
// finds one missing, or that has not heard a sender's heartbeat for longer than
// its bound, must treat everything it keeps as possibly stale.
//
// A message is JSON of one of two kinds, told apart by "kind":
//
//	{"kind":"invalidate","sender":"inv-7F","n":12,"keys":["order:42"],"patterns":["orders:list:*"],
//	 "tags":["client:7"],"all_tags":false,"epoch":"7301:1:0","lsn":"0/1A2B3C8"}
//	{"kind":"heartbeat","sender":"inv-7F","n":12,"every":1000000000,"role":"invalidator","age":83000000000}
//
// An invalidation carries the number after the one before it; the first of a
// sender's life is 1. A heartbeat carries the number of the last invalidation
// sent, when to expect the next heartbeat, the sender's role (invalidator or
// library) and its age; times are in nanoseconds. A sender that ends in good
// order says so by a last heartbeat with "bye":true. Keys, patterns and tags are
// as they are in Redis, with the prefix. An invalidation that is too large for
// one message is sent as several, each with a number of its own.
package near
