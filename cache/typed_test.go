package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func TestTypedView(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		users := cache.For[string](b.cache, cache.Spec[int]{Prefix: "user", Version: 3, TTL: time.Minute, Jitter: 0.1})
		if got := users.Key(7); got != "user:7:v3" {
			t.Errorf("key: got %q", got)
		}
		if _, err := users.Get(ctx, 7); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("got %v, want ErrMiss", err)
		}
		got, err := users.GetOrSet(ctx, 7, func(context.Context) (string, error) { return "Ada", nil })
		if got != "Ada" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if got, err := cache.Get[string](ctx, b.cache, "user:7:v3"); got != "Ada" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if ttl, err := b.cache.TTL(ctx, "user:7:v3"); ttl > time.Minute || ttl < 50*time.Second || err != nil {
			t.Errorf("got %v, %v", ttl, err)
		}
		if err := users.SetMany(ctx, map[int]string{8: "Bob", 9: "Cyd"}); err != nil {
			t.Fatal(err)
		}
		if err := users.Delete(ctx, 8); err != nil {
			t.Fatal(err)
		}
		if found, err := users.GetMany(ctx, []int{7, 8, 9}); err != nil || len(found) != 2 || found[9] != "Cyd" {
			t.Errorf("got %v, %v", found, err)
		}
		if ok, err := users.Exists(ctx, 9); !ok || err != nil {
			t.Errorf("got %v, %v", ok, err)
		}
		emails := cache.For[int](b.cache, cache.Spec[string]{Key: func(s string) string { return "user:email:" + s }, TTL: time.Minute})
		if err := emails.Set(ctx, "a@b", 7); err != nil {
			t.Fatal(err)
		}
		if got, err := cache.Get[int](ctx, b.cache, "user:email:a@b"); got != 7 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		if _, err := cache.For[int](b.cache, cache.Spec[int]{Prefix: "x"}).GetOrSet(ctx, 1, func(context.Context) (int, error) { return 1, nil }); !errors.Is(err, cache.ErrTTL) {
			t.Errorf("no TTL: got %v, want ErrTTL", err)
		}
	})
}

func TestIncrement(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := c.Increment(ctx, "n", 3, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got, err := c.Decrement(ctx, "n", 10, time.Hour); got != 50 || err != nil {
			t.Errorf("got %d, %v, want 50", got, err)
		}
		if got, err := cache.Get[int](ctx, c, "n"); got != 50 || err != nil {
			t.Errorf("got %d, %v, want 50", got, err)
		}
		if ttl, err := c.TTL(ctx, "n"); ttl > time.Minute || ttl < 30*time.Second || err != nil {
			t.Errorf("got %v, %v, want the first call's minute", ttl, err)
		}
		if err := cache.Set(ctx, c, "text", "x", time.Minute); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decrement(ctx, "n", math.MinInt64, time.Hour); err == nil {
			t.Errorf("the least delta: got %d and no error", got)
		}
		if got, err := c.Increment(ctx, "text", 1, time.Minute); err == nil {
			t.Errorf("a text was counted: %d", got)
		}
		if _, err := c.Increment(ctx, "n", 1, 0); !errors.Is(err, cache.ErrTTL) {
			t.Errorf("got %v, want ErrTTL", err)
		}
	})
}

func TestMemoize(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		calls := 0
		square := cache.Memoize(b.cache, func(n int) string { return cache.Key("square", n) }, time.Minute,
			func(_ context.Context, n int) (int, error) { calls++; return n * n, nil })
		for range 2 {
			if got, err := square(t.Context(), 12); got != 144 || err != nil || calls != 1 {
				t.Errorf("got %d, %v after %d calls", got, err, calls)
			}
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	if got := cache.Key("user", 7, int64(8), uint8(9), "permissions"); got != "user:7:8:9:permissions" {
		t.Errorf("got %q", got)
	}
	if got := cache.VersionedKey(2, "user", 7); got != "user:7:v2" {
		t.Errorf("got %q", got)
	}
}

// TestCompressedEntries: large values are short in Redis, small ones are plain.
func TestCompressedEntries(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{CompressAbove: 1000}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		large := strings.Repeat("large ", 10_000)
		values := map[string]string{"small": "plain", "large": large}
		if err := cache.SetMany(ctx, c, values, time.Minute); err != nil {
			t.Fatal(err)
		}
		got, err := cache.GetMany[string](ctx, c, []string{"small", "large"})
		if err != nil || got["large"] != large || got["small"] != "plain" {
			t.Errorf("got %d values, %v", len(got), err)
		}
		// A cache without compression reads both.
		if got, err := cache.Get[string](ctx, c.WithConfig(cache.Config{Prefix: b.cfg.Prefix}), "large"); got != large || err != nil {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if b.rdb == nil {
			return
		}
		raw := b.rdb.Get(ctx, b.cfg.Prefix+"small").Val()
		if raw != `"plain"` {
			t.Errorf("got %q, want plain JSON", raw)
		}
		if n := b.rdb.StrLen(ctx, b.cfg.Prefix+"large").Val(); n == 0 || n > 1000 {
			t.Errorf("got %d bytes of %d", n, len(large))
		}
	})
}

