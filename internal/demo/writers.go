package demo

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const deadlockDetected = "40P01"

// writers only speak SQL: they know nothing of caches.
type writers struct {
	db      *pgxpool.Pool
	count   int           // concurrent writers
	pause   time.Duration // of each writer between two transactions
	commits atomic.Int64
}

// statement is one thing that people do in the shop.
type statement struct {
	weight int
	run    func(ctx context.Context, tx pgx.Tx) error
}

func (w *writers) run(ctx context.Context) error {
	return keepDoing(ctx, w.count, w.pause, w.one)
}

// one runs one transaction. A context that ends in the middle rolls it back.
func (w *writers) one(ctx context.Context) error {
	n := rand.IntN(totalWeight)
	for _, s := range statements {
		if n -= s.weight; n >= 0 {
			continue
		}
		err := pgx.BeginFunc(ctx, w.db, func(tx pgx.Tx) error { return s.run(ctx, tx) })
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == deadlockDetected {
			return nil // two price lists met; nothing was written
		}
		if err != nil {
			return fmt.Errorf("demo writer: %w", err)
		}
		w.commits.Add(1)
		return nil
	}
	return nil
}

var statements = []statement{
	{weight: 30, run: func(ctx context.Context, tx pgx.Tx) error { // an order moves on
		return exec(ctx, tx, `update orders set status = (array['NEW', 'CUT', 'SEWN', 'PACKED', 'SHIPPED'])[1 + floor(random() * 5)::int] where id = $1`, skewed(300))
	}},
	{weight: 14, run: func(ctx context.Context, tx pgx.Tx) error { // a sale: stock falls, a line is added
		order, item := skewed(300), skewed(80)
		if err := exec(ctx, tx, `update inventory set stock = stock - 1 where item_id = $1`, item); err != nil {
			return err
		}
		if err := exec(ctx, tx, `insert into order_items (order_id, item_id, quantity) select $1::bigint, $2::bigint, 1 where exists (select from orders where id = $1 for key share)`, order, item); err != nil {
			return err
		}
		return exec(ctx, tx, `update orders set total = total + 9.90 where id = $1`, order)
	}},
	{weight: 14, run: func(ctx context.Context, tx pgx.Tx) error { // a delivery
		return exec(ctx, tx, `update inventory set stock = stock + 10 where item_id = $1`, skewed(80))
	}},
	{weight: 10, run: func(ctx context.Context, tx pgx.Tx) error { // a new order
		return exec(ctx, tx, `insert into orders (client_id, workspace_id, total) values ($1, $2, $3)`,
			skewed(60), skewed(4), rand.IntN(500))
	}},
	{weight: 8, run: func(ctx context.Context, tx pgx.Tx) error { // an order changes hands: two lists are affected
		return exec(ctx, tx, `update orders set client_id = $2 where id = $1`, skewed(300), skewed(60))
	}},
	{weight: 1, run: func(ctx context.Context, tx pgx.Tx) error { // an order is deleted, its lines with it
		return exec(ctx, tx, `delete from orders where id = (select max(id) from orders where id > 300)`)
	}},
	{weight: 6, run: func(ctx context.Context, tx pgx.Tx) error { // a client moves
		return exec(ctx, tx, `update clients set city = (array['Lyon', 'Porto', 'Graz', 'Bergen'])[1 + floor(random() * 4)::int] where id = $1`, skewed(60))
	}},
	{weight: 6, run: func(ctx context.Context, tx pgx.Tx) error { // permissions change
		return exec(ctx, tx, `update users set permissions = case when random() < 0.5 then '{orders:read}'::text[] else '{orders:read,orders:write}' end where id = $1`, skewed(50))
	}},
	{weight: 2, run: func(ctx context.Context, tx pgx.Tx) error { // an address changes: the old key must go too
		id := skewed(50)
		return exec(ctx, tx, `update users set email = case when email like 'user%' then 'new' || substr(email, 5) else 'user' || substr(email, 4) end where id = $1`, id)
	}},
	{weight: 12, run: func(ctx context.Context, tx pgx.Tx) error { // somebody clicks
		return exec(ctx, tx, `update sessions set seen_at = now() where id = $1`, session())
	}},
	{weight: 2, run: func(ctx context.Context, tx pgx.Tx) error { // a price list, set based
		return exec(ctx, tx, `update orders set total = total + 1 where client_id = $1`, skewed(60))
	}},
	{weight: 3, run: func(ctx context.Context, tx pgx.Tx) error { // somebody changes their mind: nothing may be removed
		if err := exec(ctx, tx, `savepoint before`); err != nil {
			return err
		}
		if err := exec(ctx, tx, `update orders set status = 'NEVER' where id = $1`, skewed(300)); err != nil {
			return err
		}
		return exec(ctx, tx, `rollback to savepoint before`)
	}},
}

var totalWeight = func() int {
	sum := 0
	for _, s := range statements {
		sum += s.weight
	}
	return sum
}()

func exec(ctx context.Context, tx pgx.Tx, sql string, args ...any) error {
	_, err := tx.Exec(ctx, sql, args...)
	return err
}

func sessionID(n int) string {
	sum := md5.Sum([]byte(strconv.Itoa(n))) //nolint:gosec // G401: a name, not a secret
	return hex.EncodeToString(sum[:])
}
