package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-dev/freshet/cache"
)

// ObserverConfig configures an Observer. The zero value works.
type ObserverConfig struct {
	// Labels are put on every metric. Defaults to none.
	Labels prometheus.Labels
	// Buckets are the upper bounds of the histogram's buckets, in seconds.
	// Defaults to 17 from 100 µs to 30 s.
	Buckets []float64
}

var (
	_ cache.Observer       = (*Observer)(nil)
	_ prometheus.Collector = (*Observer)(nil)
)

// Observer measures how long calls of a cache take. Pass it as
// cache.Config.Observer, and register it. It has one histogram,
//
//	freshet_cache_operation_seconds{op,result}
//
// where op is a [cache.Op], such as get_or_set, or load for the loaders alone,
// and result is error, or how a read was served (hit, near, miss, stale), or ok.
// That a key is not in the cache, or a row not in the database, is no error. One
// Observer may serve several caches.
type Observer struct {
	seconds *prometheus.HistogramVec
}

// NewObserver returns an observer with empty histograms.
func NewObserver(cfg ObserverConfig) *Observer {
	if len(cfg.Buckets) == 0 {
		cfg.Buckets = []float64{
			.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30,
		}
	}
	return &Observer{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "operation_seconds",
		Help:        "How long calls of the cache and its loaders took.",
		ConstLabels: cfg.Labels, Buckets: cfg.Buckets,
	}, []string{"op", "result"})}
}

// Observe measures one call.
func (o *Observer) Observe(ctx context.Context, op cache.Op, _ string) (_ context.Context, end func(cache.Outcome, error)) {
	began := time.Now()
	return ctx, func(outcome cache.Outcome, err error) {
		o.seconds.WithLabelValues(string(op), result(outcome, err)).Observe(time.Since(began).Seconds())
	}
}

func result(outcome cache.Outcome, err error) string {
	switch {
	case outcome == cache.OutcomeStale:
		return string(outcome) // what OrStaleError asked for
	case failed(err):
		return "error"
	case outcome != "":
		return string(outcome)
	}
	return "ok"
}

// failed reports whether a call failed, and did not just find nothing.
func failed(err error) bool {
	if batch := (*cache.BatchError)(nil); errors.As(err, &batch) {
		return true
	}
	return err != nil && !errors.Is(err, cache.ErrMiss) && !errors.Is(err, cache.ErrNotFound)
}

// Describe sends the histogram's description.
func (o *Observer) Describe(descs chan<- *prometheus.Desc) { o.seconds.Describe(descs) }

// Collect sends the histograms.
func (o *Observer) Collect(metrics chan<- prometheus.Metric) { o.seconds.Collect(metrics) }
