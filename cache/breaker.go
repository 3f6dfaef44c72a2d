package cache

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// errBroken is the answer while the store is left alone.
var errBroken = errors.New("cache: the store has failed repeatedly and is left alone for a while")

const (
	// breakAfter is how many calls in a row must fail before the store is left
	// alone.
	breakAfter = 5
	// breakFor is for how long at first; it doubles with each trial that fails,
	// up to breakForMost.
	breakFor     = 250 * time.Millisecond
	breakForMost = 2 * time.Second
	// trialFor is how long a trial is waited for before there is another, longer
	// than any time-out: no single call may keep the store left alone.
	trialFor = 10 * time.Second
	// hurried is how long a call must have waited, at least, for its caller's
	// deadline to count against the store.
	hurried = 100 * time.Millisecond
)

// breaker keeps a store that does not answer from slowing every call: after some
// failures in a row calls fail at once, but for one at a time that tries.
type breaker struct {
	failures atomic.Int64 // in a row
	until    atomic.Int64 // in nanoseconds of now; 0: closed
	base     time.Time
	logger   *slog.Logger

	mu    sync.Mutex
	trial int64         // when the one that is under way began, in nanoseconds of now; 0: none is; guarded by mu
	pause time.Duration // the present one; guarded by mu
}

func newBreaker(logger *slog.Logger) *breaker { return &breaker{base: time.Now(), logger: logger} }

func (b *breaker) now() int64 { return int64(time.Since(b.base)) + 1 }

// enter reports whether a call may be made.
func (b *breaker) enter() bool {
	until := b.until.Load()
	if until == 0 {
		return true
	}
	if b.now() < until {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() == 0 {
		return true // closed meanwhile
	}
	now := b.now()
	if b.trial != 0 && now-b.trial < int64(trialFor) {
		return false
	}
	b.trial = now
	return true
}

// leave notes how a call ended that enter permitted.
func (b *breaker) leave(ctx context.Context, err error, took func() time.Duration) {
	switch {
	case err == nil:
		if b.failures.Load() != 0 || b.until.Load() != 0 {
			b.close()
		}
	case errors.Is(err, context.Canceled) || ctx.Err() != nil && took() < hurried:
		b.unknown() // says nothing of the store
	case unavailable(err):
		b.failed(err)
	default:
		b.close() // it answered
	}
}

func (b *breaker) close() {
	b.failures.Store(0)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Swap(0) != 0 {
		b.logger.Info("the cache's store answers again")
	}
	b.trial, b.pause = 0, 0
}

// unknown ends a trial that has told nothing.
func (b *breaker) unknown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trial = 0
}

func (b *breaker) failed(err error) {
	if b.failures.Add(1) < breakAfter && b.until.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.Load() > b.now() {
		return // a call that was under way before
	}
	b.trial = 0
	if b.pause == 0 {
		b.logger.Warn("the cache's store does not answer: it is left alone, with a trial now and then", "error", err)
	}
	b.pause = min(max(2*b.pause, breakFor), breakForMost)
	b.until.Store(b.now() + int64(b.pause))
}
