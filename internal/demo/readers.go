package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

// readers only speak the cache: they ask for a key, and say how the database
// computes it where the cache has none.
type readers struct {
	cache *cache.Cache
	db    *pgxpool.Pool
	count int           // concurrent readers
	pause time.Duration // of each reader between two reads
}

func (r *readers) run(ctx context.Context) error {
	return keepDoing(ctx, r.count, r.pause, func(ctx context.Context) error {
		v := views[rand.IntN(len(views))]
		return r.read(ctx, v, v.pick())
	})
}

func (r *readers) read(ctx context.Context, v view, id string) error {
	_, err := cache.GetOrSet(ctx, r.cache, v.key(id), v.ttl, func(ctx context.Context) (json.RawMessage, error) {
		return v.load(ctx, r.db, id)
	})
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		return fmt.Errorf("demo reader: %w", err)
	}
	return nil
}
