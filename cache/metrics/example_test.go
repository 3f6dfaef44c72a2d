package metrics_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/metrics"
)

func ExampleNewCollector() {
	ctx := context.Background()
	observer := metrics.NewObserver(metrics.ObserverConfig{})
	c, err := cache.Open(ctx, "memory://", cache.Config{Observer: observer})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(observer, metrics.NewCollector(c, metrics.Config{}))
	// http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	_ = cache.Set(ctx, c, "order:42", "PAID", time.Minute)
	_, _ = cache.Get[string](ctx, c, "order:42")
	_, _ = cache.Get[string](ctx, c, "order:43")

	families, _ := registry.Gather() // a scrape
	for _, family := range families {
		if !slices.Contains([]string{"hits_total", "misses_total", "operation_seconds", "store_keys"},
			strings.TrimPrefix(family.GetName(), "freshet_cache_")) {
			continue // there are more
		}
		for _, m := range family.GetMetric() {
			fmt.Print(family.GetName())
			for _, label := range m.GetLabel() {
				fmt.Print(" ", label.GetName(), "=", label.GetValue())
			}
			if h := m.GetHistogram(); h != nil {
				fmt.Println(":", h.GetSampleCount(), "calls")
			} else {
				fmt.Println(":", m.GetCounter().GetValue()+m.GetGauge().GetValue())
			}
		}
	}
	// Output:
	// freshet_cache_hits_total prefix=order: 1
	// freshet_cache_misses_total prefix=order: 1
	// freshet_cache_operation_seconds op=get result=hit: 1 calls
	// freshet_cache_operation_seconds op=get result=miss: 1 calls
	// freshet_cache_operation_seconds op=set result=ok: 1 calls
	// freshet_cache_store_keys: 1
}