func TestStatsByPrefix(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		calls := 0
		mustGetOrSet(t, c, "order:1", loaded(&calls))
		mustGetOrSet(t, c, "order:1", loaded(&calls))
		_, _ = cache.Get[int](ctx, c, "user:1")
		_, _ = cache.Get[int](ctx, c, "nocolon")
		s := c.Stats()
		if o := s.Prefixes["order"]; o.Hits != 1 || o.Misses != 1 || o.Loads != 1 {
			t.Errorf("order: got %+v", o)
		}
		if s.Prefixes["user"].Misses != 1 || s.Prefixes[""].Misses != 1 || s.Misses != 3 || s.Hits != 1 {
			t.Errorf("got %+v", s)
		}
		for i := range 300 {
			_, _ = cache.Get[int](ctx, c, fmt.Sprintf("p%d:1", i))
		}
		if s := c.Stats(); len(s.Prefixes) > 101 || s.Misses != 303 {
			t.Errorf("got %d prefixes and %d misses, want no more than 101 and all of them", len(s.Prefixes), s.Misses)
		}
	})
}

func TestInfo(t *testing.T) {
	t.Parallel()
	onEveryStore(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		mustSet(t, b.cache, manyKeys(50)...)
		info, err := b.cache.Info(ctx)
		if err != nil || info.Keys != 50 {
			t.Errorf("got %+v, %v, want 50 keys", info, err)
		}
		if b.rdb != nil && (info.UsedMemory == 0 || info.Version == "" || info.Servers == 0) {
			t.Errorf("got %+v", info)
		}
	})
}

// upper is a codec that other clients could not read.
type upper struct{}

func (upper) Marshal(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	return append([]byte("\xff\xf7"), raw...), err
}

func (upper) Unmarshal(data []byte, v any) error { return json.Unmarshal(data[2:], v) }

// TestCodecThatWritesTheMagic: no codec's output is taken for a header.
func TestCodecThatWritesTheMagic(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{Codec: upper{}}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		calls := 0
		for range 2 {
			if got := mustGetOrSet(t, c, "k", loaded(&calls)); got != 1 {
				t.Errorf("got %d", got)
			}
		}
		got, err := cache.GetMany[int](ctx, c, []string{"k"})
		if err != nil || got["k"] != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

// TestGetManyReturnsTheOthers: a value of another type fails by itself.
func TestGetManyReturnsTheOthers(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		if err := cache.SetMany(ctx, c, map[string]any{"stock:1": 10, "stock:2": "ten"}, time.Minute); err != nil {
			t.Fatal(err)
		}
		var failed *cache.BatchError
		got, err := cache.GetMany[int](ctx, c, []string{"stock:1", "stock:2", "stock:3"})
		if !errors.As(err, &failed) || len(failed.Failed) != 1 || failed.Failed["stock:2"] == nil || len(got) != 1 || got["stock:1"] != 10 {
			t.Errorf("got %v, %v", got, err)
		}
		view := cache.For[int](c, cache.Spec[int]{Prefix: "stock", TTL: time.Minute})
		if got, err := view.GetMany(ctx, []int{1, 2, 3}); !errors.As(err, &failed) || len(got) != 1 || got[1] != 10 {
			t.Errorf("typed: got %v, %v", got, err)
		}
	})
}

// TestTypeThatCannotBeRead: JSON does not bring an interface back, so each call
// loads; that is logged once for a prefix.
func TestTypeThatCannotBeRead(t *testing.T) {
	t.Parallel()
	log := &logged{}
	c := open(t, "memory://", nil, cache.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}).cache
	load := func(context.Context) (fmt.Stringer, error) { return time.Second, nil }
	for range 4 {
		if got, err := cache.GetOrSet(t.Context(), c, "wait:1", time.Minute, load); err != nil || got.String() != "1s" {
			t.Errorf("got %v, %v", got, err)
		}
	}
	log.want(t, "cannot be decoded", 1)
	many := func(_ context.Context, ids []int) (map[int]fmt.Stringer, error) {
		return map[int]fmt.Stringer{1: time.Second}, nil
	}
	for range 4 {
		got, err := cache.GetOrSetMany(t.Context(), c, []int{1}, func(int) string { return "pause:1" }, time.Minute, many)
		if err != nil || len(got) != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	}
	log.want(t, "cannot be decoded", 2)
}

