package consumer

import (
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// maxSamples bounds the samples kept while the stream is far behind. The oldest are kept: they are passed first.
const maxSamples = 4096

// markClock tells the time of a mark: the clock read before a WAL insert position that the mark has passed. Everything
// committed before that time has a commit LSN below the mark.
type markClock struct {
	mu      sync.Mutex
	samples []clockSample // ascending in both
	passed  time.Time     // of the last sample passed
}

type clockSample struct {
	first, at time.Time // when insert was read first and last
	insert    cdc.LSN
}

// add records that at was read before the WAL was inserted up to insert.
func (c *markClock) add(at time.Time, insert cdc.LSN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.samples)
	switch {
	case n > 0 && c.samples[n-1].insert == insert:
		c.samples[n-1].at = at // no WAL in between: the later clock holds just as well
	case n < maxSamples:
		c.samples = append(c.samples, clockSample{first: at, at: at, insert: insert})
	default:
		c.samples[n-1] = clockSample{first: at, at: at, insert: insert}
	}
}

// behind returns how long ago the WAL had passed lsn already.
func (c *markClock) behind(lsn cdc.LSN, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.samples {
		if c.samples[i].insert > lsn {
			return now.Sub(c.samples[i].first)
		}
	}
	return 0
}

// at returns the time of a mark at lsn; zero while nothing is known.
func (c *markClock) at(lsn cdc.LSN) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.samples) && c.samples[n].insert <= lsn {
		n++
	}
	if n > 0 {
		c.passed = c.samples[n-1].at
		c.samples = c.samples[:copy(c.samples, c.samples[n:])]
	}
	return c.passed
}

// walGeometry is the size of the WAL's pages and files.
type walGeometry struct {
	block, segment uint64
}

const (
	pageHeader = 24 // of a WAL page
	fileHeader = 40 // of a WAL file's first page
)

// settle rounds an insert position that stands behind a page header down to the page's start. On an idle server the stream ends
// there: it would never pass the header, which nothing but the next record fills.
func (g walGeometry) settle(insert cdc.LSN) cdc.LSN {
	if g.block == 0 || g.segment == 0 {
		return insert
	}
	if in := uint64(insert) % g.segment; in <= fileHeader {
		return insert - cdc.LSN(in)
	}
	if in := uint64(insert) % g.block; in <= pageHeader {
		return insert - cdc.LSN(in)
	}
	return insert
}

// last returns the time of the last sample that a mark has passed; zero while nothing is known.
func (c *markClock) last() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passed
}
