// Package metrics gives Prometheus the counts of a cache.
//
// [NewCollector] reads what the cache counts anyway, when it is scraped, and so
// costs its callers nothing. [NewObserver] adds histograms of how long calls and
// loaders take; it is told of every call, which costs a few hundred nanoseconds
// each. All names begin with freshet_cache_.
//
//	observer := metrics.NewObserver(metrics.ObserverConfig{})
//	c, err := cache.Open(ctx, url, cache.Config{Observer: observer})
//	…
//	registry.MustRegister(observer, metrics.NewCollector(c, metrics.Config{}))
package metrics
