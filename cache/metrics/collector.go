package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-dev/freshet/cache"
)

const namespace, subsystem = "freshet", "cache"

// Config configures a Collector. The zero value works.
type Config struct {
	// Labels are put on every metric: a process with several caches needs them to
	// tell those apart. Defaults to none.
	Labels prometheus.Labels
	// Timeout is how long a scrape waits for the store to say how much it holds.
	// Defaults to 2s.
	Timeout time.Duration
	// CountsOnly leaves the store alone when scraped and gives the counts of this
	// process only. Of many processes on one Redis one needs to ask it. Defaults
	// to false.
	CountsOnly bool
}

// Source is what a Collector reads: a *cache.Cache.
type Source interface {
	Stats() cache.Stats
	Info(ctx context.Context) (cache.Info, error)
}

var (
	_ Source               = (*cache.Cache)(nil)
	_ prometheus.Collector = (*Collector)(nil)
)

// Collector gives Prometheus the counts of one cache, by the part of the key
// before its first colon, and how much its store holds:
//
//	freshet_cache_hits_total{prefix}           reads that found a value in the store
//	freshet_cache_near_hits_total{prefix}      reads that the near layer served
//	freshet_cache_misses_total{prefix}         reads that found none
//	freshet_cache_known_absent_total{prefix}   reads that found it known that there is nothing
//	freshet_cache_stale_reads_total{prefix}    reads with a bound that nothing in the cache was proven to meet
//	freshet_cache_loads_total{prefix}          calls of loaders
//	freshet_cache_refused_fills_total{prefix}  loaded values not stored, as an invalidation came in between
//	freshet_cache_refreshes_total{prefix}      loads ahead of a value's end
//	freshet_cache_fallbacks_total{prefix}      expired values served as the loader failed
//	freshet_cache_waits_total{prefix}          loads that began by waiting for another process
//	freshet_cache_shared_loads_total{prefix}   callers served by another caller's load
//	freshet_cache_errors_total{prefix}         calls that the store failed
//	freshet_cache_store_up                     1 if the store answered this scrape, else 0
//	freshet_cache_store_servers                masters; 0 for memory
//	freshet_cache_store_keys                   keys, bookkeeping included
//	freshet_cache_store_used_memory_bytes      what the data takes; 0 for memory
//	freshet_cache_store_max_memory_bytes       what it may take; 0 for no limit
//	freshet_cache_store_evictions_total        keys removed for want of memory since the servers started
//
// While the store does not answer, what it holds is left out. The empty prefix
// stands for keys without a colon, and for prefixes beyond the first 100.
type Collector struct {
	source Source
	cfg    Config

	counts []count
	up     *prometheus.Desc
	store  []figure
}

// count is a counter by prefix.
type count struct {
	desc *prometheus.Desc
	of   func(cache.Counts) int64
}

// figure is a number that the store tells.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(cache.Info) int64
}

// NewCollector returns a collector of a cache's counts. Register it once.
func NewCollector(source Source, cfg Config) *Collector {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	c := &Collector{source: source, cfg: cfg}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, cfg.Labels)
	}
	counts := func(name, help string, of func(cache.Counts) int64) {
		c.counts = append(c.counts, count{desc(name, help, "prefix"), of})
	}
	counts("hits_total", "Reads that found a value in the store.", func(n cache.Counts) int64 { return n.Hits })
	counts("near_hits_total", "Reads that the near layer served.", func(n cache.Counts) int64 { return n.NearHits })
	counts("misses_total", "Reads that found no value.", func(n cache.Counts) int64 { return n.Misses })
	counts("known_absent_total", "Reads that found it known that there is nothing.", func(n cache.Counts) int64 { return n.Absent })
	counts("stale_reads_total", "Reads with a bound that nothing in the cache was proven to meet.", func(n cache.Counts) int64 { return n.Stale })
	counts("loads_total", "Calls of loaders.", func(n cache.Counts) int64 { return n.Loads })
	counts("refused_fills_total", "Loaded values that were not stored, as an invalidation came in between.", func(n cache.Counts) int64 { return n.Refused })
	counts("refreshes_total", "Loads ahead of a value's end.", func(n cache.Counts) int64 { return n.Refreshes })
	counts("fallbacks_total", "Expired values served as the loader failed.", func(n cache.Counts) int64 { return n.Fallbacks })
	counts("waits_total", "Loads that began by waiting for another process.", func(n cache.Counts) int64 { return n.Waits })
	counts("shared_loads_total", "Callers served by another caller's load.", func(n cache.Counts) int64 { return n.Shared })
	counts("errors_total", "Calls that the store failed.", func(n cache.Counts) int64 { return n.Errors })
	if cfg.CountsOnly {
		return c
	}
	c.up = desc("store_up", "Whether the store answered this scrape.")
	store := func(name, help string, kind prometheus.ValueType, of func(cache.Info) int64) {
		c.store = append(c.store, figure{desc(name, help), kind, of})
	}
	gauge := prometheus.GaugeValue
	store("store_servers", "Masters of the store.", gauge, func(i cache.Info) int64 { return int64(i.Servers) })
	store("store_keys", "Keys in the store, bookkeeping included.", gauge, func(i cache.Info) int64 { return i.Keys })
	store("store_used_memory_bytes", "What the store's data takes.", gauge, func(i cache.Info) int64 { return i.UsedMemory })
	store("store_max_memory_bytes", "What the store's data may take; 0 means no limit.", gauge, func(i cache.Info) int64 { return i.MaxMemory })
	store("store_evictions_total", "Keys removed for want of memory since the store's servers started.", prometheus.CounterValue, func(i cache.Info) int64 { return i.Evictions })
	return c
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, n := range c.counts {
		descs <- n.desc
	}
	if c.up != nil {
		descs <- c.up
	}
	for _, f := range c.store {
		descs <- f.desc
	}
}

// Collect sends the values of all metrics.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	for prefix, counts := range c.source.Stats().Prefixes {
		for _, n := range c.counts {
			metrics <- prometheus.MustNewConstMetric(n.desc, prometheus.CounterValue, float64(n.of(counts)), prefix)
		}
	}
	if c.up == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeout)
	defer cancel()
	info, err := c.source.Info(ctx)
	if err != nil {
		metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 0)
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 1)
	for _, f := range c.store {
		metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, float64(f.of(info)))
	}
}
