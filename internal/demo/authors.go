package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

// authors read what they have written: each change gives a token, and the read
// that follows asks for nothing older. Nobody else changes what they write.
type authors struct {
	cache *cache.Cache
	db    *pgxpool.Pool
	count int           // concurrent authors
	pause time.Duration // of each author between two changes

	revision atomic.Int64 // makes every name that is written another
	tokens   atomic.Int64 // taken after a change
	waited   atomic.Int64 // of these, waited for before the read
	cached   atomic.Int64 // reads served by the cache
	loaded   atomic.Int64 // reads that went to the database
	missed   atomic.Int64 // reads that did not show the author's own change
}

func (a *authors) run(ctx context.Context) error {
	return keepDoing(ctx, a.count, a.pause, func(ctx context.Context) error {
		if err := a.one(ctx); err != nil {
			return fmt.Errorf("demo author: %w", err)
		}
		return nil
	})
}

// one renames a client and looks at the result: at once, or when what was written
// can be had from the cache.
func (a *authors) one(ctx context.Context) error {
	v, id := viewNamed("client:"), skewed(60)
	conn, err := a.db.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	// Authors of the same client take turns, or one would see the other's name.
	const lock, unlock = `select pg_advisory_lock($1)`, `select pg_advisory_unlock($1)`
	if _, err := conn.Exec(ctx, lock, id); err != nil {
		return err
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), unlock, id) }() // ends with the connection at the latest
	name := fmt.Sprintf("Client %d, revision %d", id, a.revision.Add(1))
	if _, err := conn.Exec(ctx, `update clients set name = $2 where id = $1`, id, name); err != nil {
		return err
	}
	token, err := cache.TokenFrom(ctx, conn)
	if err != nil {
		return err
	}
	a.tokens.Add(1)
	key := v.key(strconv.Itoa(id))
	if rand.IntN(2) == 0 {
		return a.read(ctx, v, id, name, token) // at once
	}
	if err := a.await(ctx, key, token); err != nil {
		return err
	}
	a.waited.Add(1)
	for range 2 { // the first may find the key removed, and fills it
		if err := a.read(ctx, v, id, name, token); err != nil {
			return err
		}
	}
	return nil
}

// read reads what was written with its token.
func (a *authors) read(ctx context.Context, v view, id int, name string, token cache.Token) error {
	key, asked := v.key(strconv.Itoa(id)), false
	value, err := cache.GetOrSet(ctx, a.cache, key, v.ttl, func(ctx context.Context) (json.RawMessage, error) {
		asked = true
		return v.load(ctx, a.db, strconv.Itoa(id))
	}, cache.AtLeast(token))
	if err != nil {
		return err
	}
	if asked {
		a.loaded.Add(1)
	} else {
		a.cached.Add(1)
	}
	var client struct{ Name string }
	if err := json.Unmarshal(value, &client); err != nil {
		return err
	}
	if client.Name != name {
		a.missed.Add(1)
	}
	return nil
}

// await returns once the cache can prove that it knows the change.
func (a *authors) await(ctx context.Context, key string, token cache.Token) error {
	for {
		_, err := cache.Get[json.RawMessage](ctx, a.cache, key, cache.AtLeast(token), cache.OrStaleError())
		if !errors.Is(err, cache.ErrStale) {
			if errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrNotFound) {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
