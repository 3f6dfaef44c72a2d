package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func constant[T any](value T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) { return value, nil }
}

func failing(err error) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return "", err }
}

func TestGetOrSetStoresWhatWasLoaded(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		type order struct {
			ID    int
			Lines []string
		}
		want := order{42, []string{"a", "b"}}
		for _, key := range oddKeys() {
			for range 2 {
				got, err := cache.GetOrSet(t.Context(), b.cache, key, time.Minute, constant(want))
				if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%.40q: got %v, %v, want %v", key, got, err, want)
				}
			}
			ttl, err := b.cache.TTL(t.Context(), key)
			if err != nil || ttl <= 55*time.Second || ttl > time.Minute {
				t.Errorf("ttl of %.40q: got %v, %v", key, ttl, err)
			}
		}
		if got, want := b.cache.Stats().Loads, int64(len(oddKeys())); got != want {
			t.Errorf("loads: got %d, want %d", got, want)
		}
		if b.rdb != nil {
			raw, err := b.rdb.Get(t.Context(), b.cfg.Prefix+"order:42").Result()
			if err != nil || raw != `{"ID":42,"Lines":["a","b"]}` {
				t.Errorf("stored: got %s, %v", raw, err)
			}
		}
	})
}

// TestStampede: one load for all callers of all processes.
func TestStampede(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		processes := []*cache.Cache{b.cache}
		if b.rdb != nil {
			for range 3 {
				c, err := cache.Open(t.Context(), b.url, b.cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				processes = append(processes, c)
			}
		}
		var loads atomic.Int64
		var wg sync.WaitGroup
		for i := range 400 {
			wg.Go(func() {
				got, err := cache.GetOrSet(t.Context(), processes[i%len(processes)], "cold", time.Minute,
					func(ctx context.Context) (int64, error) {
						n := loads.Add(1)
						return n, pause(ctx, 200*time.Millisecond)
					})
				if err != nil || got != 1 {
					t.Errorf("got %d, %v, want 1", got, err)
				}
			})
		}
		wg.Wait()
		if got := loads.Load(); got != 1 {
			t.Errorf("loads: got %d, want 1", got)
		}
	})
}

func TestNotFoundIsRemembered(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		mustTakeOver(t, b.applier, position("a", 1))
		loads := 0
		ask := func() error {
			_, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(context.Context) (string, error) {
				loads++
				return "", fmt.Errorf("order 42: %w", cache.ErrNotFound)
			})
			return err
		}
		for range 3 {
			if err := ask(); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("got %v, want ErrNotFound", err)
			}
		}
		if loads != 1 {
			t.Errorf("loads: got %d, want 1", loads)
		}
		if _, err := cache.Get[string](t.Context(), b.cache, "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("get: got %v, want ErrMiss", err)
		}
		// The row is inserted.
		mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}})
		got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("there"))
		if err != nil || got != "there" {
			t.Errorf("after an invalidation: got %q, %v, want there", got, err)
		}
	})
}

func TestFailedLoadGivesTheLeaseBack(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		boom := errors.New("boom")
		if _, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, failing(boom)); !errors.Is(err, boom) {
			t.Errorf("got %v, want boom", err)
		}
		begin := time.Now()
		if got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("fine")); err != nil || got != "fine" {
			t.Errorf("got %q, %v, want fine", got, err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the next caller waited %v", took)
		}
		if !present(t, b.cache, "k")["k"] {
			t.Error("the next caller's value was not stored")
		}
	})
}

// sharers waits until so many callers share another caller's load.
func sharers(t *testing.T, c *cache.Cache, want int64) {
	t.Helper()
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		n := c.Stats().Shared
		return n == want, fmt.Sprintf("%d callers share a load", n)
	})
}

// TestPanickingLoader reaches all its callers and nobody else.
func TestPanickingLoader(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		started, joined := make(chan struct{}), make(chan struct{})
		boom := errors.New("boom")
		caught := func(call func()) (value any) {
			defer func() { value = recover() }()
			call()
			return nil
		}
		values := make(chan any, 2)
		go func() {
			values <- caught(func() {
				_, _ = cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(context.Context) (string, error) {
					close(started)
					<-joined
					panic(boom)
				})
			})
		}()
		<-started
		go func() {
			values <- caught(func() {
				_, _ = cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("never called"))
			})
		}()
		sharers(t, b.cache, 1)
		close(joined)
		for range 2 {
			err, _ := (<-values).(error)
			if !errors.Is(err, boom) || !strings.Contains(err.Error(), "get_or_set_test.go") {
				t.Errorf("recovered: got %v, want boom and where it happened", err)
			}
		}
		if got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("fine")); err != nil || got != "fine" {
			t.Errorf("afterwards: got %q, %v, want fine", got, err)
		}
		// A loader that ends its goroutine leaves nobody waiting either.
		_, err := cache.GetOrSet(t.Context(), b.cache, "other", time.Minute, func(context.Context) (string, error) {
			runtime.Goexit()
			return "", nil
		})
		if err == nil {
			t.Error("a loader that ended its goroutine: got no error")
		}
	})
}

