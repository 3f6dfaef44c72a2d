// Package near owns the format in which invalidations are broadcast to the
// near caches of an instance.
//
// Each sender, the active invalidator and every library instance that writes,
// numbers its messages on a subject of its own,
// freshet.<name>.invalidated.<sender>, over core NATS. Core NATS delivers at
// most once, so the numbers are what makes a loss evident: a receiver that
// finds one missing, or that has not heard a sender's heartbeat for longer than
// its bound, must treat everything it keeps as possibly stale.
//
// A message is JSON of one of two kinds, told apart by "kind":
//
//	{"kind":"invalidate","sender":"inv-7F","n":12,"keys":["order:42"],"patterns":["orders:list:*"],
//	 "tags":["client:7"],"all_tags":false,"epoch":"7301:1:0","lsn":"0/1A2B3C8"}
//	{"kind":"heartbeat","sender":"inv-7F","n":12,"every":1000000000}
//
// An invalidation carries the number after the one before it; the first of a
// sender's life is 1. A heartbeat carries the number of the last invalidation
// sent and, in nanoseconds, when to expect the next heartbeat. A sender that
// ends in good order says so by a last heartbeat with "bye":true. Keys, patterns
// and tags are as they are in Redis, with the prefix. An invalidation that is
// too large for one message is sent as several, each with a number of its own.
package near
