package near_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// While a broadcast is on its way, or lost, a loader does not make a page of an item
// that is kept near, and so does not store it in Redis for everybody (I3).
func TestNestedNear(t *testing.T) {
	t.Parallel()
	broker, store := servertest.NATS(t), servertest.Redis(t)
	proxy := servertest.NewProxy(t, broker.Addr())
	open := func(url string) *cache.Cache {
		layer, err := near.New(connect(t, url), near.Config{Name: "shop", NoInvalidator: true, Patience: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = layer.Close() })
		c, err := cache.Open(t.Context(), store.URL(), cache.Config{Near: layer})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	reader, writer := open("nats://"+proxy.Addr()), open(broker.URL())
	ctx, version := t.Context(), 0
	item := func(ctx context.Context) (int, error) {
		return cache.GetOrSet(ctx, reader, "item", time.Hour, func(context.Context) (int, error) { return version, nil })
	}
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		_, err := item(ctx)
		return err == nil && reader.Stats().NearHits > 0, fmt.Sprintf("%v %+v", err, reader.Stats())
	})
	proxy.Hold(servertest.ToClient)
	version++
	if err := writer.Delete(ctx, "item", "page"); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.GetOrSet(ctx, reader, "page", time.Hour, item); err != nil {
		t.Fatal(err)
	}
	proxy.Release(servertest.ToClient)
	if got, err := cache.Get[int](ctx, writer, "page"); err == nil && got != version {
		t.Errorf("in Redis the page is %d, in the database %d, and nothing will remove it", got, version)
	}
}
