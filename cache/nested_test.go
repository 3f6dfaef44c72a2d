package cache_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// A loader that reads another key of the cache must not store what that key had
// before a change, behind the change's last delete (I3).

// dbRow is the database: one row, which "item" is read from, and "page" by way of it.
type dbRow struct{ atomic.Int64 }

func (r *dbRow) item(ctx context.Context, c *cache.Cache, opts ...cache.CallOption) (int64, error) {
	return cache.GetOrSet(ctx, c, "item", time.Hour, func(context.Context) (int64, error) { return r.Load(), nil }, opts...)
}

func (r *dbRow) page(ctx context.Context, c *cache.Cache, opts ...cache.CallOption) (int64, error) {
	return cache.GetOrSet(ctx, c, "page", time.Hour, func(ctx context.Context) (int64, error) { return r.item(ctx, c) }, opts...)
}

// wantFresh says that nothing in the cache is older than the row.
func (r *dbRow) wantFresh(t *testing.T, c *cache.Cache) {
	t.Helper()
	for _, key := range []string{"item", "page"} {
		if got, err := cache.Get[int64](t.Context(), c, key); err == nil && got != r.Load() {
			t.Errorf("%s is %d in the cache, %d in the database, and nothing will remove it", key, got, r.Load())
		}
	}
}

// The page's loader does not join a load of the item that began before the change.
func TestNestedSharedLoad(t *testing.T) {
	t.Parallel()
	store := servertest.Redis(t)
	var here, elsewhere *cache.Cache
	for _, c := range []**cache.Cache{&here, &elsewhere} {
		var err error
		if *c, err = cache.Open(t.Context(), store.URL(), cache.Config{}); err != nil {
			t.Fatal(err)
		}
		defer (*c).Close()
	}
	var r dbRow
	read, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_, _ = cache.GetOrSet(t.Context(), here, "item", time.Hour, func(context.Context) (int64, error) {
			old := r.Load()
			close(read)
			<-goOn // a slow query
			return old, nil
		})
	}()
	<-read
	r.Add(1)                                                              // the change is committed,
	if err := elsewhere.Delete(t.Context(), "item", "page"); err != nil { // and applied
		t.Fatal(err)
	}
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		_, _ = r.page(t.Context(), here)
	}()
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		s := here.Stats()
		select {
		case <-loaded:
			return true, ""
		default:
			return s.Shared == 1, fmt.Sprintf("%+v", s)
		}
	})
	close(goOn)
	<-done
	<-loaded
	r.wantFresh(t, elsewhere)
}

