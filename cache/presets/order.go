package presets

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

const (
	allClientOrders = "orders:client:*"
	allOrderLists   = "orders:list:*"
)

// OrderKey is order:{id}.
func OrderKey[K comparable](id K) string { return cache.Key("order", id) }

// OrderStatusKey is order:{id}:status.
func OrderStatusKey[K comparable](id K) string { return cache.Key("order", id, "status") }

// ClientOrdersKey is orders:client:{client_id}.
func ClientOrdersKey[K comparable](clientID K) string { return cache.Key("orders:client", clientID) }

// OrderListKey is orders:list:{filters}.
func OrderListKey(filters Filters) string { return cache.Key("orders:list", filters) }

// Orders keeps orders by id, for OrderStatusTTL.
func Orders[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: OrderKey[K], TTL: OrderStatusTTL}, adjust)
}

// OrderStatuses keeps the status of orders by the order's id, for OrderStatusTTL.
func OrderStatuses[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: OrderStatusKey[K], TTL: OrderStatusTTL}, adjust)
}

// ClientOrders keeps the orders of clients by the client's id, for
// OrderStatusTTL. T is the list's type.
func ClientOrders[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: ClientOrdersKey[K], TTL: OrderStatusTTL}, adjust)
}

// OrderLists keeps lists of orders by what they were filtered by, for
// OrderStatusTTL. T is the list's type.
func OrderLists[T any](c *cache.Cache, adjust ...func(*cache.Spec[Filters])) cache.Typed[Filters, T] {
	return view[T](c, cache.Spec[Filters]{Key: OrderListKey, TTL: OrderStatusTTL}, adjust)
}

// OrderChange says what is known of an order that has changed. What is left out
// is removed more broadly, each at the cost of [cache.Cache.InvalidatePattern].
// Where ids are of different types, K is any.
type OrderChange[K comparable] struct {
	// ID is the order's id.
	ID K
	// ClientIDs are the order's client before the change and after it. Defaults
	// to all clients.
	ClientIDs []K
	// WorkspaceIDs are the workspaces whose dashboards show the order. Defaults
	// to all workspaces.
	WorkspaceIDs []K
	// Created is when the order was created: the metrics of that date and of that
	// month count it. Defaults to all dates and periods.
	Created time.Time
}

// InvalidateOrders removes what changes with rows of orders: the orders, their
// status, the orders of their clients, all lists of orders, dashboards and
// metrics. All lists go, as any filter may have matched the row before or after:
// that costs one [cache.Cache.InvalidatePattern], whatever the number of orders.
func InvalidateOrders[K comparable](ctx context.Context, c *cache.Cache, changes ...OrderChange[K]) error {
	if len(changes) == 0 {
		return nil
	}
	var i invalidation
	i.pattern(allOrderLists)
	for _, change := range changes {
		i.key(OrderKey(change.ID), OrderStatusKey(change.ID))
		each(&i, change.ClientIDs, ClientOrdersKey[K], allClientOrders)
		each(&i, change.WorkspaceIDs, DashboardKey[K], allDashboards)
		if change.Created.IsZero() {
			i.pattern(allProductionMetrics, allOrderMetrics)
		} else {
			i.key(ProductionMetricsKey(DateOf(change.Created)), OrderMetricsKey(MonthOf(change.Created)))
		}
	}
	return i.apply(ctx, c)
}

// InvalidateOrder is InvalidateOrders for one order of which no more is known
// than its client: all dashboards and metrics are removed. For an order that
// went from one client to another give both.
func InvalidateOrder[K comparable](ctx context.Context, c *cache.Cache, id K, clientIDs ...K) error {
	return InvalidateOrders(ctx, c, OrderChange[K]{ID: id, ClientIDs: clientIDs})
}
