package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func stockKey(id int) string { return fmt.Sprintf("stock:%d", id) }

// stocks is a loader that notes what it is asked for. Odd ids do not exist.
type stocks struct {
	mu    sync.Mutex
	asked [][]int // guarded by mu
}

func (s *stocks) load(_ context.Context, ids []int) (map[int]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, slices.Sorted(slices.Values(ids)))
	found := map[int]int{}
	for _, id := range ids {
		if id%2 == 0 {
			found[id] = 100 * id
		}
	}
	return found, nil
}

func TestGetOrSetManyLoadsWhatIsMissing(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{NegativeTTL: time.Minute}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		var s stocks
		for _, step := range []struct {
			ids   []int
			want  map[int]int
			asked [][]int
		}{
			{[]int{2, 3, 2}, map[int]int{2: 200}, [][]int{{2, 3}}},
			{[]int{2, 3}, map[int]int{2: 200}, nil},
			{[]int{1, 2, 3, 4}, map[int]int{2: 200, 4: 400}, [][]int{{1, 4}}},
			{nil, map[int]int{}, nil},
		} {
			s.asked = nil
			got, err := cache.GetOrSetMany(ctx, b.cache, step.ids, stockKey, time.Minute, s.load)
			if err != nil || !maps.Equal(got, step.want) {
				t.Errorf("%v: got %v, %v, want %v", step.ids, got, err, step.want)
			}
			if !slices.EqualFunc(s.asked, step.asked, slices.Equal[[]int]) {
				t.Errorf("%v: asked for %v, want %v", step.ids, s.asked, step.asked)
			}
		}
		// What it stored is what GetOrSet and Get find.
		if got, err := cache.Get[int](ctx, b.cache, "stock:4"); got != 400 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		if _, err := cache.GetOrSet(ctx, b.cache, "stock:3", time.Minute, func(context.Context) (int, error) {
			t.Error("asked again for what is known not to exist")
			return 0, nil
		}); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	})
}

// TestGetOrSetManyInvalidatedKey: one voided key does not keep the others from
// being stored.
func TestGetOrSetManyInvalidatedKey(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		got, err := cache.GetOrSetMany(ctx, b.cache, []int{2, 4, 6}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
			return map[int]int{2: 1, 4: 1, 6: 1}, b.cache.WithConfig(b.cfg).Delete(ctx, "stock:4")
		})
		if err != nil || len(got) != 3 {
			t.Errorf("got %v, %v, want all three", got, err)
		}
		if found := stored(t, b.cache, "stock:2", "stock:4", "stock:6"); !found["stock:2"] || found["stock:4"] || !found["stock:6"] {
			t.Errorf("got %v, want all but stock:4", found)
		}
	})
}

func TestGetOrSetManyFailures(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		if err := cache.Set(ctx, b.cache, "stock:2", 7, time.Minute); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		got, err := cache.GetOrSetMany(ctx, b.cache, []int{2, 4}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
			return nil, boom
		})
		var batch *cache.BatchError
		if !errors.As(err, &batch) || !errors.Is(batch.Failed["stock:4"], boom) || len(batch.Failed) != 1 || got[2] != 7 {
			t.Errorf("got %v, %v, want stock:2, and a BatchError for stock:4", got, err)
		}
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "kaboom") {
					t.Errorf("got panic %v, want the loader's", r)
				}
			}()
			_, _ = cache.GetOrSetMany(ctx, b.cache, []int{4}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
				panic("kaboom")
			})
		}()
		// Both gave their leases back.
		var s stocks
		if got, err := cache.GetOrSetMany(ctx, b.cache, []int{4}, stockKey, time.Minute, s.load); err != nil || got[4] != 400 {
			t.Errorf("got %v, %v", got, err)
		}
		if !stored(t, b.cache, "stock:4")["stock:4"] {
			t.Error("the value was not stored: a lease was left behind")
		}
		same := func(int) string { return "same" }
		if _, err := cache.GetOrSetMany(ctx, b.cache, []int{2, 4}, same, time.Minute, s.load); !errors.Is(err, cache.ErrKey) {
			t.Errorf("two ids with one key: got %v, want ErrKey", err)
		}
		if _, err := cache.GetOrSetMany(ctx, b.cache, []int{2}, stockKey, 0, s.load); !errors.Is(err, cache.ErrTTL) {
			t.Errorf("got %v, want ErrTTL", err)
		}
	})
}

// unwritable panics when it is encoded, as a codec may.
type unwritable struct{}

func (unwritable) MarshalCache() ([]byte, error) { panic("cannot be written") }

