package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Open returns a Limiter over the Redis that a URL names, with a client of its
// own that Close closes. URLs are those of go-redis: redis://, rediss:// and
// unix://; several addr= parameters mean a Cluster, master_name= a Sentinel
// group. memory:// means memory mode, and so does an empty URL, with a warning.
//
// Open does not connect: the error is of the URL.
func Open(ctx context.Context, rawURL string, cfg Config) (*Limiter, error) {
	cfg.setDefaults()
	if rawURL == "" {
		cfg.Logger.WarnContext(ctx, "rate limiter: no Redis URL, every process counts for itself, in memory")
		return NewMemory(cfg), nil
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("parse rate limiter URL: %w", withoutURL(err))
	}
	if u.Scheme == "memory" {
		return NewMemory(cfg), nil
	}
	rdb, err := dial(rawURL, u.Query(), cfg.Timeout)
	if err != nil {
		return nil, fmt.Errorf("parse rate limiter URL: %w", withoutURL(err))
	}
	s := newRedisStore(rdb, cfg)
	s.owned = true
	return newLimiter(cfg, s, true), nil
}

// dial makes a client, with short time-outs where the URL sets none.
func dial(rawURL string, query url.Values, timeout time.Duration) (redis.UniversalClient, error) {
	// A call's own time-out bounds its reads and writes. These bound the rest.
	shorten := func(of ...*time.Duration) {
		for _, d := range of {
			*d = or(*d, timeout)
		}
	}
	switch {
	case query.Get("master_name") != "":
		o, err := redis.ParseFailoverURL(rawURL)
		if err != nil {
			return nil, err
		}
		shorten(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		o.MaxRetryBackoff, o.DialerRetries = or(o.MaxRetryBackoff, timeout/4), or(o.DialerRetries, 1)
		o.ContextTimeoutEnabled = true
		return redis.NewFailoverClient(o), nil
	case query.Has("addr"):
		o, err := redis.ParseClusterURL(rawURL)
		if err != nil {
			return nil, err
		}
		shorten(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		o.MaxRetryBackoff, o.DialerRetries = or(o.MaxRetryBackoff, timeout/4), or(o.DialerRetries, 1)
		o.ContextTimeoutEnabled, o.MaintNotificationsConfig = true, noMaintenance()
		return redis.NewClusterClient(o), nil
	default:
		o, err := redis.ParseURL(rawURL)
		if err != nil {
			return nil, err
		}
		shorten(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		o.MaxRetryBackoff, o.DialerRetries = or(o.MaxRetryBackoff, timeout/4), or(o.DialerRetries, 1)
		o.ContextTimeoutEnabled, o.MaintNotificationsConfig = true, noMaintenance()
		return redis.NewClient(o), nil
	}
}

// noMaintenance switches a handshake off that only Redis' own cloud answers.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// withoutURL drops the URL from an error of package net/url: it may hold a
// password.
func withoutURL(err error) error {
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return parse.Err
	}
	return err
}
