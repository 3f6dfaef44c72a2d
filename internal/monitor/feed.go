package monitor

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// feedRate is how many items a second are shown. What is beyond is counted.
	feedRate = 20
	// FeedNames is how many changes and how many targets of an item are shown.
	FeedNames = 8
)

// FeedItem is what one batch changed in Redis, shortened.
type FeedItem struct {
	Time    time.Time    `json:"time"`
	Changes []FeedChange `json:"changes,omitempty"`
	Rows    int          `json:"rows"` // changes, shown or not
	Keys    []string     `json:"keys,omitempty"`
	// Patterns come in an item of their own, when their pass has ended.
	Patterns []string `json:"patterns,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Targets  int      `json:"targets"` // keys, patterns and tags, shown or not; of very large batches a part
	Removed  int      `json:"removed"` // values that were there
	Skipped  int64    `json:"skipped"` // items since the last one that were not shown
}

// FeedChange is a row change of an item.
type FeedChange struct {
	Table   string  `json:"table"`
	Op      string  `json:"op"`
	Latency float64 `json:"latency"` // seconds from commit to Redis' reply
}

// feed shows items to those who follow, no more of them than can be read.
type feed struct {
	hub     *hub
	limit   *rate.Limiter
	skipped *atomic.Int64
}

func newFeed(h *hub) feed {
	return feed{hub: h, limit: rate.NewLimiter(feedRate, feedRate), skipped: &atomic.Int64{}}
}

// show never waits: it is called between two batches.
func (f *feed) show(item FeedItem) {
	if !f.hub.followed() {
		return
	}
	if !f.limit.Allow() {
		f.skipped.Add(1)
		return
	}
	item.Skipped = f.skipped.Swap(0)
	f.hub.send("feed", item)
}

// Following reports whether anybody follows: what nobody sees need not be prepared.
func (w *Watch) Following() bool { return w.hub.followed() }
