package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// TestFillBegunBeforeSweepIsRefused puts a fill before, between and behind the
// passes of a sweep. Only a fill that began after the change may survive; the
// broken sweeps let others survive too.
func TestFillBegunBeforeSweepIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		variant cache.SweepVariant
		between bool // fill between the passes instead of after them
		stale   bool // the variant is broken: the stale value survives
	}{
		"behind the sweep":                       {},
		"between the passes":                     {between: true},
		"behind the sweep, values only":          {variant: cache.SweepVariant{OnePass: true}, stale: true},
		"between the passes, in the wrong order": {variant: cache.SweepVariant{ValuesFirst: true}, between: true, stale: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t)
			b := open(t, server.URL(), server.Client(), cache.Config{})
			mustSet(t, b.cache, "other:1", "other:2") // the sweep has something to look at
			begun, fill, filled := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				defer close(filled)
				_, err := cache.GetOrSet(t.Context(), b.cache, "dash:1", time.Minute, func(context.Context) (string, error) {
					close(begun) // what was read is old from here on
					<-fill
					return "old", nil
				})
				if err != nil {
					t.Error(err)
				}
			}()
			<-begun
			release := func() {
				close(fill)
				<-filled
			}
			if test.between {
				test.variant.BetweenPasses = release
			}
			a := b.another(t, test.variant.Vary(cache.ApplierConfig{Name: "test"}))
			if _, err := a.Sweep(t.Context(), []string{"dash:*"}); err != nil {
				t.Fatal(err)
			}
			if !test.between {
				release()
			}
			if got := present(t, b.cache, "dash:1")["dash:1"]; got != test.stale {
				t.Errorf("the stale value survived: got %v, want %v", got, test.stale)
			}
		})
	}
}

// TestSweepsAmongFills: readers and fillers of many keys, a database that
// changes, and sweeps after each change. Once a change's sweep has ended, no
// value from before the change may be read that was stored since.
func TestSweepsAmongFills(t *testing.T) {
	t.Parallel()
	const keys, changes = 200, 25
	onEveryStore(t, cache.Config{}, func(b *backend) {
		t := b.t
		a := b.another(t, cache.SweepVariant{Count: 10}.Vary(cache.ApplierConfig{Name: "test", ScanShare: 1}))
		var version, swept atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					key := fmt.Sprintf("dash:%d", (i*7)%keys)
					before := swept.Load()
					got, err := cache.GetOrSet(ctx, b.cache, key, time.Minute, func(context.Context) (int64, error) {
						read := version.Load()
						if i%5 == 0 {
							_ = pause(ctx, time.Millisecond) // a slow query
						}
						return read, nil
					})
					switch {
					case ctx.Err() != nil:
						return
					case err != nil:
						t.Error(err)
						return
					}
					// A shared load that began before the sweep may still be
					// returned; what is stored may not be that old.
					stored, err := cache.Get[int64](ctx, b.cache, key)
					if err == nil && stored < before {
						t.Errorf("%s: version %d is stored after the sweep of %d, returned %d", key, stored, before, got)
					}
				}
			})
		}
		for range changes {
			now := version.Add(1)
			if _, err := a.Sweep(ctx, []string{"dash:*"}); err != nil {
				t.Fatal(err)
			}
			swept.Store(now)
			for i := range keys {
				stored, err := cache.Get[int64](ctx, b.cache, fmt.Sprintf("dash:%d", i))
				if err != nil && !errors.Is(err, cache.ErrMiss) {
					t.Fatal(err)
				}
				if err == nil && stored < now {
					t.Errorf("dash:%d: version %d survived the sweep of %d", i, stored, now)
				}
			}
		}
		cancel()
		wg.Wait()
	})
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// TestSweepLeavesRedisTime: with a share of a tenth, a scan takes at least
// about ten times what Redis spends on it.
func TestSweepLeavesRedisTime(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	b := open(t, server.URL(), server.Client(), cache.Config{})
	values := map[string]int{}
	for i := range 20_000 {
		values[fmt.Sprintf("k:%d", i)] = i
	}
	if err := cache.SetMany(t.Context(), b.cache, values, time.Minute); err != nil {
		t.Fatal(err)
	}
	took := func(share float64) time.Duration {
		a := b.another(t, cache.ApplierConfig{Name: "test", ScanShare: share})
		swept, err := a.Sweep(t.Context(), []string{"nothing:*"})
		if err != nil {
			t.Fatal(err)
		}
		return swept.Took
	}
	whole, tenth := took(1), took(0.1)
	if tenth < 4*whole {
		t.Errorf("a tenth of Redis' time: %v, all of it: %v", tenth, whole)
	}
}

// TestFlushIsPaced: no more values a second than asked for.
func TestFlushIsPaced(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	b := open(t, server.URL(), server.Client(), cache.Config{})
	values := map[string]int{}
	for i := range 3000 {
		values[fmt.Sprintf("k:%d", i)] = i
	}
	if err := cache.SetMany(t.Context(), b.cache, values, time.Minute); err != nil {
		t.Fatal(err)
	}
	calls := 0
	swept, err := b.applier.Flush(t.Context(), []string{"k:*"}, 4000, func(scanned, removed int64) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	if swept.Removed != 3000 || calls < 3 {
		t.Errorf("got %d removed and %d calls of progress, want 3000 and some", swept.Removed, calls)
	}
	// The last step is not followed by a pause.
	if swept.Took < 400*time.Millisecond {
		t.Errorf("3000 values at 4000 a second took %v", swept.Took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := cache.SetMany(t.Context(), b.cache, values, time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err = b.applier.Flush(ctx, []string{"k:*"}, 1, func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled flush: got %v, want context.Canceled", err)
	}
}

// TestSweepBeginsAgainWhenTheConnectionBreaks: another process may hold what
// the first part of a pass did not see.
func TestSweepBeginsAgainWhenTheConnectionBreaks(t *testing.T) {
	t.Parallel()
	server, b := oneRedis(t)
	values := map[string]int{}
	for i := range 3000 {
		values[fmt.Sprintf("k:%d", i)] = i
	}
	if err := cache.SetMany(t.Context(), b.cache, values, time.Minute); err != nil {
		t.Fatal(err)
	}
	kills := 0
	swept, err := b.applier.Flush(t.Context(), []string{"k:*"}, 0, func(int64, int64) {
		if kills++; kills%3 == 0 && kills < 12 {
			b.rdb.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := b.applier.CountMatches(t.Context(), []string{"k:*"}); left[0] != 0 {
		t.Errorf("%d keys are left after %+v", left[0], swept)
	}
	_ = server
}
