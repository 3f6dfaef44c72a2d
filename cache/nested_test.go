package cache_test

import (
	"context"
	"fmt"
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