// The page goes first of a batch and the item last. In between somebody makes the
// page, while the old item is still there.
func TestNestedBatch(t *testing.T) {
	t.Parallel()
	store := servertest.Redis(t)
	proxy := servertest.NewProxy(t, store.Addr())
	c, err := cache.Open(t.Context(), store.URL(), cache.Config{Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := cache.OpenApplier("redis://"+proxy.Addr(), cache.ApplierConfig{Name: "shop", Pipeline: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	mustTakeOver(t, a, position("me", 1))
	var r dbRow
	if _, err := r.page(t.Context(), c); err != nil { // both are cached
		t.Fatal(err)
	}
	r.Add(1) // committed
	keys := []string{"page"}
	for i := range 2000 { // of the same statement
		keys = append(keys, fmt.Sprint("other:", i))
	}
	keys = append(keys, "item")
	proxy.Hold(servertest.ToClient) // the applier waits for the first pipeline's replies
	applied := make(chan error, 1)
	go func() {
		_, err := a.Apply(t.Context(), cache.Batch{Keys: keys, Ahead: 1002, Epoch: "73:1:0"})
		applied <- err
	}()
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		there, err := c.Exists(t.Context(), "page")
		return !there && err == nil, fmt.Sprint(there, err)
	})
	if _, err := r.page(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	proxy.Release(servertest.ToClient)
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	p := position("me", 2)
	p.LSN, p.Time = 2000, time.Now().Add(time.Hour)
	if err := a.Move(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	r.wantFresh(t, c)
	// The position vouches for it besides.
	if got, err := cache.Get[int64](t.Context(), c, "page", cache.Within(time.Second)); err == nil && got != r.Load() {
		t.Errorf("the page is proven to be fresh: %d, in the database %d", got, r.Load())
	}
}

// What a loader reads meets the bound of the call that loads.
func TestNestedBound(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.Context(), "memory://", cache.Config{Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var r dbRow
	if _, err := r.item(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	r.Add(1)
	token, err := cache.ParseToken("7301:00000001:0/1A2B3C8") // after COMMIT
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.page(t.Context(), c, cache.AtLeast(token)); got != r.Load() || err != nil {
		t.Errorf("with AtLeast: got %d, %v; committed before the token: %d", got, err, r.Load())
	}
}

// nestedShop is a cache of an instance whose applier has ended a batch.
func nestedShop(t *testing.T) (*cache.Cache, *cache.Applier, cache.Position) {
	t.Helper()
	store := servertest.Redis(t)
	c, err := cache.Open(t.Context(), store.URL(), cache.Config{Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	a, err := cache.OpenApplier(store.URL(), cache.ApplierConfig{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	p := position("me", 1)
	mustTakeOver(t, a, p)
	mustApply(t, a, cache.Batch{Keys: []string{"item"}, Ahead: p.LSN - 1, Epoch: p.Epoch})
	return c, a, p
}

// Where nothing is under way, what a loader reads comes from the cache, and what it
// makes of that is stored.
func TestNestedHit(t *testing.T) {
	t.Parallel()
	c, _, _ := nestedShop(t)
	var r dbRow
	if _, err := r.item(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	loads := c.Stats().Loads
	if _, err := r.page(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := c.Stats().Loads - loads; got != 1 {
		t.Errorf("%d loads for the page of a cached item, want 1", got)
	}
	if there, err := c.Exists(t.Context(), "page"); !there || err != nil {
		t.Errorf("the page is stored: %v, %v", there, err)
	}
}

// While an invalidation without an LSN is between its steps, and while a batch waits
// for its patterns, what a loader reads is loaded.
func TestNestedBetweenSteps(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, *cache.Applier, cache.Position){
		"flush": func(t *testing.T, a *cache.Applier, p cache.Position) {
			t.Helper()
			p.Removing = true
			if err := a.Move(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			mustApply(t, a, cache.Batch{Keys: []string{"page"}})
		},
		"patterns": func(t *testing.T, a *cache.Applier, p cache.Position) {
			t.Helper()
			mustApply(t, a, cache.Batch{Keys: []string{"page"}, Ahead: p.LSN + 5, Epoch: p.Epoch})
		},
		"no memory to say it": func(t *testing.T, a *cache.Applier, _ cache.Position) {
			t.Helper()
			if err := a.ForgetAhead(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustApply(t, a, cache.Batch{Keys: []string{"page"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, a, p := nestedShop(t)
			var r dbRow
			if _, err := r.page(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			r.Add(1)
			begin(t, a, p)
			if got, err := r.page(t.Context(), c); got != r.Load() || err != nil {
				t.Errorf("got %d, %v; in the database %d", got, err, r.Load())
			}
			// The last step, and its end.
			mustApply(t, a, cache.Batch{Keys: []string{"item"}})
			p.Seq, p.LSN = p.Seq+1, p.LSN+100
			if err := a.Move(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			r.wantFresh(t, c)
		})
	}
}

// A read that cannot load is served, and what is made of it is not stored, however
// many loaders it passes through.
func TestNestedGet(t *testing.T) {
	t.Parallel()
	c, a, p := nestedShop(t)
	if err := cache.Set(t.Context(), c, "flag", 7, time.Hour); err != nil {
		t.Fatal(err)
	}
	flag := func(ctx context.Context) (int, error) { return cache.Get[int](ctx, c, "flag") }
	item := func(ctx context.Context) (int, error) { return cache.GetOrSet(ctx, c, "item", time.Hour, flag) }
	many := func(ctx context.Context) (int, error) {
		all, err := cache.GetOrSetMany(ctx, c, []string{"many"}, func(id string) string { return id }, time.Hour,
			func(ctx context.Context, ids []string) (map[string]int, error) {
				n, err := item(ctx)
				return map[string]int{ids[0]: n}, err
			})
		return all["many"], err
	}
	through := func(ctx context.Context) (int, error) {
		return cache.GetOrSet(ctx, c, "through", time.Hour, many, cache.NoFill())
	}
	for _, settled := range []bool{false, true} {
		if settled {
			p.Seq, p.Removing = p.Seq+2, false
		} else {
			p.Seq, p.Removing = p.Seq+1, true
		}
		if err := a.Move(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got, err := cache.GetOrSet(t.Context(), c, "page", time.Hour, through); got != 7 || err != nil {
			t.Errorf("settled %v: got %d, %v", settled, got, err)
		}
		for _, key := range []string{"page", "many", "item"} {
			if there, err := c.Exists(t.Context(), key); there != settled || err != nil {
				t.Errorf("settled %v: %s is stored: %v, %v", settled, key, there, err)
			}
		}
	}
}

// A load that several calls share reads other keys with the bounds of all of them.
func TestNestedSharedBound(t *testing.T) {
	t.Parallel()
	c, _, p := nestedShop(t)
	var r dbRow
	if _, err := r.item(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	running, goOn := make(chan struct{}), make(chan struct{})
	var calls sync.WaitGroup
	defer calls.Wait()
	calls.Go(func() {
		_, _ = cache.GetOrSet(t.Context(), c, "page", time.Hour, func(context.Context) (int64, error) {
			close(running)
			<-goOn
			return 0, nil
		}, cache.AtLeast(cache.Token{}))
	})
	<-running
	shared := func(want int64) {
		t.Helper()
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			s := c.Stats()
			return s.Shared == want, fmt.Sprintf("%+v", s)
		})
	}
	for range 2 { // one waits to load, the other for what that loads
		calls.Go(func() { _, _ = r.page(t.Context(), c, cache.AtLeast(cache.Token{})) })
	}
	shared(1)
	r.Add(1) // committed, and not yet applied
	token, err := cache.ParseToken(fmt.Sprintf("73:00000001:%s", p.LSN+50))
	if err != nil {
		t.Fatal(err)
	}
	calls.Go(func() {
		if got, err := r.page(t.Context(), c, cache.AtLeast(token)); got != r.Load() || err != nil {
			t.Errorf("with AtLeast: got %d, %v; committed before the token: %d", got, err, r.Load())
		}
	})
	shared(2)
	close(goOn)
}

// What others load from a standby that is behind is not stored by way of a page
// either, also where they have no lease that would be voided.
func TestNestedSharedStandby(t *testing.T) {
	t.Parallel()
	c, a, p := nestedShop(t)
	mustApply(t, a, cache.Batch{Keys: []string{"page"}, Ahead: p.LSN + 5, Epoch: p.Epoch})
	if l, err := c.Lease(t.Context(), "item"); err != nil || !l.Held() { // somebody else loads it
		t.Fatal(l.Held(), err)
	}
	goOn := make(chan struct{})
	var calls sync.WaitGroup
	for i := range 3 {
		calls.Go(func() {
			_, err := cache.GetOrSet(t.Context(), c, fmt.Sprint("page:", i), time.Hour, func(ctx context.Context) (int, error) {
				return cache.GetOrSet(ctx, c, "item", time.Hour, func(ctx context.Context) (int, error) {
					cache.LoadedAt(ctx, p.LSN+5)
					<-goOn
					return 1, nil
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		s := c.Stats()
		return s.Shared == 1, fmt.Sprintf("%+v", s)
	})
	close(goOn)
	calls.Wait()
	for i := range 3 {
		if there, err := c.Exists(t.Context(), fmt.Sprint("page:", i)); there || err != nil {
			t.Errorf("page %d, of an item from a standby that is behind, is stored: %v, %v", i, there, err)
		}
	}
}

// A standby that is far enough for the item's master may be behind what the page's
// master was told.
func TestNestedStandby(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		source := fmt.Sprintf("src%x", b.cfg.Prefix)
		c := b.withSource(source)
		a := b.another(t, cache.ApplierConfig{Name: source, Prefix: b.cfg.Prefix})
		mustTakeOver(t, a, at(0x200, 0))
		mustApply(t, a, cache.Batch{Keys: manyKeys(100), Ahead: 0x300, Epoch: "73:1:0"}) // every master knows
		for i := range 8 {
			page, item, ahead := fmt.Sprint("page:", i), fmt.Sprint("item:", i), 0x1000+cache.LSN(i)*0x100
			mustApply(t, a, cache.Batch{Keys: []string{page}, Ahead: ahead, Epoch: "73:1:0"}) // of two keys the first
			_, err := cache.GetOrSet(t.Context(), c, page, time.Minute, func(ctx context.Context) (int, error) {
				return cache.GetOrSet(ctx, c, item, time.Minute, func(ctx context.Context) (int, error) {
					cache.LoadedAt(ctx, ahead)
					return 1, nil
				})
			})
			if stored(t, c, page)[page] || err != nil {
				t.Errorf("%s, of an item from a standby that is behind, is stored; %v", page, err)
			}
		}
	})
}
