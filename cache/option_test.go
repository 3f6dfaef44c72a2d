package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

var errBoom = errors.New("boom")

// TestFailSafe: an expired value stands in for a loader that fails, and an
// invalidated one never does.
func TestFailSafe(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		const ttl = 50 * time.Millisecond
		failSafe := cache.WithFailSafe(time.Hour)
		fail := func(context.Context) (int, error) { return 0, errBoom }
		value := func(context.Context) (int, error) { return 1, nil }
		expire := func() {
			t.Helper()
			if got, err := cache.GetOrSet(ctx, c, "k", ttl, value, failSafe); got != 1 || err != nil {
				t.Fatalf("got %d, %v", got, err)
			}
			servertest.Eventually(t, time.Minute, func() (bool, string) {
				_, err := cache.Get[int](ctx, c, "k")
				return errors.Is(err, cache.ErrMiss), "the value has not expired for a bare Get"
			})
		}
		expire()
		for range 2 { // the lease was given back
			if got, err := cache.GetOrSet(ctx, c, "k", ttl, fail, failSafe); got != 1 || err != nil {
				t.Errorf("got %d, %v, want the expired value", got, err)
			}
		}
		// In a batch, too.
		got, err := cache.GetOrSetMany(ctx, c, []string{"k"}, func(k string) string { return k }, ttl,
			func(context.Context, []string) (map[string]int, error) { return nil, errBoom }, failSafe)
		if got["k"] != 1 || err != nil {
			t.Errorf("got %v, %v, want the expired value", got, err)
		}
		if n := c.Stats().Fallbacks; n != 3 {
			t.Errorf("got %d fallbacks, want 3", n)
		}
		if _, err := cache.GetOrSet(ctx, c, "k", ttl, func(context.Context) (int, error) { return 0, cache.ErrNotFound }, failSafe); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("got %v: what does not exist must not be served", err)
		}
		if err := c.Delete(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		expire()
		if err := c.Delete(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		if got, err := cache.GetOrSet(ctx, c, "k", ttl, fail, failSafe); !errors.Is(err, errBoom) {
			t.Errorf("got %d, %v: an invalidated value was served", got, err)
		}
		expire()
		if got, err := cache.GetOrSet(ctx, c, "k", ttl, func(context.Context) (int, error) { return 2, nil }, failSafe); got != 2 || err != nil {
			t.Errorf("got %d, %v, want what was loaded", got, err)
		}
	})
}

// TestFailSafeInvalidatedByTag: the expired value of a void entry is not served.
func TestFailSafeInvalidatedByTag(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		opts := []cache.CallOption{cache.WithFailSafe(time.Hour), cache.WithTags("t")}
		if _, err := cache.GetOrSet(ctx, c, "k", time.Millisecond, func(context.Context) (int, error) { return 1, nil }, opts...); err != nil {
			t.Fatal(err)
		}
		if err := c.InvalidateTags(ctx, "t"); err != nil {
			t.Fatal(err)
		}
		got, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (int, error) { return 0, errBoom }, opts...)
		if !errors.Is(err, errBoom) {
			t.Errorf("got %d, %v: an invalidated value was served", got, err)
		}
	})
}

// TestRefreshAhead: one caller in all processes loads ahead of the end, nobody
// waits, and an invalidation voids what it loads.
func TestRefreshAhead(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		other := c.WithConfig(b.cfg)
		var calls atomic.Int64
		finish := make(chan struct{})
		load := func(context.Context) (int64, error) {
			n := calls.Add(1)
			if n > 1 {
				<-finish
			}
			return n, nil
		}
		ahead := cache.WithRefreshAhead(time.Hour) // at once, as the value has a minute
		get := func(c *cache.Cache) int64 {
			t.Helper()
			got, err := cache.GetOrSet(ctx, c, "k", time.Minute, load, ahead)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		get(c)
		for i := range 20 {
			if got := get([]*cache.Cache{c, other}[i%2]); got != 1 {
				t.Fatalf("got %d while the new value is being loaded, want 1", got)
			}
		}
		servertest.Eventually(t, time.Minute, func() (bool, string) { return calls.Load() == 2, fmt.Sprint(calls.Load()) })
		for range 20 {
			get(other)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("got %d loads while one is under way, want 2", n)
		}
		close(finish)
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			got, err := cache.Get[int64](ctx, c, "k")
			return err == nil && got >= 2, fmt.Sprint(got, err)
		})
	})
}