// TestCancelledCallerDisturbsNobody: the load goes on for the others.
func TestCancelledCallerDisturbsNobody(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		type trace struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), trace{}, "kept"))
		started, finish := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			_, err := cache.GetOrSet(ctx, b.cache, "k", time.Minute, func(ctx context.Context) (string, error) {
				close(started)
				<-finish
				if ctx.Value(trace{}) != "kept" {
					t.Error("the loader's context lost the caller's values")
				}
				if _, ok := ctx.Deadline(); !ok {
					t.Error("the loader's context has no deadline")
				}
				return "loaded", ctx.Err()
			})
			first <- err
		}()
		<-started
		second := make(chan string, 1)
		go func() {
			got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("another load"))
			if err != nil {
				t.Error(err)
			}
			second <- got
		}()
		sharers(t, b.cache, 1)
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the cancelled caller: got %v, want context.Canceled", err)
		}
		close(finish)
		if got := <-second; got != "loaded" {
			t.Errorf("the other caller: got %q, want loaded", got)
		}
		if !present(t, b.cache, "k")["k"] {
			t.Error("the value was not stored")
		}
	})
}

// TestLeaseIsProlonged: a loader may take longer than a lease lasts.
func TestLeaseIsProlonged(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{LeaseTTL: 1500 * time.Millisecond}, func(b *backend) {
		t := b.t
		_, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(ctx context.Context) (string, error) {
			return "slow", pause(ctx, 4*time.Second)
		})
		if err != nil {
			t.Fatal(err)
		}
		if !present(t, b.cache, "k")["k"] {
			t.Error("the value was not stored: the lease expired")
		}
	})
}

// TestDeadProcess: whoever waits for a process that died takes over when its
// lease expires.
func TestDeadProcess(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{LoadTimeout: 2 * time.Second, WaitLimit: 30 * time.Second}, func(b *backend) {
		t := b.t
		l, err := b.cache.Lease(t.Context(), "k")
		if err != nil || !l.Held() {
			t.Fatalf("lease: got %v, %v, want it held", l.Held(), err)
		}
		got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("mine"))
		if err != nil || got != "mine" || !present(t, b.cache, "k")["k"] {
			t.Errorf("got %q, %v, want mine, stored", got, err)
		}
		if stored, err := l.Fill(t.Context(), "too late", time.Minute); stored || err != nil {
			t.Errorf("fill by the dead: got %v, %v, want it refused", stored, err)
		}
		if n := b.cache.Stats().Waits; n != 1 {
			t.Errorf("waits: got %d, want 1", n)
		}
	})
}

// TestWaitLimit: whoever has waited long enough loads and stores nothing.
func TestWaitLimit(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{WaitLimit: 50 * time.Millisecond}, func(b *backend) {
		t := b.t
		l, err := b.cache.Lease(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("loaded"))
		if err != nil || got != "loaded" {
			t.Errorf("got %q, %v, want loaded", got, err)
		}
		if present(t, b.cache, "k")["k"] {
			t.Error("a value was stored without a lease")
		}
		if stored, err := l.Fill(t.Context(), "first", time.Minute); !stored || err != nil {
			t.Errorf("fill: got %v, %v, want stored", stored, err)
		}
	})
}