// TestUselessValueIsReplacedOnce: of all callers that cannot decode what is
// there, one loads.
func TestUselessValueIsReplacedOnce(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		if err := cache.Set(ctx, b.cache, "k", "an older program's", time.Minute); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		loads := 0
		var wg sync.WaitGroup
		for i := range 8 {
			c := b.cache
			if i%2 == 1 {
				c = b.cache.WithConfig(b.cfg)
			}
			wg.Go(func() {
				got, err := cache.GetOrSet(ctx, c, "k", time.Minute, func(context.Context) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					loads++
					return loads, nil
				})
				if got != 1 || err != nil {
					t.Errorf("got %d, %v", got, err)
				}
			})
		}
		wg.Wait()
		if loads != 1 {
			t.Errorf("got %d loads, want 1", loads)
		}
	})
}

// point writes its own stored form.
type point struct{ x, y byte } //nolint:recvcheck // what reads into one needs a pointer

func (p point) MarshalCache() ([]byte, error) { return []byte{p.x, p.y}, nil }

func (p *point) UnmarshalCache(data []byte) error {
	if len(data) != 2 {
		return fmt.Errorf("%d bytes", len(data))
	}
	p.x, p.y = data[0], data[1]
	return nil
}

func TestValuesThatEncodeThemselves(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx, c := b.t, b.t.Context(), b.cache
		want := point{0xff, 0xf7} // what a header begins with, too
		for range 2 {
			got, err := cache.GetOrSet(ctx, c, "p", time.Minute, func(context.Context) (point, error) { return want, nil })
			if got != want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		}
		many, err := cache.GetOrSetMany(ctx, c, []string{"p", "q"}, func(k string) string { return k }, time.Minute,
			func(context.Context, []string) (map[string]point, error) { return map[string]point{"q": {1, 2}}, nil })
		if err != nil || many["p"] != want || many["q"] != (point{1, 2}) {
			t.Errorf("got %v, %v", many, err)
		}
		if b.rdb != nil {
			if raw := b.rdb.Get(ctx, b.cfg.Prefix+"q").Val(); raw != "\x01\x02" {
				t.Errorf("stored %q", raw)
			}
		}
	})
}

// spot is a type whose pointer writes its stored form.
type spot struct{ x byte }

func (s *spot) MarshalCache() ([]byte, error) { return []byte{0xfe, s.x}, nil }

func (s *spot) UnmarshalCache(data []byte) error {
	if len(data) != 2 {
		return fmt.Errorf("%d bytes", len(data))
	}
	s.x = data[1]
	return nil
}

// TestPointersThatEncodeThemselves: whichever of a type and its pointer has the
// methods, and whichever the values are, what was written can be read.
func TestPointersThatEncodeThemselves(t *testing.T) {
	t.Parallel()
	c := open(t, "memory://", nil, cache.Config{}).cache
	encodes(t, c, "value", point{1, 2})
	encodes(t, c, "pointer", &point{1, 2})
	encodes(t, c, "value with methods of its pointer", spot{1})
	encodes(t, c, "pointer with methods", &spot{1})
}

func encodes[T any](t *testing.T, c *cache.Cache, key string, want T) {
	t.Helper()
	if err := cache.Set(t.Context(), c, key, want, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.Get[T](t.Context(), c, key); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, %v, want %v", key, got, err, want)
	}
}

func TestTwoIDsOfOneKey(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		halves := cache.For[string](b.cache, cache.Spec[int]{TTL: time.Minute, Key: func(id int) string { return fmt.Sprint("half:", id/2) }})
		if err := halves.SetMany(ctx, map[int]string{2: "two", 3: "three"}); !errors.Is(err, cache.ErrKey) {
			t.Errorf("got %v, want ErrKey: one of them would be lost", err)
		}
		if err := halves.Set(ctx, 2, "both"); err != nil {
			t.Fatal(err)
		}
		if got, err := halves.GetMany(ctx, []int{2, 3}); err != nil || len(got) != 2 {
			t.Errorf("got %v, %v, want both", got, err)
		}
	})
}
