package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// loaded returns a loader that counts its calls and returns their number.
func loaded(calls *int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) {
		*calls++
		return *calls, nil
	}
}

func mustGetOrSet(t *testing.T, c *cache.Cache, key string, load func(context.Context) (int, error), opts ...cache.CallOption) int {
	t.Helper()
	got, err := cache.GetOrSet(t.Context(), c, key, time.Minute, load, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTagsInvalidateWhatCarriesThem(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		calls := 0
		seven, eight := cache.WithTags("client:7", "all"), cache.WithTags("client:8", "all")
		for range 2 {
			if got := mustGetOrSet(t, c, "a", loaded(&calls), seven); got != 1 {
				t.Fatalf("got %d, want the first load's", got)
			}
		}
		mustGetOrSet(t, c, "b", loaded(&calls), eight)

		if err := c.InvalidateTags(ctx, "client:7"); err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Get[int](ctx, c, "a"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("a bare Get: got %v, want ErrMiss", err)
		}
		if got := mustGetOrSet(t, c, "b", loaded(&calls), eight); got != 2 {
			t.Errorf("another tag's entry: got %d, want 2", got)
		}
		many, err := cache.GetMany[int](ctx, c, []string{"a", "b"})
		if err != nil || len(many) != 1 || many["b"] != 2 {
			t.Errorf("got %v, %v, want b alone", many, err)
		}
		if got := mustGetOrSet(t, c, "a", loaded(&calls), seven); got != 3 {
			t.Errorf("got %d, want a new load", got)
		}
		if err := c.InvalidateTags(ctx, "all"); err != nil {
			t.Fatal(err)
		}
		if many, err := cache.GetMany[int](ctx, c, []string{"a", "b"}); err != nil || len(many) != 0 {
			t.Errorf("got %v, %v, want nothing", many, err)
		}
	})
}

// TestTagInvalidatedDuringTheLoad: what is stored then is void from the start.
func TestTagInvalidatedDuringTheLoad(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		for _, how := range []string{"by option", "in the loader", "by lease"} {
			key := "k:" + how
			invalidate := func() {
				// Another process, so that this one is told nothing.
				other := c.WithConfig(b.cfg)
				if err := other.InvalidateTags(ctx, "t"); err != nil {
					t.Error(err)
				}
			}
			switch how {
			case "by option":
				mustGetOrSet(t, c, key, func(context.Context) (int, error) { invalidate(); return 1, nil }, cache.WithTags("t"))
			case "in the loader":
				mustGetOrSet(t, c, key, func(ctx context.Context) (int, error) {
					err := cache.Tag(ctx, "t")
					invalidate()
					return 1, err
				})
			case "by lease":
				lease, err := c.Lease(ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				if err := lease.Tag(ctx, time.Minute, "t"); err != nil {
					t.Fatal(err)
				}
				invalidate()
				if stored, err := lease.Fill(ctx, 1, time.Minute); !stored || err != nil {
					t.Errorf("%s: got %v, %v: the lease itself is good", how, stored, err)
				}
			}
			if got, err := cache.Get[int](ctx, c, key); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("%s: got %d, %v, want ErrMiss", how, got, err)
			}
		}
	})
}

// TestEvictedGenerationIsNoVersion: whichever key Redis evicts, an entry that was
// invalidated never comes back.
func TestEvictedGenerationIsNoVersion(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		if b.rdb == nil {
			return // a store in memory evicts no generation
		}
		calls := 0
		for _, tag := range []string{"t", ""} {
			mustGetOrSet(t, c, "k", loaded(&calls), cache.WithTags("t"))
			if err := b.rdb.Del(ctx, "freshet:tag:"+b.cfg.Prefix+tag).Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := cache.Get[int](ctx, c, "k"); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("got %d, %v, want ErrMiss", got, err)
			}
			// Others mint new generations; the old entry must not fit any.
			mustGetOrSet(t, c, "other", loaded(&calls), cache.WithTags("t"))
			if got, err := cache.Get[int](ctx, c, "k"); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("got %d, %v, want ErrMiss", got, err)
			}
		}
	})
}