// TestRefreshAheadPanics: nobody waits for such a loader, so its panic is logged.
func TestRefreshAheadPanics(t *testing.T) {
	t.Parallel()
	log := &logged{}
	c := open(t, "memory://", nil, cache.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}).cache
	if err := cache.Set(t.Context(), c, "k", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	got, err := cache.GetOrSet(t.Context(), c, "k", time.Minute, func(context.Context) (int, error) { panic("a bug") }, cache.WithRefreshAhead(time.Hour))
	if got != 1 || err != nil {
		t.Errorf("got %d, %v, want 1", got, err)
	}
	servertest.Eventually(t, time.Minute, func() (bool, string) { return log.has("a bug", 1) && log.has("level=ERROR", 1), "no panic in the log" })
}

func TestRefreshAheadIsVoided(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		if err := cache.Set(ctx, c, "k", 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		begun, finish := make(chan struct{}), make(chan struct{})
		got, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (int, error) {
			close(begun)
			<-finish
			return 2, nil
		}, cache.WithRefreshAhead(time.Hour))
		if got != 1 || err != nil {
			t.Fatalf("got %d, %v, want 1", got, err)
		}
		<-begun
		if err := c.WithConfig(b.cfg).Delete(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		close(finish)
		servertest.Eventually(t, time.Minute, func() (bool, string) { return c.Stats().Refused == 1, fmt.Sprintf("%+v", c.Stats()) })
		if stored(t, c, "k")["k"] {
			t.Error("a refresh that began before the invalidation was stored")
		}
	})
}

func TestJitterShortens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := cache.Open(t.Context(), "memory://", cache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		seen := map[time.Duration]bool{}
		for i := range 50 {
			key := fmt.Sprint("k", i)
			if err := cache.Set(t.Context(), c, key, 1, time.Hour, cache.WithJitter(0.25)); err != nil {
				t.Fatal(err)
			}
			ttl, err := c.TTL(t.Context(), key)
			if err != nil || ttl > time.Hour || ttl < 45*time.Minute {
				t.Fatalf("got %v, %v, want between 45 minutes and an hour", ttl, err)
			}
			seen[ttl] = true
		}
		if len(seen) < 25 {
			t.Errorf("got %d different times, want most of 50", len(seen))
		}
	})
}

func TestNegativeTTLOfACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := cache.Open(t.Context(), "memory://", cache.Config{NegativeTTL: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		calls := 0
		get := func(opts ...cache.CallOption) {
			t.Helper()
			_, err := cache.GetOrSet(t.Context(), c, "k", time.Hour, func(context.Context) (int, error) {
				calls++
				return 0, cache.ErrNotFound
			}, opts...)
			if !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("got %v, want ErrNotFound", err)
			}
		}
		get(cache.WithNegativeTTL(time.Minute))
		_ = pause(t.Context(), 30*time.Second)
		get()
		if calls != 1 {
			t.Errorf("got %d loads, want 1: it was to be remembered for a minute", calls)
		}
		_ = pause(t.Context(), 31*time.Second)
		get(cache.WithNegativeTTL(-1))
		get()
		if calls != 3 {
			t.Errorf("got %d loads, want 3: the second was not to be remembered", calls)
		}
	})
}

