package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

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
	group, ctx := errgroup.WithContext(ctx)
	for range r.count {
		group.Go(func() error {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-timer.C:
				}
				v := views[rand.IntN(len(views))]
				if err := r.read(ctx, v, v.pick()); err != nil && ctx.Err() == nil {
					return err
				}
				timer.Reset(r.pause)
			}
		})
	}
	return group.Wait()
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
