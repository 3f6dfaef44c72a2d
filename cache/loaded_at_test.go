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