func TestLimitTTL(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		get := func(key string, limits ...time.Duration) {
			t.Helper()
			_, err := cache.GetOrSet(ctx, c, key, time.Hour, func(ctx context.Context) (int, error) {
				for _, limit := range limits {
					cache.LimitTTL(ctx, limit)
				}
				return 1, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		get("shorter", 2*time.Minute, time.Minute, 3*time.Minute)
		if ttl, err := c.TTL(ctx, "shorter"); ttl > time.Minute || ttl < 30*time.Second || err != nil {
			t.Errorf("got %v, %v, want a minute", ttl, err)
		}
		get("longer", 2*time.Hour)
		if ttl, err := c.TTL(ctx, "longer"); ttl > time.Hour || err != nil {
			t.Errorf("got %v, %v, want the call's hour", ttl, err)
		}
		get("over", 0)
		if stored(t, c, "over")["over"] {
			t.Error("what had ended was stored")
		}
		cache.LimitTTL(ctx, 1) // outside a loader
	})
}

// TestNestedLoads: loaders that load do not wait for the slots they hold.
func TestNestedLoads(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{MaxLoads: 1, LoadTimeout: time.Minute}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		var load func(depth int) func(context.Context) (int, error)
		load = func(depth int) func(context.Context) (int, error) {
			return func(ctx context.Context) (int, error) {
				if depth == 0 {
					return 1, nil
				}
				got, err := cache.GetOrSet(ctx, c, fmt.Sprint("depth:", depth), time.Minute, load(depth-1))
				return got + 1, err
			}
		}
		start := time.Now()
		if got, err := cache.GetOrSet(ctx, c, "top", time.Minute, load(3)); got != 4 || err != nil {
			t.Errorf("got %d, %v, want 4", got, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestRefreshIsNobodysKey: no key, whatever its bytes, is given what a refresh of
// another one loads.
func TestRefreshIsNobodysKey(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		c := b.cache.WithConfig(cache.Config{}) // with no prefix, keys are all the caller's
		ctx, key := t.Context(), b.cfg.Prefix+"k"
		if err := cache.Set(ctx, c, key, "old", time.Minute); err != nil {
			t.Fatal(err)
		}
		begun, finish := make(chan struct{}), make(chan struct{})
		defer close(finish)
		if _, err := cache.GetOrSet(ctx, c, key, time.Minute, func(context.Context) (string, error) {
			close(begun)
			<-finish
			return "new", nil
		}, cache.WithRefreshAhead(time.Hour)); err != nil {
			t.Fatal(err)
		}
		<-begun
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		got, err := cache.GetOrSet(ctx, c, "\x00"+key, time.Minute, constant("its own"))
		if got != "its own" || err != nil {
			t.Errorf("got %q, %v, want its own", got, err)
		}
	})
}

// TestFailSafeNeverServesWhatWasInvalidatedMeanwhile: an expired value that is
// invalidated while the loader runs does not replace its error.
func TestFailSafeNeverServesWhatWasInvalidatedMeanwhile(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		boom := errors.New("boom")
		with := []cache.CallOption{cache.WithFailSafe(time.Hour), cache.WithTags("tag")}
		expire := func() {
			t.Helper()
			if err := cache.Set(ctx, c, "stock:2", 7, time.Millisecond, cache.WithFailSafe(time.Hour), cache.WithTags("tag")); err != nil {
				t.Fatal(err)
			}
			servertest.Eventually(t, time.Minute, func() (bool, string) {
				_, err := cache.Get[int](ctx, c, "stock:2")
				return errors.Is(err, cache.ErrMiss), fmt.Sprint(err)
			})
		}
		for name, test := range map[string]struct {
			meanwhile func() error
			want      int // 0: the loader's error
		}{
			"nothing": {func() error { return nil }, 7},
			"deleted": {func() error { return c.Delete(ctx, "stock:2") }, 0},
			"tag":     {func() error { return c.InvalidateTags(ctx, "tag") }, 0},
			"replaced": {func() error {
				return cache.Set(ctx, c, "stock:2", 8, time.Minute, cache.WithTags("tag"))
			}, 8},
		} {
			expire()
			got, err := cache.GetOrSet(ctx, c, "stock:2", time.Minute, func(context.Context) (int, error) {
				return 0, errors.Join(boom, test.meanwhile())
			}, with...)
			if got != test.want || (err == nil) != (test.want != 0) || err != nil && !errors.Is(err, boom) {
				t.Errorf("%s: got %v, %v, want %v", name, got, err, test.want)
			}
			expire()
			many, err := cache.GetOrSetMany(ctx, c, []int{2}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
				return nil, errors.Join(boom, test.meanwhile())
			}, with...)
			if many[2] != test.want || (err == nil) != (test.want != 0) || err != nil && !errors.Is(err, boom) {
				t.Errorf("%s, batch: got %v, %v, want %v", name, many, err, test.want)
			}
		}
	})
}

