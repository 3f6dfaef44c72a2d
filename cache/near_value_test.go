package cache_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// fakeNear is a near layer that forgets nothing by itself, and notes what the
// cache tells it. Package near has the real one.
type fakeNear struct {
	mu    sync.Mutex
	kept  map[string]cache.NearEntry // guarded by mu
	told  []cache.Invalidation       // guarded by mu
	heard []func(cache.Invalidation) // guarded by mu
	sound bool                       // guarded by mu
}

func newFakeNear() *fakeNear { return &fakeNear{kept: map[string]cache.NearEntry{}, sound: true} }

func (f *fakeNear) Get(key string) (any, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.kept[key]
	return e.Value, ok && f.sound
}

func (f *fakeNear) Mark() (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 1, f.sound
}

func (f *fakeNear) Put(key string, e cache.NearEntry, _ uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept[key] = e
}

func (f *fakeNear) Invalidated(i cache.Invalidation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, i)
	for _, key := range i.Keys {
		delete(f.kept, key)
	}
}

func (f *fakeNear) Listen(heard func(cache.Invalidation)) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, heard)
	return func() {}
}

func (f *fakeNear) entry(key string) (cache.NearEntry, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.kept[key]
	return e, ok
}

type flat struct {
	ID   int
	Name string
	At   time.Time
}

type deep struct {
	Names []string
}

type copies struct {
	Names []string
}

func (c copies) Clone() copies { return copies{append([]string(nil), c.Names...)} }

// nearRead reads a value twice, from the store and from the near layer, and
// checks that what a caller does to the one does not show in the other.
func nearRead[T any](t *testing.T, c *cache.Cache, near *fakeNear, key string, value T, change func(*T)) {
	t.Helper()
	ctx := t.Context()
	if err := cache.Set(ctx, c, key, value, time.Minute); err != nil {
		t.Fatal(err)
	}
	before := c.Stats()
	for range 3 {
		got, err := cache.Get[T](ctx, c, key)
		if err != nil || !reflect.DeepEqual(got, value) {
			t.Errorf("%s: got %+v, %v, want %+v", key, got, err, value)
		}
		change(&got)
	}
	if s := c.Stats(); s.Hits-before.Hits != 1 || s.NearHits-before.NearHits != 2 {
		t.Errorf("%s: got %d hits and %d near hits, want 1 and 2", key, s.Hits-before.Hits, s.NearHits-before.NearHits)
	}
	if e, ok := near.entry(c.Prefix() + key); !ok || e.TTL > time.Minute || e.TTL < 30*time.Second || e.Size == 0 {
		t.Errorf("%s: kept %+v, %v", key, e, ok)
	}
}

func TestNearValuesAreEachCallersOwn(t *testing.T) {
	t.Parallel()
	near := newFakeNear()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		cfg := b.cfg
		cfg.Near = near
		c := b.cache.WithConfig(cfg)
		nearRead(t, c, near, "number", 42, func(n *int) { *n = 0 })
		nearRead(t, c, near, "flat", flat{1, "Ada", time.Unix(5, 0).UTC()}, func(f *flat) { f.Name = "" })
		nearRead(t, c, near, "deep", deep{[]string{"a"}}, func(d *deep) { d.Names[0] = "changed" })
		nearRead(t, c, near, "copies", copies{[]string{"a"}}, func(d *copies) { d.Names[0] = "changed" })
		nearRead(t, c, near, "pointer", &flat{ID: 1}, func(f **flat) { (*f).ID = 2 })
		// Another type's value is read from the store.
		if got, err := cache.Get[int64](t.Context(), c, "number"); got != 42 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	})
}

