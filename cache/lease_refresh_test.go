package cache_test

import (
	"errors"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// TestRefresh: a lease is to be had whatever is there, and what it stores or removes
// is void once the key was invalidated.
func TestRefresh(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		refresh := func(key string) cache.Lease {
			t.Helper()
			lease, err := c.Refresh(ctx, key)
			if err != nil || !lease.Held() {
				t.Fatalf("refresh: held %v, %v", lease.Held(), err)
			}
			return lease
		}
		fill := func(l cache.Lease, value int, want bool) {
			t.Helper()
			if stored, err := l.Fill(ctx, value, time.Minute); stored != want || err != nil {
				t.Errorf("fill with %d: got %v, %v, want %v", value, stored, err, want)
			}
		}
		remove := func(l cache.Lease, absent time.Duration, want bool) {
			t.Helper()
			if removed, err := l.Remove(ctx, absent); removed != want || err != nil {
				t.Errorf("remove: got %v, %v, want %v", removed, err, want)
			}
		}
		expect := func(key string, want int, wantErr error) {
			t.Helper()
			if got, err := cache.Get[int](ctx, c, key); got != want || !errors.Is(err, wantErr) {
				t.Errorf("%s: got %d, %v, want %d, %v", key, got, err, want, wantErr)
			}
		}

		// The value that is there stays until the fill.
		if err := cache.Set(ctx, c, "there", 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		lease := refresh("there")
		expect("there", 1, nil)
		fill(lease, 2, true)
		expect("there", 2, nil)
		fill(lease, 3, false) // one lease, one fill

		// An invalidation in between voids it and removes the value.
		for _, end := range []func(cache.Lease){
			func(l cache.Lease) { fill(l, 4, false) },
			func(l cache.Lease) { remove(l, 0, false) },
			func(l cache.Lease) { remove(l, time.Minute, false) },
		} {
			lease = refresh("there")
			if err := c.Delete(ctx, "there"); err != nil {
				t.Fatal(err)
			}
			end(lease)
			expect("there", 0, cache.ErrMiss)
			calls := 0
			mustGetOrSet(t, c, "there", loaded(&calls)) // it is not known to be absent either
		}

		// Whoever had the lease before stores nothing.
		first, err := c.Lease(ctx, "cold")
		if err != nil || !first.Held() {
			t.Fatalf("lease: held %v, %v", first.Held(), err)
		}
		second := refresh("cold")
		fill(first, 5, false)
		fill(second, 6, true)
		expect("cold", 6, nil)

		// The row is gone: the value goes, and that there is none may be remembered.
		calls := 0
		remove(refresh("cold"), 0, true)
		expect("cold", 0, cache.ErrMiss)
		mustGetOrSet(t, c, "cold", loaded(&calls))
		remove(refresh("cold"), time.Minute, true)
		expect("cold", 0, cache.ErrMiss)
		if _, err := cache.GetOrSet(ctx, c, "cold", time.Minute, loaded(&calls)); !errors.Is(err, cache.ErrNotFound) || calls != 1 {
			t.Errorf("got %v after %d loads, want ErrNotFound after 1", err, calls)
		}
		// A row that comes back is seen in spite of that.
		fill(refresh("cold"), 7, true)
		expect("cold", 7, nil)

		if _, err := c.Refresh(ctx, ""); !errors.Is(err, cache.ErrKey) {
			t.Errorf("got %v, want ErrKey", err)
		}
		if _, err := refresh("cold").Remove(ctx, -time.Second); !errors.Is(err, cache.ErrTTL) {
			t.Errorf("got %v, want ErrTTL", err)
		}
	})
}
