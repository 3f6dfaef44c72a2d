package presets

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

const (
	allProductionMetrics = "production:metrics:*"
	allOrderMetrics      = "orders:metrics:*"
)

// Date is a day in UTC, written as in 2006-01-02.
type Date string

// DateOf returns the date of a moment.
func DateOf(t time.Time) Date { return Date(t.UTC().Format(time.DateOnly)) }

// Period is what order metrics are about. The rules of deploy/freshet.yaml know
// months.
type Period string

// MonthOf returns the month in UTC of a moment, written as in 2006-01.
func MonthOf(t time.Time) Period { return Period(t.UTC().Format("2006-01")) }

// ProductionMetricsKey is production:metrics:{date}.
func ProductionMetricsKey(date Date) string { return cache.Key("production:metrics", date) }

// OrderMetricsKey is orders:metrics:{period}.
func OrderMetricsKey(period Period) string { return cache.Key("orders:metrics", period) }

// ProductionMetrics keeps production metrics by date, for ProductionStatusTTL.
func ProductionMetrics[T any](c *cache.Cache, adjust ...func(*cache.Spec[Date])) cache.Typed[Date, T] {
	return view[T](c, cache.Spec[Date]{Key: ProductionMetricsKey, TTL: ProductionStatusTTL}, adjust)
}

// OrderMetrics keeps order metrics by period, for ProductionStatusTTL.
func OrderMetrics[T any](c *cache.Cache, adjust ...func(*cache.Spec[Period])) cache.Typed[Period, T] {
	return view[T](c, cache.Spec[Period]{Key: OrderMetricsKey, TTL: ProductionStatusTTL}, adjust)
}

// InvalidateMetrics removes the production metrics of all dates and the order
// metrics of all periods, at the cost of [cache.Cache.InvalidatePattern].
func InvalidateMetrics(ctx context.Context, c *cache.Cache) error {
	i := invalidation{patterns: []string{allProductionMetrics, allOrderMetrics}}
	return i.apply(ctx, c)
}
