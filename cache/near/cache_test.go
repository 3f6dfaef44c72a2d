package near_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// TestCachesWithNearLayers: what one process changes in Redis, by key, pattern or
// tag, the other's near layer gives up, and so its reads see it.
func TestCachesWithNearLayers(t *testing.T) {
	t.Parallel()
	broker, store := servertest.NATS(t), servertest.Redis(t)
	var caches [2]*cache.Cache
	for i := range caches {
		layer, err := near.New(connect(t, broker.URL()), near.Config{Name: "shop", NoInvalidator: true, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = layer.Close() })
		caches[i], err = cache.Open(t.Context(), store.URL(), cache.Config{Prefix: "shop:", Near: layer})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = caches[i].Close() })
	}
	reader, writer := caches[0], caches[1]
	ctx, version := t.Context(), 0
	load := func(context.Context) (int, error) { return version, nil }
	// kept reads until the near layer serves the present version.
	kept := func() {
		t.Helper()
		from := reader.Stats().NearHits
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			got, err := cache.GetOrSet(ctx, reader, "order:42", time.Hour, load, cache.WithTags("client:7"))
			return err == nil && got == version && reader.Stats().NearHits > from, fmt.Sprintf("%d, %v, %+v", got, err, reader.Stats())
		})
	}
	for name, invalidate := range map[string]func() error{
		"key":     func() error { return writer.Delete(ctx, "order:42") },
		"pattern": func() error { _, err := writer.InvalidatePattern(ctx, "order:*"); return err },
		"tag":     func() error { return writer.InvalidateTags(ctx, "client:7") },
		"clear":   func() error { _, err := writer.Clear(ctx); return err },
	} {
		kept()
		version++
		if err := invalidate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			got, err := cache.Get[int](ctx, reader, "order:42")
			return errors.Is(err, cache.ErrMiss), fmt.Sprintf("%s: still %d, %v", name, got, err)
		})
		// A process sees its own writes at once.
		if got, err := cache.GetOrSet(ctx, writer, "order:42", time.Hour, load, cache.WithTags("client:7")); got != version || err != nil {
			t.Errorf("%s: the writer got %d, %v, want %d", name, got, err, version)
		}
	}
}
