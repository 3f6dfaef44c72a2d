package cache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// TestLoadedAt: what a standby gave is stored only if the standby had replayed
// everything that deletes were sent for before the lease was taken.
func TestLoadedAt(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		source := fmt.Sprintf("src%x", b.cfg.Prefix)
		c := b.withSource(source)
		load := func(c *cache.Cache, key string, replayed cache.LSN) bool {
			t.Helper()
			got, err := cache.GetOrSet(ctx, c, key, time.Minute, func(ctx context.Context) (int, error) {
				cache.LoadedAt(ctx, replayed)
				return 1, nil
			})
			if got != 1 || err != nil {
				t.Fatalf("got %d, %v, want the value in any case", got, err)
			}
			return stored(t, c, key)[key]
		}
		if load(c, "no position", 0x1000) {
			t.Error("stored although nothing is known of deletes")
		}
		a := b.another(t, cache.ApplierConfig{Name: source, Prefix: b.cfg.Prefix})
		mustTakeOver(t, a, at(0x200, 0))
		mustApply(t, a, cache.Batch{Keys: manyKeys(100), Ahead: 0x300, Epoch: "73:1:0"})
		for key, test := range map[string]struct {
			replayed cache.LSN
			want     bool
		}{"behind": {0x250, false}, "equal": {0x300, false}, "beyond": {0x301, true}} {
			if got := load(c, key, test.replayed); got != test.want {
				t.Errorf("%s: stored %v, want %v", key, got, test.want)
			}
		}
		if load(b.cache, "no source", 0x1000) {
			t.Error("stored without a source that could vouch for it")
		}
		// Deletes that follow the lease void that, however far the standby is.
		_, err := cache.GetOrSet(ctx, c, "voided", time.Minute, func(ctx context.Context) (int, error) {
			cache.LoadedAt(ctx, 0x10000)
			mustApply(t, a, cache.Batch{Keys: []string{"voided"}, Ahead: 0x400, Epoch: "73:1:0"})
			return 1, nil
		})
		if err != nil || stored(t, c, "voided")["voided"] {
			t.Errorf("got %v, and the value was stored", err)
		}
		// Positions of another epoch vouch for nothing.
		p := at(0x500, 0)
		p.Epoch = "73:2:0"
		mustMove(t, a, p)
		if load(c, "new epoch", 0x100000) {
			t.Error("stored across an epoch")
		}
		cache.LoadedAt(ctx, 1) // outside a loader
	})
}

// TestLoadedAtWithTags: what deletes were sent for counts on the masters of the
// entry's tags too, and up to the moment at which the last tag was captured.
func TestLoadedAtWithTags(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		source := fmt.Sprintf("src%x", b.cfg.Prefix)
		c := b.withSource(source)
		a := b.another(t, cache.ApplierConfig{Name: source, Prefix: b.cfg.Prefix})
		mustTakeOver(t, a, at(0x200, 0))
		mustApply(t, a, cache.Batch{Keys: manyKeys(100), Ahead: 0x300, Epoch: "73:1:0"}) // every master knows
		for i := range 8 {
			tag, ahead := fmt.Sprintf("tag:%d", i), 0x1000+cache.LSN(i)*0x100
			drop := func(ahead cache.LSN) {
				mustApply(t, a, cache.Batch{Tags: []string{tag}, Ahead: ahead, Epoch: "73:1:0"})
			}
			check := func(how string, want bool, before func(context.Context) error, opts ...cache.CallOption) {
				key := fmt.Sprintf("%s %d", how, i)
				_, err := cache.GetOrSet(t.Context(), c, key, time.Minute, func(ctx context.Context) (int, error) { return 1, before(ctx) }, opts...)
				if got := stored(t, c, key)[key]; got != want || err != nil {
					t.Errorf("%s: stored %v, %v, want %v", key, got, err, want)
				}
			}
			drop(ahead)
			check("named by the call", false, func(ctx context.Context) error {
				cache.LoadedAt(ctx, ahead)
				return nil
			}, cache.WithTags(tag))
			check("named before", false, func(ctx context.Context) error {
				defer cache.LoadedAt(ctx, ahead)
				return cache.Tag(ctx, tag)
			})
			check("named behind", false, func(ctx context.Context) error {
				cache.LoadedAt(ctx, ahead)
				return cache.Tag(ctx, tag)
			})
			check("beyond", true, func(ctx context.Context) error {
				cache.LoadedAt(ctx, ahead+1)
				return cache.Tag(ctx, tag)
			})
			check("invalidated in between", false, func(ctx context.Context) error {
				cache.LoadedAt(ctx, ahead+1)
				drop(ahead + 0x20)
				return cache.Tag(ctx, tag)
			})
		}
	})
}
