package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

// view is one kind of cached value: how its keys look, how the database
// computes it, and how a reader picks one to ask for. Readers and the final
// comparison share it, so that they cannot disagree on what is right.
type view struct {
	prefix string
	suffix string
	ttl    time.Duration
	sql    string // one jsonb value; $1 is the key's variable part as text
	pick   func() string
}

// views is ordered by prefix length when matched: "user:email:" before
// "user:".
var views = []view{
	{
		prefix: "client:", ttl: time.Hour, pick: number(60),
		sql: `select to_jsonb(c) from clients c where c.id = $1::bigint`,
	},
	{
		prefix: "order:", ttl: 10 * time.Minute, pick: number(320),
		sql: orderSQL("$1::bigint"),
	},
	{
		prefix: "order:", suffix: ":status", ttl: 10 * time.Minute, pick: number(320),
		sql: `select to_jsonb(status) from orders where id = $1::bigint`,
	},
	{
		prefix: "orders:client:", ttl: 10 * time.Minute, pick: number(60),
		sql: `select jsonb_build_object('client', c.name, 'orders', coalesce((
		        select jsonb_agg(jsonb_build_object('id', o.id, 'status', o.status, 'total', o.total,
		          'items', (select count(*) from order_items i where i.order_id = o.id)) order by o.id)
		        from orders o where o.client_id = c.id), '[]'))
		      from clients c where c.id = $1::bigint`,
	},
	{
		prefix: "dashboard:", ttl: 5 * time.Minute, pick: number(4),
		sql: `select jsonb_build_object(
		        'orders', (select count(*) from orders where workspace_id = $1::bigint),
		        'revenue', (select coalesce(sum(total), 0) from orders where workspace_id = $1::bigint),
		        'stock', (select coalesce(sum(stock), 0) from inventory where workspace_id = $1::bigint))`,
	},
	{
		prefix: "orders:metrics:", ttl: 5 * time.Minute, pick: today,
		sql: `select jsonb_build_object('orders', count(*), 'revenue', coalesce(sum(total), 0))
		      from orders where (created_at at time zone 'UTC')::date = $1::text::date`,
	},
	{
		prefix: "inventory:", ttl: 2 * time.Minute, pick: number(80),
		sql: `select to_jsonb(i) from inventory i where i.item_id = $1::bigint`,
	},
	{
		prefix: "user:", ttl: 30 * time.Minute, pick: number(50),
		sql: `select to_jsonb(u) from users u where u.id = $1::bigint`,
	},
	{
		prefix: "user:email:", ttl: 30 * time.Minute, pick: email,
		sql: `select to_jsonb(u) from users u where u.email = $1`,
	},
	{
		prefix: "user:", suffix: ":permissions", ttl: 30 * time.Minute, pick: number(50),
		sql: `select to_jsonb(permissions) from users where id = $1::bigint`,
	},
	{
		prefix: "session:", ttl: 15 * time.Minute, pick: session,
		sql: `select to_jsonb(s) from sessions s where s.id = $1`,
	},
}

// orderSQL is the query for an order; readers and the warm rule ask the same.
func orderSQL(id string) string {
	return `select to_jsonb(o) || jsonb_build_object('items', coalesce((
	          select jsonb_agg(to_jsonb(i) order by i.id) from order_items i where i.order_id = o.id), '[]'))
	        from orders o where o.id = ` + id
}

// key is the cache key for the variable part of a view.
func (v view) key(id string) string { return v.prefix + id + v.suffix }

// load asks the database for the value; cache.ErrNotFound where there is none.
func (v view) load(ctx context.Context, db *pgxpool.Pool, id string) (json.RawMessage, error) {
	var value json.RawMessage
	err := db.QueryRow(ctx, v.sql, id).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, cache.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", v.key(id), err)
	}
	return value, nil
}

// viewNamed is the view whose keys begin with prefix and have no suffix.
func viewNamed(prefix string) view {
	for _, v := range views {
		if v.prefix == prefix && v.suffix == "" {
			return v
		}
	}
	panic("demo: no view " + prefix)
}

// viewOf finds the view that a key belongs to, and the key's variable part.
func viewOf(key string) (view, string, bool) {
	best, bestID, found := view{}, "", false
	for _, v := range views {
		rest, ok := strings.CutPrefix(key, v.prefix)
		if !ok {
			continue
		}
		id, ok := strings.CutSuffix(rest, v.suffix)
		if !ok || strings.Contains(id, ":") || id == "" {
			continue
		}
		if len(v.prefix)+len(v.suffix) > len(best.prefix)+len(best.suffix) {
			best, bestID, found = v, id, true
		}
	}
	return best, bestID, found
}

func number(upTo int) func() string {
	return func() string { return strconv.Itoa(skewed(upTo)) }
}

// skewed returns a number in 1…n, small ones far more often: caches are hot in
// a few places.
func skewed(n int) int {
	return 1 + min(rand.IntN(n), rand.IntN(n))
}

func today() string { return time.Now().UTC().Format(time.DateOnly) }

func email() string { return "user" + strconv.Itoa(skewed(50)) + "@shop.example" }

func session() string { return sessionID(skewed(80)) }

// viewNames lists the key shapes, for people.
func viewNames() []string {
	names := make([]string, 0, len(views))
	for _, v := range views {
		names = append(names, v.prefix+"…"+v.suffix)
	}
	slices.Sort(names)
	return names
}
