package cache

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// Counts counts what a Cache has done since it was opened.
type Counts struct {
	Hits      int64 // reads that found a value in the store
	NearHits  int64 // reads that the near layer served
	Misses    int64 // reads that found none
	Absent    int64 // reads that found it known that there is nothing
	Loads     int64 // calls of loaders
	Refused   int64 // loaded values that were not stored, as an invalidation came in between
	Refreshes int64 // loads ahead of a value's end
	Fallbacks int64 // expired values served as the loader failed
	Waits     int64 // loads that began by waiting for another process
	Shared    int64 // callers served by another caller's load
	Stale     int64 // reads with a bound, or by a loader, that nothing in the cache was proven to meet
	Errors    int64 // calls that the store failed
}

// Stats is a snapshot of a Cache's counts.
type Stats struct {
	// Counts are of all keys.
	Counts
	// Prefixes holds the counts by the part of the key before its first colon,
	// Config.Prefix left aside. The empty prefix stands for keys without a colon,
	// and for all prefixes beyond the first 100.
	Prefixes map[string]Counts
}

// maxPrefixes bounds how many prefixes are counted apart.
const maxPrefixes = 100

type counters struct {
	hits, near, misses, absent, loads, refused, refreshes, fallbacks, waits, shared, stale, errors atomic.Int64

	strangers trend // of the keys that nothing is remembered of

	garbled atomic.Bool // a value that was there could not be decoded; it was logged
}

// warnGarbled says, once for a prefix, that a value is loaded anew as it cannot be
// decoded. Now and then that is another release's; with a type that the codec cannot
// bring back, such as an interface, it is every one, and nothing is ever a hit.
func (c *Cache) warnGarbled(n *counters, key string, err error) {
	if !n.garbled.Swap(true) {
		c.cfg.Logger.Warn("a value in the cache cannot be decoded, and is loaded anew; others like it are not logged", "key", key, "error", err)
	}
}

func (n *counters) counts() Counts {
	return Counts{
		Hits: n.hits.Load(), NearHits: n.near.Load(), Misses: n.misses.Load(), Absent: n.absent.Load(), Loads: n.loads.Load(),
		Refused: n.refused.Load(), Refreshes: n.refreshes.Load(), Fallbacks: n.fallbacks.Load(), Waits: n.waits.Load(),
		Shared: n.shared.Load(), Stale: n.stale.Load(), Errors: n.errors.Load(),
	}
}

// prefixCounters are the counters by prefix. Reading takes no lock.
type prefixCounters struct {
	other    counters
	mu       sync.Mutex // held while byPrefix is replaced
	byPrefix atomic.Pointer[map[string]*counters]
}

// of returns the counters for a key without Config.Prefix.
func (p *prefixCounters) of(key string) *counters {
	i := strings.IndexByte(key, ':')
	if i <= 0 {
		return &p.other
	}
	if known := p.byPrefix.Load(); known != nil {
		if n := (*known)[key[:i]]; n != nil {
			return n
		}
		if len(*known) >= maxPrefixes {
			return &p.other
		}
	}
	return p.add(strings.Clone(key[:i]))
}

func (p *prefixCounters) add(prefix string) *counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := map[string]*counters{}
	if known := p.byPrefix.Load(); known != nil {
		if n := (*known)[prefix]; n != nil {
			return n
		}
		if len(*known) >= maxPrefixes {
			return &p.other
		}
		maps.Copy(next, *known)
	}
	n := &counters{}
	next[prefix] = n
	p.byPrefix.Store(&next)
	return n
}

// Stats returns a snapshot of the counts.
func (c *Cache) Stats() Stats {
	s := Stats{Prefixes: map[string]Counts{}}
	add := func(prefix string, n Counts) {
		if n == (Counts{}) {
			return
		}
		s.Prefixes[prefix] = n
		s.Counts = s.plus(n)
	}
	add("", c.counters.other.counts())
	if known := c.counters.byPrefix.Load(); known != nil {
		for prefix, n := range *known {
			add(prefix, n.counts())
		}
	}
	return s
}

func (n Counts) plus(m Counts) Counts {
	return Counts{
		Hits: n.Hits + m.Hits, NearHits: n.NearHits + m.NearHits, Misses: n.Misses + m.Misses, Absent: n.Absent + m.Absent,
		Loads: n.Loads + m.Loads, Refused: n.Refused + m.Refused, Refreshes: n.Refreshes + m.Refreshes,
		Fallbacks: n.Fallbacks + m.Fallbacks, Waits: n.Waits + m.Waits, Shared: n.Shared + m.Shared,
		Stale: n.Stale + m.Stale, Errors: n.Errors + m.Errors,
	}
}