// TestBatchEndsWhateverItsLoaderDoes: whoever waits for a batch whose loader ends
// its goroutine, or whose codec panics, is told, and the next call loads.
func TestBatchEndsWhateverItsLoaderDoes(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{LeaseTTL: 100 * time.Millisecond}, func(b *backend) {
		t := b.t
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := cache.GetOrSetMany(ctx, b.cache, []int{2, 4}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
			runtime.Goexit()
			return nil, nil
		})
		var batch *cache.BatchError
		if !errors.As(err, &batch) || len(batch.Failed) != 2 {
			t.Errorf("a loader that ended its goroutine: got %v", err)
		}
		func() {
			defer func() {
				if r := fmt.Sprint(recover()); !strings.Contains(r, "cannot be written") {
					t.Errorf("a codec that panics: got panic %v", r)
				}
			}()
			_, _ = cache.GetOrSetMany(ctx, b.cache, []int{6}, stockKey, time.Minute, func(context.Context, []int) (map[int]unwritable, error) {
				return map[int]unwritable{6: {}}, nil
			})
		}()
		var s stocks
		got, err := cache.GetOrSetMany(ctx, b.cache, []int{2, 4, 6}, stockKey, time.Minute, s.load)
		if err != nil || got[2] != 200 || got[4] != 400 || got[6] != 600 {
			t.Errorf("afterwards: got %v, %v", got, err)
		}
	})
}

// TestOverlappingBatches: batches that need each other's keys, in one process and
// in two, neither wait for each other nor load a key twice.
func TestOverlappingBatches(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{WaitLimit: time.Minute}, func(b *backend) {
		t := b.t
		processes := []*cache.Cache{b.cache, b.cache.WithConfig(b.cfg)}
		var loads [40]atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 {
			ids := make([]int, 0, 20)
			for j := range 20 {
				ids = append(ids, (i*7+j*(1+2*(i%2)))%40)
			}
			wg.Go(func() {
				got, err := cache.GetOrSetMany(t.Context(), processes[i%2], ids, stockKey, time.Minute, func(_ context.Context, ids []int) (map[int]int, error) {
					found := map[int]int{}
					for _, id := range ids {
						loads[id].Add(1)
						found[id] = id
					}
					return found, nil
				})
				if err != nil {
					t.Error(err)
				}
				for _, id := range ids {
					if value, ok := got[id]; !ok || value != id {
						t.Errorf("id %d: got %d, %v", id, value, ok)
					}
				}
			})
		}
		wg.Wait()
		for id := range loads {
			if n := loads[id].Load(); n > 1 {
				t.Errorf("id %d was loaded %d times", id, n)
			}
		}
	})
}

// TestBatchAndSingleShareALoad: a batch and a GetOrSet of one key load it once.
func TestBatchAndSingleShareALoad(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		begun, finish := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() {
			_, err := cache.GetOrSetMany(ctx, b.cache, []int{2, 4}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
				close(begun)
				<-finish
				return map[int]int{2: 200, 4: 400}, nil
			})
			done <- err
		}()
		<-begun
		single := make(chan int, 1)
		go func() {
			got, err := cache.GetOrSet(ctx, b.cache, "stock:4", time.Minute, func(context.Context) (int, error) {
				t.Error("loaded twice")
				return 0, nil
			})
			if err != nil {
				t.Error(err)
			}
			single <- got
		}()
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			n := b.cache.Stats().Shared
			return n == 1, fmt.Sprint(n)
		})
		close(finish)
		if got := <-single; got != 400 {
			t.Errorf("got %d, want the batch's 400", got)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestGetOrSetManyNoFillAndBounds(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		c := b.withSource(fmt.Sprintf("src%x", b.cfg.Prefix))
		if err := cache.Set(ctx, c, "stock:2", 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		var s stocks
		got, err := cache.GetOrSetMany(ctx, c, []int{2, 4}, stockKey, time.Minute, s.load, cache.NoFill())
		if err != nil || got[2] != 1 || got[4] != 400 || stored(t, c, "stock:4")["stock:4"] {
			t.Errorf("no fill: got %v, %v", got, err)
		}
		// Nothing proves what is there to be fresh: all is loaded.
		got, err = cache.GetOrSetMany(ctx, c, []int{2, 4}, stockKey, time.Minute, s.load, cache.Within(time.Hour))
		if err != nil || got[2] != 200 || got[4] != 400 {
			t.Errorf("bounded: got %v, %v", got, err)
		}
		_, err = cache.GetOrSetMany(ctx, c, []int{2}, stockKey, time.Minute, s.load, cache.Within(time.Hour), cache.OrStaleError())
		if !errors.Is(err, cache.ErrStale) {
			t.Errorf("got %v, want ErrStale", err)
		}
	})
}
