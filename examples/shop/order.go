package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet-dev/freshet/cache"
)

type client struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

type order struct {
	ID       int64  `json:"id"`
	ClientID int64  `json:"client_id"`
	Status   string `json:"status"`
	Cents    int64  `json:"cents"`
}

// summary is how many orders there are of a status, and what they are worth.
type summary struct {
	Status string `json:"status"`
	Orders int64  `json:"orders"`
	Cents  int64  `json:"cents"`
}

const orderColumns = "id, client_id, status, cents"

// one returns the row of a query. That there is none is for the cache to know.
func one[T any](rows pgx.Rows, err error) (T, error) {
	var value T
	if err != nil {
		return value, err
	}
	value, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[T])
	if errors.Is(err, pgx.ErrNoRows) {
		err = cache.ErrNotFound
	}
	return value, err
}

func (s *shop) getOrder(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	fresh, err := s.freshness(r)
	if err != nil {
		return nil, err
	}
	return s.orders.GetOrSet(r.Context(), id, func(ctx context.Context) (order, error) {
		return one[order](s.db.Query(ctx, "SELECT "+orderColumns+" FROM orders WHERE id = $1", id))
	}, fresh...)
}

func (s *shop) getClient(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	fresh, err := s.freshness(r)
	if err != nil {
		return nil, err
	}
	return s.clients.GetOrSet(r.Context(), id, func(ctx context.Context) (client, error) {
		return one[client](s.db.Query(ctx, "SELECT id, name FROM clients WHERE id = $1", id))
	}, fresh...)
}

func (s *shop) getClientOrders(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	fresh, err := s.freshness(r)
	if err != nil {
		return nil, err
	}
	return s.clientOrders.GetOrSet(r.Context(), id, func(ctx context.Context) ([]order, error) {
		rows, err := s.db.Query(ctx, "SELECT "+orderColumns+" FROM orders WHERE client_id = $1 ORDER BY id DESC LIMIT 100", id)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowToStructByPos[order])
	}, fresh...)
}

// getSummary counts all orders. What it returns is cached as an HTTP response.
func (s *shop) getSummary(_ http.ResponseWriter, r *http.Request) (any, error) {
	rows, err := s.db.Query(r.Context(), "SELECT status, count(*), sum(cents)::bigint FROM orders GROUP BY status ORDER BY status")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[summary])
}

func (s *shop) createOrder(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		ClientID int64 `json:"client_id"`
		Cents    int64 `json:"cents"`
	}
	if err := decode(w, r, &in); err != nil {
		return nil, err
	}
	return s.change(w, r, "INSERT INTO orders (client_id, cents) VALUES ($1, $2) RETURNING "+orderColumns, in.ClientID, in.Cents)
}

func (s *shop) updateOrder(w http.ResponseWriter, r *http.Request) (any, error) {
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	var in struct {
		Status string `json:"status"`
	}
	if err := decode(w, r, &in); err != nil {
		return nil, err
	}
	return s.change(w, r, "UPDATE orders SET status = $2 WHERE id = $1 RETURNING "+orderColumns, id, in.Status)
}

// change runs a statement, a transaction of its own, that changes an order. When
// it returns it has been committed, and what follows is about the caches.
func (s *shop) change(w http.ResponseWriter, r *http.Request, sql string, args ...any) (any, error) {
	o, err := one[order](s.db.Query(r.Context(), sql, args...))
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && refused.Code[:2] == "23" { // a constraint
		return nil, badRequestError("the database refuses it: " + refused.ConstraintName)
	}
	if err != nil {
		return nil, err
	}
	// The client may have gone; other readers have not.
	ctx := context.WithoutCancel(r.Context())
	if s.fresh {
		s.giveToken(ctx, w)
		return o, nil
	}
	// Nobody else does it. A process that dies here, and changes that others make,
	// leave these stale until their TTL: Freshet would not.
	if err := errors.Join(s.orders.Delete(ctx, o.ID), s.clientOrders.Delete(ctx, o.ClientID)); err != nil {
		s.logger.ErrorContext(ctx, "a change was not invalidated", "order", o.ID, "error", err)
	}
	return o, nil
}

func decode(w http.ResponseWriter, r *http.Request, in any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in); err != nil {
		return badRequestError(fmt.Sprintf("the body is not what it should be: %v", err))
	}
	return nil
}