// TestApplierInvalidatesTags: rules with tags reach what the library stores.
func TestApplierInvalidatesTags(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		mustTakeOver(t, b.applier, position("a", 1))
		calls := 0
		for _, batch := range []cache.Batch{{Tags: []string{"t"}}, {AllTags: true}} {
			mustGetOrSet(t, c, "k", loaded(&calls), cache.WithTags("t"))
			if _, err := cache.Get[int](ctx, c, "k"); err != nil {
				t.Fatal(err)
			}
			mustApply(t, b.applier, batch)
			if got, err := cache.Get[int](ctx, c, "k"); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("%+v: got %d, %v, want ErrMiss", batch, got, err)
			}
		}
	})
}

func TestEntryWithoutTheCallsTagsIsMissing(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		if err := cache.Set(ctx, c, "k", 100, time.Minute); err != nil {
			t.Fatal(err)
		}
		calls := 0
		if got := mustGetOrSet(t, c, "k", loaded(&calls), cache.WithTags("t")); got != 1 {
			t.Errorf("got %d: an entry that no tag can invalidate was taken for one that it can", got)
		}
		if got := mustGetOrSet(t, c, "k", loaded(&calls), cache.WithTags("t")); got != 1 {
			t.Errorf("got %d, want what was stored", got)
		}
		// A call that names fewer tags still honours all that the entry has.
		if got := mustGetOrSet(t, c, "k", loaded(&calls)); got != 1 {
			t.Errorf("got %d, want what was stored", got)
		}
		if err := c.InvalidateTags(ctx, "t"); err != nil {
			t.Fatal(err)
		}
		if got := mustGetOrSet(t, c, "k", loaded(&calls)); got != 2 {
			t.Errorf("got %d, want a new load", got)
		}
	})
}

func TestClearTakesTagsAlong(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		calls := 0
		mustGetOrSet(t, c, "k", func(context.Context) (int, error) {
			_, err := c.WithConfig(b.cfg).Clear(ctx)
			calls++
			return calls, err
		}, cache.WithTags("t"))
		if got, err := cache.Get[int](ctx, c, "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("got %d, %v, want ErrMiss", got, err)
		}
	})
}

func TestTagMisuse(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		load := func(context.Context) (int, error) { return 1, nil }
		if _, err := cache.GetOrSet(ctx, c, "k", time.Minute, load, cache.WithTags("")); !errors.Is(err, cache.ErrKey) {
			t.Errorf("got %v, want ErrKey", err)
		}
		if err := c.InvalidateTags(ctx, "a", ""); !errors.Is(err, cache.ErrKey) {
			t.Errorf("got %v, want ErrKey", err)
		}
		if err := cache.Tag(ctx, "outside a loader"); err != nil {
			t.Error(err)
		}
		// A loader that could not tag what it loads leaves nothing behind.
		_, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(ctx context.Context) (int, error) {
			if err := cache.Tag(ctx, ""); !errors.Is(err, cache.ErrKey) {
				t.Errorf("got %v, want ErrKey", err)
			}
			return 1, nil
		})
		if err != nil || stored(t, c, "k")["k"] {
			t.Errorf("got %v, and the value was stored", err)
		}
	})
}

