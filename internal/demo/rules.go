package demo

import (
	"time"

	"github.com/freshet-dev/freshet/internal/rule"
)

// Rules are the demo's rules, in the form that freshet.yaml has: which keys
// of the shop depend on which table.
func Rules() []rule.Config {
	return []rule.Config{
		{
			Table: "clients",
			Invalidate: []string{
				"client:{id}",
				"orders:client:{id}",
			},
		},
		{
			Table: "orders",
			Invalidate: []string{
				"order:{id}",
				"order:{id}:*",
				"orders:client:{client_id}",
				"dashboard:{workspace_id}",
				"orders:metrics:{created_at|date:2006-01-02}",
			},
			// Orders that were cached are filled again before anybody asks.
			Warm: []rule.Warm{{Key: "order:{id}", SQL: orderSQL("{id}"), TTL: 10 * time.Minute}},
		},
		{
			Table:  "order_items",
			Lookup: "select client_id from orders where id = {order_id}",
			Invalidate: []string{
				"order:{order_id}",
				"orders:client:{client_id}",
			},
		},
		{
			Table: "inventory",
			Invalidate: []string{
				"inventory:{item_id}",
				"dashboard:{workspace_id}",
			},
		},
		{
			Table: "users",
			Invalidate: []string{
				"user:{id}",
				"user:email:{email}",
				"user:{id}:permissions",
			},
		},
		{
			Table:      "sessions",
			Invalidate: []string{"session:{id}"},
		},
	}
}
