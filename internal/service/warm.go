package service

import (
	"context"
	"errors"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

const (
	// bookkeeping is where the limit that all warmers share is kept: no rule's
	// pattern matches what begins so.
	bookkeeping = "freshet:"
	// limitTimeout is how long a warmer waits for Redis to say whether it may query.
	limitTimeout = time.Second
)

// openWarmer opens what a warmer works with; done closes it.
func openWarmer(ctx context.Context, cfg Config, s *stream.Stream, rules *rule.Set) (w *warmer.Warmer, done func() error, err error) {
	var undo []func() error
	done = func() error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- {
			errs = append(errs, undo[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, done())
		}
	}()
	c := cfg.Memory
	limits := ratelimit.Config{Prefix: bookkeeping, Failure: ratelimit.FailClosed, Timeout: limitTimeout, Logger: cfg.Logger}
	limiter := ratelimit.NewMemory(limits)
	if c == nil {
		c, err = cache.Open(ctx, cfg.CacheURL, cache.Config{Prefix: cfg.Applier.Prefix, LoadTimeout: cfg.Warmer.LeaseTime(), Logger: cfg.Logger})
		if err != nil {
			return nil, nil, err
		}
		undo = append(undo, c.Close)
		if limiter, err = ratelimit.Open(ctx, cfg.CacheURL, limits); err != nil {
			return nil, nil, err
		}
	}
	undo = append(undo, limiter.Close)
	db, err := warmer.OpenDatabase(ctx, cfg.PostgresURL, cfg.Warmer)
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() error { db.Close(); return nil })
	w, err = warmer.New(cfg.Warmer, s, c, rules, db, limiter)
	return w, done, err
}
