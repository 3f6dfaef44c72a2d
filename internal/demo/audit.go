package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

// Mismatch is a cached value that is not what the database says.
type Mismatch struct {
	Key      string `json:"key"`
	Cached   string `json:"cached"`
	Database string `json:"database"` // empty where there is no such row
}

// audit compares every cached value with the database. It is run when the
// writers have stopped and everything they wrote has been applied.
func audit(ctx context.Context, c *cache.Cache, db *pgxpool.Pool) (compared int, stale []Mismatch, err error) {
	for key, err := range c.Keys(ctx, "*") {
		if err != nil {
			return compared, stale, fmt.Errorf("list the cache's keys: %w", err)
		}
		v, id, ok := viewOf(key)
		if !ok {
			return compared, stale, fmt.Errorf("key %q: no view of the shop makes such a key", key)
		}
		cached, err := cache.Get[json.RawMessage](ctx, c, key)
		if errors.Is(err, cache.ErrMiss) {
			continue // expired since it was listed
		}
		if err != nil {
			return compared, stale, fmt.Errorf("read %s: %w", key, err)
		}
		compared++
		fresh, err := v.load(ctx, db, id)
		if err != nil && !errors.Is(err, cache.ErrNotFound) {
			return compared, stale, err
		}
		if !sameJSON(cached, fresh) {
			stale = append(stale, Mismatch{Key: key, Cached: string(cached), Database: string(fresh)})
		}
	}
	return compared, stale, nil
}

// sameJSON compares documents, not their spelling. Numbers are compared as
// they are written, so that none is rounded into equality.
func sameJSON(a, b []byte) bool {
	left, err := document(a)
	if err != nil {
		return false
	}
	right, err := document(b)
	if err != nil {
		return false
	}
	return reflect.DeepEqual(left, right)
}

func document(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}