// TestFailSafeNeedsTheStore: when the store is gone by the time the loader fails,
// nobody can say whether the expired value was invalidated, and the loader's
// error stands.
func TestFailSafeNeedsTheStore(t *testing.T) {
	t.Parallel()
	for name, get := range map[string]func(context.Context, *cache.Cache, func() error) (int, error){
		"one": func(ctx context.Context, c *cache.Cache, lose func() error) (int, error) {
			return cache.GetOrSet(ctx, c, "stock:2", time.Minute, func(context.Context) (int, error) {
				return 0, errors.Join(errBoom, lose())
			}, cache.WithFailSafe(time.Hour))
		},
		"batch": func(ctx context.Context, c *cache.Cache, lose func() error) (int, error) {
			got, err := cache.GetOrSetMany(ctx, c, []int{2}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
				return nil, errors.Join(errBoom, lose())
			}, cache.WithFailSafe(time.Hour))
			return got[2], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			server := servertest.Redis(t)
			c, err := cache.Open(ctx, server.URL(), cache.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if err := cache.Set(ctx, c, "stock:2", 7, time.Millisecond, cache.WithFailSafe(time.Hour)); err != nil {
				t.Fatal(err)
			}
			servertest.Eventually(t, time.Minute, func() (bool, string) {
				_, err := cache.Get[int](ctx, c, "stock:2")
				return errors.Is(err, cache.ErrMiss), fmt.Sprint(err)
			})
			var lost error
			got, err := get(ctx, c, func() error { lost = server.Kill(); return lost })
			if lost != nil {
				t.Fatal(lost)
			}
			if got != 0 || !errors.Is(err, errBoom) {
				t.Errorf("got %d, %v, want the loader's error", got, err)
			}
		})
	}
}

// TestTimesOfAGracedEntry: TTL, Touch and Exists go by the time that the caller
// gave, whatever the entry is kept for beyond it.
func TestTimesOfAGracedEntry(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		failSafe := cache.WithFailSafe(5 * time.Hour)
		if err := cache.Set(ctx, c, "k", 1, time.Hour, failSafe); err != nil {
			t.Fatal(err)
		}
		between := func(low, high time.Duration) {
			t.Helper()
			if ttl, err := c.TTL(ctx, "k"); err != nil || ttl > high || ttl < low {
				t.Errorf("got %v, %v, want %v to %v", ttl, err, low, high)
			}
		}
		between(50*time.Minute, time.Hour)
		if ok, err := c.Touch(ctx, "k", 2*time.Hour); !ok || err != nil {
			t.Errorf("touch: got %v, %v", ok, err)
		}
		between(110*time.Minute, 2*time.Hour)
		if got, err := cache.Get[int](ctx, c, "k"); got != 1 || err != nil {
			t.Errorf("got %d, %v, want 1: it was made to expire", got, err)
		}
		if err := cache.Set(ctx, c, "k", 1, time.Millisecond, failSafe); err != nil {
			t.Fatal(err)
		}
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			ok, err := c.Exists(ctx, "k")
			return !ok && err == nil, fmt.Sprint("exists ", ok, err)
		})
		if _, err := c.TTL(ctx, "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("ttl: got %v, want ErrMiss", err)
		}
		if ok, err := c.Touch(ctx, "k", time.Hour); ok || err != nil {
			t.Errorf("touch: got %v, %v: an expired value came back", ok, err)
		}
		if got, err := cache.GetOrSet(ctx, c, "k", time.Hour, func(context.Context) (int, error) { return 0, errBoom }, failSafe); got != 1 || err != nil {
			t.Errorf("got %d, %v, want the expired value", got, err)
		}
	})
}
