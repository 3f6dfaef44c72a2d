package ratelimit

import (
	"context"
	"fmt"
	"net/url"

	"github.com/freshet-dev/freshet/cache"
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
	if u, err := url.Parse(rawURL); err == nil && u.Scheme == "memory" {
		return NewMemory(cfg), nil
	}
	rdb, err := cache.Dial(rawURL, cfg.Timeout)
	if err != nil {
		return nil, fmt.Errorf("ratelimit: %w", err)
	}
	s := newRedisStore(rdb, cfg)
	s.owned = true
	return newLimiter(cfg, s, true), nil
}
