package presets

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

const allDashboards = "dashboard:*"

// DashboardKey is dashboard:{workspace_id}.
func DashboardKey[K comparable](workspaceID K) string { return cache.Key("dashboard", workspaceID) }

// Dashboards keeps dashboards by workspace, for DashboardTTL.
func Dashboards[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: DashboardKey[K], TTL: DashboardTTL}, adjust)
}

// InvalidateDashboard removes the dashboards of workspaces. InvalidateOrder and
// InvalidateInventory do it for the rows that dashboards show.
func InvalidateDashboard[K comparable](ctx context.Context, c *cache.Cache, workspaceIDs ...K) error {
	return c.Delete(ctx, keysOf(workspaceIDs, DashboardKey[K])...)
}