// TestTaggedValuesPerID: a batch gives each entry its own tags.
func TestTaggedValuesPerID(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		orders := cache.For[string](b.cache, cache.Spec[int]{
			Prefix: "order", TTL: time.Minute, Tags: func(id int) []string { return []string{fmt.Sprintf("parity:%d", id%2), "order"} },
		})
		var missing [][]int
		load := func(ctx context.Context, ids []int) (map[int]string, error) {
			ids = slices.Sorted(slices.Values(ids))
			missing = append(missing, ids)
			values := map[int]string{}
			for _, id := range ids {
				values[id] = fmt.Sprint("order ", id)
			}
			return values, cache.Tag(ctx, "everyone's")
		}
		ids := []int{1, 2, 3, 4}
		get := func(want ...int) {
			t.Helper()
			missing = nil
			got, err := orders.GetOrSetMany(ctx, ids, load)
			if err != nil || len(got) != 4 || got[3] != "order 3" {
				t.Fatalf("got %v, %v", got, err)
			}
			if len(want) == 0 && len(missing) != 0 || len(want) > 0 && (len(missing) != 1 || !slices.Equal(missing[0], want)) {
				t.Errorf("loaded %v, want %v", missing, want)
			}
		}
		get(1, 2, 3, 4)
		get()
		for _, step := range []struct {
			tag  string
			want []int
		}{{"parity:1", []int{1, 3}}, {"order", ids}, {"everyone's", ids}, {"parity:0", []int{2, 4}}} {
			if err := b.cache.InvalidateTags(ctx, step.tag); err != nil {
				t.Fatal(err)
			}
			if found, err := orders.GetMany(ctx, ids); err != nil || len(found) != len(ids)-len(step.want) {
				t.Errorf("after %s: got %v, %v", step.tag, found, err)
			}
			get(step.want...)
			// Entries that were not loaded again lack nothing.
			get()
		}
		if err := orders.SetMany(ctx, map[int]string{5: "five", 6: "six"}); err != nil {
			t.Fatal(err)
		}
		if err := b.cache.InvalidateTags(ctx, "parity:1"); err != nil {
			t.Fatal(err)
		}
		if found, err := orders.GetMany(ctx, []int{5, 6}); err != nil || len(found) != 1 || found[6] != "six" {
			t.Errorf("got %v, %v, want 6 alone", found, err)
		}
	})
}

// TestVoidEntryGivesTheLease: to whoever asks for it by hand too.
func TestVoidEntryGivesTheLease(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		calls := 0
		mustGetOrSet(t, c, "k", loaded(&calls), cache.WithTags("t"))
		if lease, err := c.Lease(ctx, "k"); err != nil || lease.Held() {
			t.Errorf("got %v, %v: there is a value", lease.Held(), err)
		}
		if err := c.InvalidateTags(ctx, "t"); err != nil {
			t.Fatal(err)
		}
		if lease, err := c.Lease(ctx, "k"); err != nil || !lease.Held() {
			t.Errorf("got %v, %v, want the lease", lease.Held(), err)
		}
	})
}

// TestTaggedValueOfAnotherType is replaced as a plain one is.
func TestTaggedValueOfAnotherType(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		if err := cache.Set(ctx, c, "k", "text", time.Minute, cache.WithTags("t")); err != nil {
			t.Fatal(err)
		}
		calls := 0
		for range 2 {
			if got := mustGetOrSet(t, c, "k", loaded(&calls), cache.WithTags("t")); got != 1 {
				t.Errorf("got %d, want 1", got)
			}
		}
	})
}

// TestFlightWithoutTheTagIsNotJoined: a caller that comes after a tag's
// invalidation does not get what began before, though that knew nothing of the
// tag.
func TestFlightWithoutTheTagIsNotJoined(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{WaitLimit: time.Millisecond}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		begun, finish, ended := make(chan struct{}), make(chan struct{}), make(chan int, 1)
		go func() {
			got, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (int, error) {
				close(begun)
				<-finish
				return 1, nil
			}, cache.WithTags("a"))
			if err != nil {
				t.Error(err)
			}
			ended <- got
		}()
		<-begun
		if err := c.InvalidateTags(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		got, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (int, error) { return 2, nil }, cache.WithTags("b"))
		if got != 2 || err != nil {
			t.Errorf("got %d, %v: an older load was shared", got, err)
		}
		close(finish)
		if got := <-ended; got != 1 {
			t.Errorf("got %d, want its own load's", got)
		}
	})
}
