package metrics_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/metrics"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// fixed is a source whose numbers all differ.
type fixed struct{ err error }

func (fixed) Stats() cache.Stats {
	return cache.Stats{Prefixes: map[string]cache.Counts{
		"order": {
			Hits: 1, NearHits: 2, Misses: 3, Absent: 4, Loads: 5, Refused: 6, Refreshes: 7, Fallbacks: 8, Waits: 9,
			Shared: 10, Stale: 11, Errors: 12,
		},
		"": {Hits: 21},
	}}
}

func (f fixed) Info(context.Context) (cache.Info, error) {
	return cache.Info{Keys: 31, UsedMemory: 32, MaxMemory: 33, Evictions: 34, Servers: 3}, f.err
}

const figures = `
# HELP freshet_cache_store_evictions_total Keys removed for want of memory since the store's servers started.
# TYPE freshet_cache_store_evictions_total counter
freshet_cache_store_evictions_total{cache="shop"} 34
# HELP freshet_cache_store_keys Keys in the store, bookkeeping included.
# TYPE freshet_cache_store_keys gauge
freshet_cache_store_keys{cache="shop"} 31
# HELP freshet_cache_store_max_memory_bytes What the store's data may take; 0 means no limit.
# TYPE freshet_cache_store_max_memory_bytes gauge
freshet_cache_store_max_memory_bytes{cache="shop"} 33
# HELP freshet_cache_store_servers Masters of the store.
# TYPE freshet_cache_store_servers gauge
freshet_cache_store_servers{cache="shop"} 3
# HELP freshet_cache_store_up Whether the store answered this scrape.
# TYPE freshet_cache_store_up gauge
freshet_cache_store_up{cache="shop"} 1
# HELP freshet_cache_store_used_memory_bytes What the store's data takes.
# TYPE freshet_cache_store_used_memory_bytes gauge
freshet_cache_store_used_memory_bytes{cache="shop"} 32
`

// TestEveryCountHasItsName compares what is exposed with the numbers of a source.
func TestEveryCountHasItsName(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	for _, c := range []struct {
		name, help, order, other string
	}{
		{"hits", "Reads that found a value in the store.", "1", "21"},
		{"near_hits", "Reads that the near layer served.", "2", "0"},
		{"misses", "Reads that found no value.", "3", "0"},
		{"known_absent", "Reads that found it known that there is nothing.", "4", "0"},
		{"loads", "Calls of loaders.", "5", "0"},
		{"refused_fills", "Loaded values that were not stored, as an invalidation came in between.", "6", "0"},
		{"refreshes", "Loads ahead of a value's end.", "7", "0"},
		{"fallbacks", "Expired values served as the loader failed.", "8", "0"},
		{"waits", "Loads that began by waiting for another process.", "9", "0"},
		{"shared_loads", "Callers served by another caller's load.", "10", "0"},
		{"stale_reads", "Reads with a bound that nothing in the cache was proven to meet.", "11", "0"},
		{"errors", "Calls that the store failed.", "12", "0"},
	} {
		name := "freshet_cache_" + c.name + "_total"
		want.WriteString("# HELP " + name + " " + c.help + "\n# TYPE " + name + " counter\n" +
			name + `{cache="shop",prefix=""} ` + c.other + "\n" + name + `{cache="shop",prefix="order"} ` + c.order + "\n")
	}
	collector := metrics.NewCollector(fixed{}, metrics.Config{Labels: prometheus.Labels{"cache": "shop"}})
	if err := testutil.CollectAndCompare(collector, strings.NewReader(want.String()+figures)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(collector)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if n := testutil.CollectAndCount(metrics.NewCollector(fixed{}, metrics.Config{CountsOnly: true})); n != 24 {
		t.Errorf("got %d metrics, want the counts of two prefixes alone", n)
	}
}

// TestStoreDown: the counts of the process are there, what the store holds is not.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	collector := metrics.NewCollector(fixed{err: errors.New("down")}, metrics.Config{})
	if n := testutil.CollectAndCount(collector); n != 25 {
		t.Errorf("got %d metrics, want the counts and whether the store is up", n)
	}
	if err := testutil.CollectAndCompare(collector, strings.NewReader(`
# HELP freshet_cache_store_up Whether the store answered this scrape.
# TYPE freshet_cache_store_up gauge
freshet_cache_store_up 0
`), "freshet_cache_store_up"); err != nil {
		t.Error(err)
	}
}

// TestOverRedis reads the counts of a cache that is in use, and of its server.
func TestOverRedis(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	ctx := t.Context()
	observer := metrics.NewObserver(metrics.ObserverConfig{})
	c, err := cache.Open(ctx, server.URL(), cache.Config{Observer: observer})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(observer, metrics.NewCollector(c, metrics.Config{}))

	var wg sync.WaitGroup
	for range 4 { // scrapes and calls at the same time
		wg.Go(func() {
			for range 10 {
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
				if _, err := cache.GetOrSet(ctx, c, "order:1", time.Minute, func(context.Context) (int, error) { return 1, nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_, _ = cache.GetOrSet(ctx, c, "user:1", time.Minute, func(context.Context) (int, error) { return 0, cache.ErrNotFound })
	_, _ = cache.GetOrSet(ctx, c, "user:2", time.Minute, func(context.Context) (int, error) { return 0, errors.New("down") })
	_, _ = cache.Get[int](ctx, c, "user:3")
	_ = c.Delete(ctx, "user:3")

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	calls := map[string]uint64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			name := strings.TrimPrefix(family.GetName(), "freshet_cache_") + " " + strings.Join(labels, " ")
			switch {
			case m.GetHistogram() != nil:
				calls[strings.TrimPrefix(name, "operation_seconds ")] = m.GetHistogram().GetSampleCount()
			case m.GetCounter() != nil:
				values[name] = m.GetCounter().GetValue()
			default:
				values[name] = m.GetGauge().GetValue()
			}
		}
	}
	if values["loads_total order"] != 1 || values["loads_total user"] != 2 || values["misses_total user"] != 3 {
		t.Errorf("got %v", values)
	}
	// The order, and the lease that says that user 1 is absent.
	if values["store_up "] != 1 || values["store_keys "] != 2 || values["store_servers "] != 1 || values["store_used_memory_bytes "] == 0 {
		t.Errorf("got %v", values)
	}
	if calls["get_or_set hit"]+calls["get_or_set miss"] != 41 || calls["get_or_set error"] != 1 ||
		calls["load ok"] != 2 || calls["load error"] != 1 || calls["get miss"] != 1 || calls["delete ok"] != 1 {
		t.Errorf("got %v", calls)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}

	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "freshet_cache_store_up", "freshet_cache_store_keys"); n != 1 || err != nil {
		t.Errorf("without a server: got %d metrics, %v", n, err)
	}
}

func BenchmarkObserver(b *testing.B) {
	observer, ctx := metrics.NewObserver(metrics.ObserverConfig{}), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, end := observer.Observe(ctx, cache.OpGet, "order:1")
		end(cache.OutcomeHit, nil)
	}
}
