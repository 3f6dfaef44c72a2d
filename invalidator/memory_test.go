package invalidator_test

import (
	"context"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

func TestAppliesToAStoreInMemory(t *testing.T) {
	t.Parallel()
	s := openStream(t, stream.Config{Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()}})
	p := &producer{t: t, stream: s, epoch: epoch, lsn: 1000}
	c, err := cache.Open(t.Context(), "memory://", cache.Config{Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	a, err := c.Applier(cache.ApplierConfig{Name: instance, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	v, err := invalidator.New(invalidator.Config{Name: instance, Logger: logger(t)}, s, a, compile(t, shopRules), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	p.begin(p.lsn)
	(&world{t: t, producer: p}).settle(&running{Invalidator: v, t: t})
	for _, key := range []string{"order:1", "order:2", "dashboard:1"} {
		if err := cache.Set(t.Context(), c, key, "old", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	p.publish("orders", order(1))
	p.publish("inventory", item(1))
	last := p.mark()
	servertest.Eventually(t, waiting, func() (bool, string) {
		got := v.Status().Position.LSN
		return got >= last, got.String()
	})
	for key, want := range map[string]bool{"order:1": false, "order:2": true, "dashboard:1": false} {
		if got, err := c.Exists(t.Context(), key); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", key, got, err, want)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: got %v, want nil", err)
	}
}
