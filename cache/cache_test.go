package cache_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func TestSingleKeyCalls(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		ctx := t.Context()
		if _, err := cache.Get[int](ctx, b.cache, "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("get: got %v, want ErrMiss", err)
		}
		if ok, err := b.cache.Exists(ctx, "k"); ok || err != nil {
			t.Errorf("exists: got %v, %v", ok, err)
		}
		if _, err := b.cache.TTL(ctx, "k"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("ttl: got %v, want ErrMiss", err)
		}
		if ok, err := b.cache.Touch(ctx, "k", time.Minute); ok || err != nil {
			t.Errorf("touch: got %v, %v", ok, err)
		}
		if err := cache.Set(ctx, b.cache, "k", 42, time.Hour); err != nil {
			t.Fatal(err)
		}
		if got, err := cache.Get[int](ctx, b.cache, "k"); got != 42 || err != nil {
			t.Errorf("get: got %d, %v, want 42", got, err)
		}
		if ok, err := b.cache.Exists(ctx, "k"); !ok || err != nil {
			t.Errorf("exists: got %v, %v", ok, err)
		}
		if ok, err := b.cache.Touch(ctx, "k", time.Minute); !ok || err != nil {
			t.Errorf("touch: got %v, %v", ok, err)
		}
		if ttl, err := b.cache.TTL(ctx, "k"); ttl > time.Minute || ttl < 50*time.Second || err != nil {
			t.Errorf("ttl: got %v, %v, want a minute", ttl, err)
		}
		if err := b.cache.Delete(ctx, "k", "not there"); err != nil {
			t.Error(err)
		}
		if present(t, b.cache, "k")["k"] {
			t.Error("delete: the key is still there")
		}
		if err := cache.Set(ctx, b.cache, "short", 1, 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := pause(ctx, 40*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if present(t, b.cache, "short")["short"] {
			t.Error("a value outlived its TTL")
		}
		if err := b.cache.Ping(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		ctx := t.Context()
		want := map[string]int{}
		for i, key := range oddKeys() {
			want[key] = i
		}
		if err := cache.SetMany(ctx, b.cache, want, time.Minute); err != nil {
			t.Fatal(err)
		}
		got, err := cache.GetMany[int](ctx, b.cache, append(oddKeys(), "not there"))
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		if got, err := cache.GetMany[int](ctx, b.cache, nil); len(got) != 0 || err != nil {
			t.Errorf("no keys: got %v, %v", got, err)
		}
		listed := map[string]bool{}
		for key, err := range b.cache.Keys(ctx, "*") {
			if err != nil {
				t.Fatal(err)
			}
			listed[key] = true
		}
		if got, want := slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
			t.Errorf("keys: got %q, want %q", got, want)
		}
		swept, err := b.cache.InvalidatePattern(ctx, "{*")
		if err != nil || swept.Removed == 0 {
			t.Errorf("invalidate pattern: got %+v, %v", swept, err)
		}
		for key := range b.cache.Keys(ctx, "*") {
			if strings.HasPrefix(key, "{") {
				t.Errorf("%.40q is still there", key)
			}
		}
	})
}

func TestMistakesAreErrors(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		ctx, c := t.Context(), b.cache
		for name, test := range map[string]struct {
			err  error
			want error
		}{
			"empty key":         {cache.Set(ctx, c, "", 1, time.Minute), cache.ErrKey},
			"no TTL":            {cache.Set(ctx, c, "k", 1, 0), cache.ErrTTL},
			"negative TTL":      {cache.SetMany(ctx, c, map[string]int{"k": 1}, -time.Second), cache.ErrTTL},
			"TTL below a milli": {cache.Set(ctx, c, "k", 1, time.Microsecond), cache.ErrTTL},
		} {
			if !errors.Is(test.err, test.want) {
				t.Errorf("%s: got %v, want %v", name, test.err, test.want)
			}
		}
		_, err := cache.GetOrSet(ctx, c, "k", 0, constant(1))
		if !errors.Is(err, cache.ErrTTL) {
			t.Errorf("get or set without a TTL: got %v, want ErrTTL", err)
		}
		var batch *cache.BatchError
		err = cache.SetMany(ctx, c, map[string]any{"good": 1, "bad": func() {}}, time.Minute)
		if !errors.As(err, &batch) || len(batch.Failed) != 1 || batch.Failed["bad"] == nil {
			t.Errorf("set many: got %v, want one failed key", err)
		}
		if ok, err := c.Exists(ctx, "good"); !ok || err != nil {
			t.Errorf("the good one: got %v, %v, want it stored", ok, err)
		}
	})
}

func TestReservedKeysAreRefused(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://", nil, cache.Config{})
	if err := b.cache.Delete(t.Context(), "k", "freshet:lease:{k}"); !errors.Is(err, cache.ErrKey) {
		t.Errorf("got %v, want ErrKey", err)
	}
}

func TestLeaseIsGrantedOnce(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		ctx := t.Context()
		first, err := b.cache.Lease(ctx, "k")
		if err != nil || !first.Held() {
			t.Fatalf("first: got %v, %v, want it held", first.Held(), err)
		}
		second, err := b.cache.Lease(ctx, "k")
		if err != nil || second.Held() {
			t.Fatalf("second: got %v, %v, want it refused", second.Held(), err)
		}
		if err := first.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if second, err = b.cache.Lease(ctx, "k"); err != nil || !second.Held() {
			t.Fatalf("after a release: got %v, %v, want it held", second.Held(), err)
		}
		if stored, err := first.Fill(ctx, "released", time.Minute); stored || err != nil {
			t.Errorf("fill of a released lease: got %v, %v", stored, err)
		}
		if err := first.Release(ctx); err != nil {
			t.Error(err)
		}
		if stored, err := second.Fill(ctx, "mine", time.Minute); !stored || err != nil {
			t.Errorf("fill: got %v, %v, want stored", stored, err)
		}
		if third, err := b.cache.Lease(ctx, "k"); third.Held() || err != nil {
			t.Errorf("with a value there: got %v, %v, want it refused", third.Held(), err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://", nil, cache.Config{MemoryEntries: 10})
	for i := range 100 {
		mustSet(t, b.cache, fmt.Sprintf("k:%d", i))
	}
	n := 0
	for range b.cache.Keys(t.Context(), "*") {
		n++
	}
	if n != 10 {
		t.Errorf("entries: got %d, want 10", n)
	}
	if !present(t, b.cache, "k:99")["k:99"] {
		t.Error("the newest entry is not there")
	}
}

func TestOpenRefusesBadURLsWithoutTheirPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"http://u:geheim@localhost", "redis://u:geheim@local host", "redis://u:geheim@localhost:notaport/0",
		"redis://u:geheim@localhost?nonsense=1", "redis://u:geheim@h:1?addr=nonsense", "redis://u:geheim@h:1?master_name=m&nonsense=1",
		"redis://u:geheim@%zz",
	} {
		_, err := cache.Open(t.Context(), url, cache.Config{})
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: got %v, want an error without the password", url, err)
		}
		if _, err := cache.OpenApplier(url, cache.ApplierConfig{Name: "x"}); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: got %v, want an error without the password", url, err)
		}
	}
}
