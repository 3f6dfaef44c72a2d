package ratelimit

import (
	"sync/atomic"
	"time"
)

const (
	// breakAfter is how many failures in a row open the breaker.
	breakAfter = 5
	// breakFor is how long nobody asks Redis then. After that one call does, and
	// the others go on as before until it is answered.
	breakFor = 500 * time.Millisecond
)

// breaker keeps a dead Redis from delaying each call. Times are from the
// Limiter's start on.
type breaker struct {
	failures atomic.Int32 // in a row
	closedAt atomic.Int64 // when the next call may ask; 0: all may
}

// allow reports whether to ask Redis.
func (b *breaker) allow(now time.Duration) bool {
	at := b.closedAt.Load()
	return at == 0 || int64(now) >= at && b.closedAt.CompareAndSwap(at, int64(now+breakFor))
}

// wait is how long the breaker stays open.
func (b *breaker) wait(now time.Duration) time.Duration {
	return max(0, time.Duration(b.closedAt.Load())-now)
}

// succeeded reports whether this closed the breaker.
func (b *breaker) succeeded() bool {
	if b.failures.Load() == 0 {
		return false
	}
	b.failures.Store(0)
	return b.closedAt.Swap(0) != 0
}

// failed reports whether this opened the breaker.
func (b *breaker) failed(now time.Duration) bool {
	n := b.failures.Add(1)
	if n >= breakAfter {
		b.closedAt.Store(int64(now + breakFor))
	}
	return n == breakAfter
}
