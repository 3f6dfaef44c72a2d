package presets

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

// InventoryKey is inventory:{item_id}.
func InventoryKey[K comparable](itemID K) string { return cache.Key("inventory", itemID) }

// Inventory keeps stock levels by item, for StockLevelTTL.
func Inventory[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: InventoryKey[K], TTL: StockLevelTTL}, adjust)
}

// InvalidateInventory removes what changes with a row of inventory: the item's
// stock level and the dashboards of its workspaces. Without any workspace all
// dashboards are removed, at the cost of [cache.Cache.InvalidatePattern]. Where
// the ids are of different types, K is any.
func InvalidateInventory[K comparable](ctx context.Context, c *cache.Cache, itemID K, workspaceIDs ...K) error {
	var i invalidation
	i.key(InventoryKey(itemID))
	each(&i, workspaceIDs, DashboardKey[K], allDashboards)
	return i.apply(ctx, c)
}
