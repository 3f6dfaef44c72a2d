package consumer

import (
	"sync"
	"time"
)

// visibilityBounds are the upper bounds of the buckets. One more bucket holds what is above the last.
var visibilityBounds = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second, 60 * time.Second,
}

// Histogram counts durations.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // upper bounds in seconds; the last bucket has none
	Counts []uint64  `json:"counts"` // in each bucket, not cumulative; one more than Bounds
	Count  uint64    `json:"count"`
	Sum    float64   `json:"sum"` // seconds
}

// histogram counts waits as they happen.
type histogram struct {
	mu     sync.Mutex
	counts [len(visibilityBounds) + 1]uint64 // guarded by mu
	count  uint64                            // guarded by mu
	sum    time.Duration                     // guarded by mu
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(visibilityBounds) && d > visibilityBounds[i] {
		i++
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[i]++
	h.count++
	h.sum += d
}

func (h *histogram) snapshot() Histogram {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := Histogram{Count: h.count, Sum: h.sum.Seconds(), Counts: append([]uint64(nil), h.counts[:]...)}
	for _, b := range visibilityBounds {
		out.Bounds = append(out.Bounds, b.Seconds())
	}
	return out
}
