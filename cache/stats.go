package cache

import "sync/atomic"

// Stats counts what a Cache has done since it was opened.
type Stats struct {
	Hits    int64 // reads that found a value
	Misses  int64 // reads that found none
	Absent  int64 // reads that found it known that there is nothing
	Loads   int64 // calls of loaders
	Refused int64 // loaded values that were not stored, as an invalidation came in between
	Waits   int64 // loads that began by waiting for another process
	Shared  int64 // callers served by another caller's load
	Stale   int64 // reads with a bound that nothing in the cache was proven to meet
	Errors  int64 // calls that the store failed
}

type counters struct {
	hits, misses, absent, loads, refused, waits, shared, stale, errors atomic.Int64
}

// Stats returns a snapshot of the counters.
func (c *Cache) Stats() Stats {
	n := &c.counters
	return Stats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), Absent: n.absent.Load(), Loads: n.loads.Load(),
		Refused: n.refused.Load(), Waits: n.waits.Load(), Shared: n.shared.Load(), Stale: n.stale.Load(), Errors: n.errors.Load(),
	}
}