// TestBusyKey: after a few voided fills nobody waits for others.
func TestBusyKey(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{WaitLimit: time.Minute}, func(b *backend) {
		t := b.t
		for range 3 {
			_, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(ctx context.Context) (string, error) {
				return "old", b.cache.Delete(ctx, "k")
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.cache.Lease(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if got, err := cache.GetOrSet(ctx, b.cache, "k", time.Minute, constant("loaded")); err != nil || got != "loaded" {
			t.Errorf("got %q, %v, want loaded", got, err)
		}
	})
}

// TestCallAfterDeleteDoesNotShareAnOlderLoad: within a process nobody gets what
// was read before an invalidation that this process made.
func TestCallAfterDeleteDoesNotShareAnOlderLoad(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		for name, invalidate := range map[string]func() error{
			"delete":  func() error { return b.cache.Delete(t.Context(), "k") },
			"pattern": func() error { _, err := b.cache.InvalidatePattern(t.Context(), "k*"); return err },
		} {
			started, finish, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				_, _ = cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(context.Context) (string, error) {
					close(started)
					<-finish
					return "old", nil
				})
			}()
			<-started
			if err := invalidate(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			got, err := cache.GetOrSet(ctx, b.cache, "k", time.Minute, constant("new"))
			cancel()
			if err != nil || got != "new" {
				t.Errorf("%s: got %q, %v, want new", name, got, err)
			}
			close(finish)
			<-done
			if got, err := cache.Get[string](t.Context(), b.cache, "k"); err != nil || got != "new" {
				t.Errorf("%s: stored is %q, %v, want new", name, got, err)
			}
			if err := b.cache.Delete(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestSetVoidsFillsUnderWay(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		_, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(ctx context.Context) (string, error) {
			return "loaded", cache.Set(ctx, b.cache, "k", "set", time.Minute)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cache.Get[string](t.Context(), b.cache, "k"); err != nil || got != "set" {
			t.Errorf("got %q, %v, want set", got, err)
		}
	})
}

func TestNoFillReadsThrough(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("mine"), cache.NoFill())
		if err != nil || got != "mine" {
			t.Errorf("got %q, %v, want mine", got, err)
		}
		if present(t, b.cache, "k")["k"] {
			t.Error("the value was stored")
		}
		mustSet(t, b.cache, "k")
		got, err = cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("mine"), cache.NoFill())
		if err != nil || got != "value of k" {
			t.Errorf("got %q, %v, want the cached value", got, err)
		}
	})
}

// TestValueOfAnotherShapeIsReplaced: a new version of the program reads what
// the old one stored.
func TestValueOfAnotherShapeIsReplaced(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		mustSet(t, b.cache, "k")
		for range 2 {
			got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant(7))
			if err != nil || got != 7 {
				t.Errorf("got %d, %v, want 7", got, err)
			}
		}
		if got, err := cache.Get[int](t.Context(), b.cache, "k"); err != nil || got != 7 {
			t.Errorf("stored: got %d, %v, want 7", got, err)
		}
	})
}

// TestStoreDown: loads go on under single flight, reads say so, and everything
// comes back by itself.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	b := open(t, server.URL(), server.Client(), cache.Config{})
	mustSet(t, b.cache, "k")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	var loads atomic.Int64
	var wg sync.WaitGroup
	release := make(chan struct{})
	for range 50 {
		wg.Go(func() {
			got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(context.Context) (string, error) {
				loads.Add(1)
				<-release
				return "loaded", nil
			})
			if err != nil || got != "loaded" {
				t.Errorf("got %q, %v, want loaded", got, err)
			}
		})
	}
	sharers(t, b.cache, 49)
	close(release)
	wg.Wait()
	if n := loads.Load(); n != 1 {
		t.Errorf("loads: got %d, want 1", n)
	}
	for name, call := range map[string]func() error{
		"get":    func() error { _, err := cache.Get[string](t.Context(), b.cache, "k"); return err },
		"set":    func() error { return cache.Set(t.Context(), b.cache, "k", 1, time.Minute) },
		"delete": func() error { return b.cache.Delete(t.Context(), "k") },
		"ping":   func() error { return b.cache.Ping(t.Context()) },
	} {
		if err := call(); !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, 20*time.Second, func() (bool, string) {
		err := cache.Set(t.Context(), b.cache, "k", 1, time.Minute)
		return err == nil, errorText(err)
	})
}

// TestCloseEndsLoads: nothing runs on, and later calls say why.
func TestCloseEndsLoads(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		started, done := make(chan struct{}), make(chan error, 1)
		go func() {
			_, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(ctx context.Context) (string, error) {
				close(started)
				<-ctx.Done()
				return "", context.Cause(ctx)
			})
			done <- err
		}()
		<-started
		if err := b.cache.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, cache.ErrClosed) {
			t.Errorf("load under way: got %v, want ErrClosed", err)
		}
		if _, err := cache.Get[string](t.Context(), b.cache, "k"); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("get: got %v, want ErrClosed", err)
		}
	})
}

