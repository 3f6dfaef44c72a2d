package ratelimit_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

// press makes callers press on one limit from several processes' limiters until
// so many were admitted, and returns when each was, by the store's clock. A
// caller that is denied waits as long as it is told.
func press(t *testing.T, limiters []*ratelimit.Limiter, limit ratelimit.Limit, callers, enough int) []time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := fresh()
	var mu sync.Mutex
	var admitted []time.Time
	var wg sync.WaitGroup
	for i := range callers {
		l := limiters[i%len(limiters)]
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := l.Allow(ctx, id, "/press", limit)
				if err != nil && ctx.Err() == nil {
					t.Errorf("allow: %v", err)
				}
				if !r.Allowed {
					select {
					case <-ctx.Done():
					case <-time.After(r.RetryAfter):
					}
					continue
				}
				mu.Lock()
				// The last unit counts for a window and a microsecond.
				admitted = append(admitted, r.ResetAt.Add(-limit.Window-time.Microsecond))
				done := len(admitted) >= enough
				mu.Unlock()
				if done {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if len(admitted) < enough {
		t.Fatalf("%d admitted in a minute, want %d", len(admitted), enough)
	}
	slices.SortFunc(admitted, time.Time.Compare)
	return admitted
}

// crowded looks at every window and returns what is wrong with one.
func crowded(admitted []time.Time, limit ratelimit.Limit) error {
	for i := limit.Max; i < len(admitted); i++ {
		if apart := admitted[i].Sub(admitted[i-limit.Max]); apart <= limit.Window {
			return fmt.Errorf("%d were admitted within %v, of %d admissions", limit.Max+1, apart, len(admitted))
		}
	}
	return nil
}

func several(t *testing.T, url string) []*ratelimit.Limiter {
	t.Helper()
	var limiters []*ratelimit.Limiter
	for range 4 {
		limiters = append(limiters, open(t, url, generous()))
	}
	return limiters
}

// TestNeverMoreThanMaxInAnyWindow is the promise of the sliding window, with
// several processes' worth of callers, on the servers' own clocks.
func TestNeverMoreThanMaxInAnyWindow(t *testing.T) {
	t.Parallel()
	limit := ratelimit.Limit{Max: 20, Window: 50 * time.Millisecond}
	for name, limiters := range map[string]func(t *testing.T) []*ratelimit.Limiter{
		"memory": func(t *testing.T) []*ratelimit.Limiter {
			t.Helper()
			return []*ratelimit.Limiter{open(t, "memory://", generous())}
		},
		"redis":   func(t *testing.T) []*ratelimit.Limiter { t.Helper(); return several(t, redisURL(t)) },
		"cluster": func(t *testing.T) []*ratelimit.Limiter { t.Helper(); return several(t, clusterURL(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admitted := press(t, limiters(t), limit, 32, 500)
			if err := crowded(admitted, limit); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCrowdIsNoticed: the check must be able to fail.
func TestCrowdIsNoticed(t *testing.T) {
	t.Parallel()
	limit := ratelimit.Limit{Max: 20, Window: 50 * time.Millisecond}
	for name, variant := range map[string][2]string{
		"a window that is too short":    {"+ window >= now, entry", "+ window - 2000 >= now, entry"},
		"an off by one":                 {"if used2 > max then\n\t\t\tlocal _", "if used2 > max + 1 then\n\t\t\tlocal _"},
		"a log that is not always kept": {"hi + n, last, till)", "hi + (hi % 10 == 9 and 0 or n), last, till)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limiters := several(t, redisURL(t))
			for _, l := range limiters {
				ratelimit.Rewrite(t, l, variant[0], variant[1])
			}
			if crowded(press(t, limiters, limit, 32, 500), limit) == nil {
				t.Error("nothing was noticed")
			}
		})
	}
}
