package cache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func position(owner string, seq uint64) cache.Position {
	return cache.Position{
		Stream: "stream-1", Seq: seq, ID: fmt.Sprintf("session:%d", seq), Epoch: "73:1:0",
		LSN: cache.LSN(1000 + seq), Time: time.Date(2026, 11, 23, 10, 0, int(seq%60), 0, time.UTC), Owner: owner, Rules: "r1",
	}
}

func mustTakeOver(t *testing.T, a *cache.Applier, p cache.Position) cache.Loaded {
	t.Helper()
	loaded, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.TakeOver(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return loaded
}

func mustApply(t *testing.T, a *cache.Applier, b cache.Batch) cache.Applied {
	t.Helper()
	applied, err := a.Apply(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

func mustSet(t *testing.T, c *cache.Cache, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := cache.Set(t.Context(), c, key, "value of "+key, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}

func present(t *testing.T, c *cache.Cache, keys ...string) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	for _, key := range keys {
		_, err := cache.Get[string](t.Context(), c, key)
		if err != nil && !errors.Is(err, cache.ErrMiss) {
			t.Fatal(err)
		}
		there[key] = err == nil
	}
	return there
}

// oddKeys are names that have broken somebody's cache.
func oddKeys() []string {
	keys := []string{
		"order:42", "*", "?", "[a]", "{", "}", "{}", "{}x", "{a}", "{a}b", "x{a}b", "a}b", "a}{b}c", "{a", "}{",
		"with space", "line\nbreak", "emoji:🙂", "\x00\xff", `back\slash`, "{user:1}:profile", "trailing{", "a{}b{c}",
	}
	long := make([]byte, 10_000)
	for i := range long {
		long[i] = 'a' + byte(i%26)
	}
	return append(keys, string(long))
}

func TestApplyRemovesExactlyTheBatch(t *testing.T) {
	t.Parallel()
	onEveryStore(t, cache.Config{}, func(b *backend) {
		t := b.t
		keys := oddKeys()
		mustSet(t, b.cache, keys...)
		mustSet(t, b.cache, "other")
		loaded := mustTakeOver(t, b.applier, position("a", 1))
		if got, want := loaded.Verdict, cache.VerdictLost; got != want {
			t.Errorf("verdict of a store with keys and no position: got %v, want %v", got, want)
		}
		applied := mustApply(t, b.applier, cache.Batch{
			Keys: append(keys, "not there"), Ahead: 2000, Epoch: "73:1:0", WantExisted: true,
		})
		if got, want := applied.Removed, len(keys); got != want {
			t.Errorf("removed: got %d, want %d", got, want)
		}
		if got, want := len(applied.Existed), len(keys); got != want {
			t.Errorf("existed: got %d, want %d", got, want)
		}
		if _, ok := applied.Existed["not there"]; ok {
			t.Error("a key that was not there is said to have existed")
		}
		for key, there := range present(t, b.cache, keys...) {
			if there {
				t.Errorf("%.40q is still there", key)
			}
		}
		if !present(t, b.cache, "other")["other"] {
			t.Error("a key that was not in the batch is gone")
		}
	})
}

func TestPositionGoesFromTakeOverToLoad(t *testing.T) {
	t.Parallel()
	onEveryStore(t, cache.Config{}, func(b *backend) {
		t := b.t
		first := mustTakeOver(t, b.applier, position("a", 1))
		if got, want := first.Verdict, cache.VerdictEmpty; got != want {
			t.Errorf("verdict of an empty store: got %v, want %v", got, want)
		}
		for seq := uint64(2); seq < 10; seq++ {
			mustApply(t, b.applier, cache.Batch{Keys: []string{"x", "y", "z"}, Ahead: cache.LSN(seq), Epoch: "73:1:0"})
			if err := b.applier.Move(t.Context(), position("a", seq)); err != nil {
				t.Fatal(err)
			}
		}
		held := position("a", 10)
		held.Hold = 7
		if err := b.applier.Move(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		next := b.another(t, cache.ApplierConfig{Name: "test"})
		loaded, err := next.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := loaded.Verdict, cache.VerdictContinue; got != want {
			t.Fatalf("verdict: got %v (%s), want %v", got, loaded.Detail, want)
		}
		if got, want := loaded.Position, held; got != want {
			t.Errorf("position: got %+v, want %+v", got, want)
		}
		if got, want := loaded.Position.Watermark(), cache.LSN(7); got != want {
			t.Errorf("watermark while held: got %v, want %v", got, want)
		}
	})
}

func TestForeignOwnerStepsDown(t *testing.T) {
	t.Parallel()
	onEveryStore(t, cache.Config{}, func(b *backend) {
		t := b.t
		old, young := b.applier, b.another(t, cache.ApplierConfig{Name: "test"})
		mustTakeOver(t, old, position("old", 1))
		mustApply(t, old, cache.Batch{Keys: []string{"a", "b", "c"}})
		loaded, err := young.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// The old owner goes on between the other's Load and its TakeOver.
		mustApply(t, old, cache.Batch{Keys: []string{"a", "b", "c"}})
		if err := old.Move(t.Context(), position("old", 2)); err != nil {
			t.Fatal(err)
		}
		p := loaded.Position
		p.Owner = "young"
		if err := young.TakeOver(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if _, err := old.Apply(t.Context(), cache.Batch{Keys: []string{"a", "b", "c"}}); !errors.Is(err, cache.ErrForeignOwner) {
			t.Errorf("apply by the old owner: got %v, want ErrForeignOwner", err)
		}
		if err := old.Move(t.Context(), position("old", 3)); !errors.Is(err, cache.ErrForeignOwner) {
			t.Errorf("move by the old owner: got %v, want ErrForeignOwner", err)
		}
		mustApply(t, young, cache.Batch{Keys: []string{"a", "b", "c"}})
		if err := young.Move(t.Context(), position("young", 3)); err != nil {
			t.Error(err)
		}
	})
}

func TestApplyBeforeTakeOver(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		if _, err := b.applier.Apply(t.Context(), cache.Batch{Keys: []string{"a"}}); !errors.Is(err, cache.ErrNotOwner) {
			t.Errorf("got %v, want ErrNotOwner", err)
		}
		if err := b.applier.Move(t.Context(), position("a", 1)); !errors.Is(err, cache.ErrNotOwner) {
			t.Errorf("got %v, want ErrNotOwner", err)
		}
	})
}

func TestSweepRemovesWhatMatches(t *testing.T) {
	t.Parallel()
	onEveryStore(t, cache.Config{}, func(b *backend) {
		t := b.t
		mustTakeOver(t, b.applier, position("a", 1))
		var gone, stay []string
		for i := range 300 {
			gone = append(gone, fmt.Sprintf("dash:%d", i), fmt.Sprintf("list:%d:x", i))
			stay = append(stay, fmt.Sprintf("order:%d", i), fmt.Sprintf("list:%d:y", i))
		}
		mustSet(t, b.cache, gone...)
		mustSet(t, b.cache, stay...)
		counts, err := b.applier.CountMatches(t.Context(), []string{"dash:*", "list:*", "freshet:*"})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(counts), "[300 600 0]"; got != want {
			t.Errorf("counts: got %v, want %v", got, want)
		}
		swept, err := b.applier.Sweep(t.Context(), []string{"dash:*", "list:*:x", "*:position:*", "freshet:*"})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := swept.Removed, int64(len(gone)); got != want {
			t.Errorf("removed: got %d, want %d", got, want)
		}
		for key, there := range present(t, b.cache, gone...) {
			if there {
				t.Errorf("%q is still there", key)
			}
		}
		for key, there := range present(t, b.cache, stay...) {
			if !there {
				t.Errorf("%q is gone", key)
			}
		}
		// The bookkeeping was left alone.
		if err := b.applier.Move(t.Context(), position("a", 2)); err != nil {
			t.Error(err)
		}
	})
}

func TestPrefixIsPutBeforeEverything(t *testing.T) {
	t.Parallel()
	onEveryStore(t, cache.Config{Prefix: "app*:"}, func(b *backend) {
		t := b.t
		mustTakeOver(t, b.applier, position("a", 1))
		mustSet(t, b.cache, "x:1", "x:2", "y:1")
		if b.rdb != nil {
			if err := b.rdb.Set(t.Context(), "apple:x:2", "another application's", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		applied := mustApply(t, b.applier, cache.Batch{Keys: []string{"x:1"}, WantExisted: true})
		if _, ok := applied.Existed["x:1"]; !ok {
			t.Errorf("existed: got %v, want x:1", applied.Existed)
		}
		if _, err := b.applier.Sweep(t.Context(), []string{"x:*"}); err != nil {
			t.Fatal(err)
		}
		there := present(t, b.cache, "x:1", "x:2", "y:1")
		if there["x:1"] || there["x:2"] || !there["y:1"] {
			t.Errorf("got %v, want y:1 only", there)
		}
		if b.rdb != nil && b.rdb.Exists(t.Context(), "apple:x:2").Val() != 1 {
			t.Error("a key without the prefix is gone")
		}
	})
}

// TestFillBegunBeforeApplyIsRefused: I3 for keys.
func TestFillBegunBeforeApplyIsRefused(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		mustTakeOver(t, b.applier, position("a", 1))
		for _, key := range oddKeys() {
			got, err := cache.GetOrSet(t.Context(), b.cache, key, time.Minute, func(ctx context.Context) (string, error) {
				mustApply(t, b.applier, cache.Batch{Keys: []string{key}})
				return "old", nil
			})
			if err != nil || got != "old" {
				t.Fatalf("%.40q: got %q, %v", key, got, err)
			}
			if present(t, b.cache, key)[key] {
				t.Errorf("%.40q: a fill that began before the invalidation was stored", key)
			}
		}
		if got, want := b.cache.Stats().Refused, int64(len(oddKeys())); got != want {
			t.Errorf("refused fills: got %d, want %d", got, want)
		}
	})
}