// TestMaxLoads: loaders of different keys do not run all at once.
func TestMaxLoads(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{MaxLoads: 3}, func(b *backend) {
		t := b.t
		var running, most atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				_, err := cache.GetOrSet(t.Context(), b.cache, fmt.Sprintf("k:%d", i), time.Minute, func(ctx context.Context) (int, error) {
					n := running.Add(1)
					defer running.Add(-1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					return i, pause(ctx, 5*time.Millisecond)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := most.Load(); got > 3 {
			t.Errorf("%d loaders ran at the same time, want at most 3", got)
		}
	})
}

// TestLostReplies: a client that repeats commands whose reply was lost must not
// be kept out by its own lease.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	cut := &cutter{written: -1}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: 3, MinRetryBackoff: time.Millisecond, Dialer: cut.dial})
	defer rdb.Close()
	c := cache.New(rdb, cache.Config{})
	defer c.Close()
	for i := range 20 {
		key := fmt.Sprintf("k:%d", i)
		if _, err := cache.Get[int](t.Context(), c, key); !errors.Is(err, cache.ErrMiss) {
			t.Fatal(err)
		}
		// The replies: of the read, of the script that takes the lease, and
		// of the one that fills.
		cut.arm(-1, true)
		cut.skip = i % 3
		begin := time.Now()
		if got, err := cache.GetOrSet(t.Context(), c, key, time.Minute, constant(i)); err != nil || got != i {
			t.Errorf("got %d, %v, want %d", got, err, i)
		}
		cut.arm(-1, false)
		if l, err := c.Lease(t.Context(), key); err != nil || l.Held() || time.Since(begin) > 2*time.Second {
			t.Errorf("%d: a value must be there at once: %+v lease %v, %v after %v", i, c.Stats(), l.Held(), err, time.Since(begin))
		}
	}
}

// TestEmptyValueIsReplaced: a value that is no value of the caller's type is
// loaded anew, also where it is empty, which a codec may write or another client.
func TestEmptyValueIsReplaced(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{Codec: rawText{}}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		cfg := b.cfg
		cfg.Codec = nil
		reader := b.cache.WithConfig(cfg)
		for _, raw := range []string{"", "{", "\xff\xf7"} {
			set := func(keys ...string) {
				for _, key := range keys {
					if err := cache.Set(ctx, b.cache, key, raw, time.Minute); err != nil {
						t.Fatal(err)
					}
				}
			}
			set("k", "stock:2")
			for range 2 { // as a reader that knows nothing of the key, and as one that does
				if got, err := cache.GetOrSet(ctx, reader, "k", time.Minute, constant("loaded")); got != "loaded" || err != nil {
					t.Errorf("%q: got %q, %v, want what is loaded", raw, got, err)
				}
				set("k")
			}
			var s stocks
			got, err := cache.GetOrSetMany(ctx, reader, []int{2, 4}, stockKey, time.Minute, s.load)
			if got[2] != 200 || err != nil {
				t.Errorf("%q: got %v, %v, want what is loaded", raw, got, err)
			}
			if got, err := cache.Get[int](ctx, reader, "stock:2"); got != 200 || err != nil {
				t.Errorf("%q: stored: got %v, %v", raw, got, err)
			}
			// For a reader with the codec it is a value like any other.
			if got, err := cache.GetOrSet(ctx, b.cache, "k", time.Minute, constant("loaded")); got != raw || err != nil {
				t.Errorf("%q: got %q, %v", raw, got, err)
			}
		}
	})
}

// rawText is a codec for texts as they are.
type rawText struct{}

func (rawText) Marshal(v any) ([]byte, error) { return []byte(v.(string)), nil }

func (rawText) Unmarshal(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}

// TestNestedLoadsNeverWaitForEachOther: a loader that waits for a load that was
// begun elsewhere, and has found all slots taken, lends it its own.
func TestNestedLoadsNeverWaitForEachOther(t *testing.T) {
	t.Parallel()
	for name, child := range map[string]func(ctx context.Context, c *cache.Cache) error{
		"one": func(ctx context.Context, c *cache.Cache) error {
			_, err := cache.GetOrSet(ctx, c, "stock:2", time.Minute, constant(200))
			return err
		},
		"batch": func(ctx context.Context, c *cache.Cache) error {
			_, err := cache.GetOrSetMany(ctx, c, []int{2, 4}, stockKey, time.Minute, new(stocks).load)
			return err
		},
		"bounded": func(ctx context.Context, c *cache.Cache) error {
			_, err := cache.GetOrSet(ctx, c, "stock:2", time.Minute, constant(200), cache.Within(time.Second))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, "memory://", nil, cache.Config{MaxLoads: 1, LoadTimeout: time.Minute}).cache
			ended, begun, waiting := make(chan error, 2), make(chan struct{}), make(chan struct{})
			go func() {
				_, err := cache.GetOrSet(t.Context(), c, "parent", time.Minute, func(ctx context.Context) (string, error) {
					close(begun)
					<-waiting
					return "", child(ctx, c)
				})
				ended <- err
			}()
			<-begun
			go func() { ended <- child(t.Context(), c) }()
			servertest.Eventually(t, time.Minute, func() (bool, string) { return c.Stats().Misses > 1, "the child's own call" })
			close(waiting)
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
