package invalidator

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff doubles a pause from min to max, with jitter so that several
// processes that lost the same server do not return to it in step.
type backoff struct {
	min, max time.Duration
	next     time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// wait pauses; it returns early when ctx ends.
func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(b.next*2, b.min), b.max)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