func TestNearIsToldOfEveryWrite(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		near := newFakeNear()
		cfg := b.cfg
		cfg.Near = near
		c := b.cache.WithConfig(cfg)
		p := cfg.Prefix
		for name, call := range map[string]struct {
			call func() error
			want cache.Invalidation
		}{
			"set":       {func() error { return cache.Set(ctx, c, "k", 1, time.Minute) }, cache.Invalidation{Keys: []string{p + "k"}}},
			"set many":  {func() error { return cache.SetMany(ctx, c, map[string]int{"k": 1}, time.Minute) }, cache.Invalidation{Keys: []string{p + "k"}}},
			"delete":    {func() error { return c.Delete(ctx, "k") }, cache.Invalidation{Keys: []string{p + "k"}}},
			"increment": {func() error { _, err := c.Increment(ctx, "n", 1, time.Minute); return err }, cache.Invalidation{Keys: []string{p + "n"}}},
			"pattern": {
				func() error { _, err := c.InvalidatePattern(ctx, "a:*"); return err },
				cache.Invalidation{Patterns: []string{cache.EscapePattern(p) + "a:*"}},
			},
			"tags": {func() error { return c.InvalidateTags(ctx, "t") }, cache.Invalidation{Tags: []string{p + "t"}}},
		} {
			near.told = nil
			if err := call.call(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(near.told) != 1 || !reflect.DeepEqual(near.told[0], call.want) {
				t.Errorf("%s: told %+v, want %+v", name, near.told, call.want)
			}
		}
		near.told = nil
		if _, err := c.Clear(ctx); err != nil || len(near.told) != 2 || !near.told[0].AllTags {
			t.Errorf("clear: told %+v, %v", near.told, err)
		}
	})
}

// TestNearIsBypassed: by reads with a bound, and while it is not sound.
func TestNearIsBypassed(t *testing.T) {
	t.Parallel()
	near := newFakeNear()
	near.sound = false
	c, err := cache.Open(t.Context(), "memory://", cache.Config{Near: near, Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	if err := cache.Set(ctx, c, "k", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get[int](ctx, c, "k"); err != nil {
		t.Fatal(err)
	}
	if _, kept := near.entry("k"); kept {
		t.Error("something was kept while the layer was not sound")
	}
	near.sound = true
	near.Put("k", cache.NearEntry{Value: 7, TTL: time.Minute}, 1)
	if got, err := cache.Get[int](ctx, c, "k", cache.Within(time.Hour)); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("got %d, %v: the near layer proves nothing", got, err)
	}
	got, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (int, error) { return 2, nil }, cache.Within(time.Hour))
	if got != 2 || err != nil {
		t.Errorf("got %d, %v, want the database's", got, err)
	}
}

// TestHeardInvalidationForgetsTheFlight: a caller that comes after it does not
// share a load that began before.
func TestHeardInvalidationForgetsTheFlight(t *testing.T) {
	t.Parallel()
	for name, heard := range map[string]cache.Invalidation{
		"key":      {Keys: []string{"k"}},
		"pattern":  {Patterns: []string{"*"}},
		"tag":      {Tags: []string{"t"}},
		"all tags": {AllTags: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near := newFakeNear()
			c, err := cache.Open(t.Context(), "memory://", cache.Config{Near: near, WaitLimit: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begun, finish := make(chan struct{}), make(chan struct{})
			first := make(chan int, 1)
			go func() {
				got, _ := cache.GetOrSet(t.Context(), c, "k", time.Minute, func(context.Context) (int, error) {
					close(begun)
					<-finish
					return 1, nil
				}, cache.WithTags("t"))
				first <- got
			}()
			<-begun
			near.heard[0](heard)
			got, err := cache.GetOrSet(t.Context(), c, "k", time.Minute, func(context.Context) (int, error) { return 2, nil }, cache.WithTags("t"))
			if got != 2 || err != nil {
				t.Errorf("got %d, %v: an older load was shared", got, err)
			}
			close(finish)
			if got := <-first; got != 1 {
				t.Errorf("got %d, want the first loader's", got)
			}
		})
	}
}

// A near hit is so short that a single allocation would double it.
func TestNearHitAllocatesNothing(t *testing.T) { //nolint:paralleltest // others would allocate meanwhile
	type price struct {
		ID    int64
		Total string
		Since time.Time
	}
	near := newFakeNear()
	c, err := cache.Open(t.Context(), "memory://", cache.Config{Near: near})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := price{1, "129.90", time.Unix(1, 0).UTC()}
	near.Put("price:1", cache.NearEntry{Value: want}, 0)
	load := func(context.Context) (price, error) { return price{}, errBoom }
	for name, read := range map[string]func() (price, error){
		"Get":      func() (price, error) { return cache.Get[price](t.Context(), c, "price:1") },
		"GetOrSet": func() (price, error) { return cache.GetOrSet(t.Context(), c, "price:1", time.Minute, load) },
	} {
		allocs := testing.AllocsPerRun(100, func() {
			if got, err := read(); got != want || err != nil {
				t.Errorf("%s: got %v, %v", name, got, err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want none", name, allocs)
		}
	}
}

// pointed is a type whose Clone, like most, cannot be called on nil.
type pointed struct{ Names []string }

func (p *pointed) Clone() *pointed { return &pointed{append([]string(nil), p.Names...)} }

// TestNearValuesOfInterfaces: whoever asks for an interface is given what the
// codec makes of the payload, and nothing that others hold too.
func TestNearValuesOfInterfaces(t *testing.T) {
	t.Parallel()
	near := newFakeNear()
	c := open(t, "memory://", nil, cache.Config{Near: near}).cache
	nearRead[any](t, c, near, "any", "text", func(*any) {})
	nearRead(t, c, near, "copies", copies{[]string{"a"}}, func(v *copies) { v.Names[0] = "changed" })
	got, err := cache.Get[any](t.Context(), c, "copies")
	if want := any(map[string]any{"Names": []any{"a"}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v, want %#v", got, err, want)
	}
	nearRead[*pointed](t, c, near, "nil", nil, func(*(*pointed)) {})
	nearRead(t, c, near, "pointed", &pointed{[]string{"a"}}, func(v **pointed) { (*v).Names[0] = "changed" })
}

// TestNearEntryLacksATag: a call that names a tag is not given what lacks it, which
// the tag's invalidation would not have removed.
func TestNearEntryLacksATag(t *testing.T) {
	t.Parallel()
	near := newFakeNear()
	c, ctx := open(t, "memory://", nil, cache.Config{Near: near, Prefix: "p:"}).cache, t.Context()
	for _, with := range [][]cache.WriteOption{nil, {cache.WithTags("other")}} {
		if err := cache.Set(ctx, c, "stock:2", 1, time.Minute, with...); err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Get[int](ctx, c, "stock:2"); err != nil {
			t.Fatal(err)
		}
		if _, ok := near.entry("p:stock:2"); !ok {
			t.Fatal("the near layer has no entry")
		}
		view := cache.For[int](c, cache.Spec[int]{Prefix: "stock", TTL: time.Minute, Tags: func(int) []string { return []string{"tag"} }})
		if got, err := view.Get(ctx, 2); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("get: got %v, %v, want ErrMiss", got, err)
		}
		if got, err := view.GetMany(ctx, []int{2}); len(got) != 0 || err != nil {
			t.Errorf("get many: got %v, %v, want nothing", got, err)
		}
		if got, err := cache.GetOrSet(ctx, c, "stock:2", time.Minute, constant(2), cache.WithTags("tag")); got != 2 || err != nil {
			t.Errorf("get or set: got %v, %v, want what is loaded", got, err)
		}
		before := c.Stats().NearHits
		for range 2 {
			if got, err := view.Get(ctx, 2); got != 2 || err != nil {
				t.Errorf("get: got %v, %v", got, err)
			}
		}
		if got := c.Stats().NearHits - before; got != 1 {
			t.Errorf("got %d near hits with the tag, want 1", got)
		}
	}
}
