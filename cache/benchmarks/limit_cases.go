package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/goredisstore.v9"
	throttledmemory "github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	ululememory "github.com/ulule/limiter/v3/drivers/store/memory"
	ululeredis "github.com/ulule/limiter/v3/drivers/store/redis"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

const (
	rateName      = "redis_rate"
	throttledName = "throttled"
	ululeName     = "ulule/limiter"

	endpoint = "orders"
	// plenty is a limit that is never reached.
	plenty = 1_000_000
)

// limiters are the contenders' ways to limits.
type limiters struct {
	rdb    *redis.Client
	ours   *ratelimit.Limiter // remembers denials
	always *ratelimit.Limiter // asks Redis always
	memory *ratelimit.Limiter
	rate   *redis_rate.Limiter
	users  []string
}

func newLimiters(rdb *redis.Client) *limiters {
	l := &limiters{
		rdb:    rdb,
		ours:   ratelimit.New(rdb, ratelimit.Config{Prefix: "a:", Timeout: time.Second}),
		always: ratelimit.New(rdb, ratelimit.Config{Prefix: "b:", Timeout: time.Second, RememberedDenials: -1}),
		memory: ratelimit.NewMemory(ratelimit.Config{}),
		rate:   redis_rate.NewLimiter(rdb),
	}
	for i := range 1000 {
		l.users = append(l.users, fmt.Sprintf("user:%d", i))
	}
	return l
}

func (l *limiters) close() error {
	return errors.Join(l.ours.Close(), l.always.Close(), l.memory.Close())
}

var errDecision = errors.New("allowed what should be denied, or the other way round")

func expect(allowed, want bool, err error) error {
	if err == nil && allowed != want {
		return errDecision
	}
	return err
}

// allow asks one of our limiters.
func allow(ctx context.Context, l *ratelimit.Limiter, users []string, limit ratelimit.Limit, want bool) func(int) error {
	return readAll(users, func(user string) error {
		result, err := l.Allow(ctx, user, endpoint, limit)
		return expect(result.Allowed, want, err)
	})
}

func (l *limiters) rateAllow(ctx context.Context, users []string, limit redis_rate.Limit, want bool) func(int) error {
	return readAll(users, func(user string) error {
		result, err := l.rate.Allow(ctx, user, limit)
		if err != nil {
			return err
		}
		return expect(result.Allowed == 1, want, nil)
	})
}

// gcra compares requests that are admitted.
func (l *limiters) gcra(ctx context.Context, name string, callers int) (contest, error) {
	store, err := goredisstore.NewCtx(l.rdb, "throttled:")
	if err != nil {
		return contest{}, err
	}
	theirs, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerSec(plenty), MaxBurst: plenty})
	if err != nil {
		return contest{}, err
	}
	// Users of throttled have to try again where two of them meet.
	theirs.SetMaxCASAttemptsLimit(1000)
	limit := ratelimit.PerSecond(plenty).By(ratelimit.GCRA)
	return contest{
		name: name, callers: callers, lean: true,
		ours: contender{name: "Allow", run: allow(ctx, l.always, l.users, limit, true)},
		rivals: []contender{
			{name: rateName, target: 1, run: l.rateAllow(ctx, l.users, redis_rate.PerSecond(plenty), true)},
			{name: throttledName, run: readAll(l.users, func(user string) error {
				limited, _, err := theirs.RateLimitCtx(ctx, user, 1)
				return expect(!limited, true, err)
			})},
		},
	}, nil
}

// denied compares requests that are denied, and that Redis is asked about.
func (l *limiters) denied(ctx context.Context) (contest, error) {
	users := []string{"denied:1", "denied:2", "denied:3"}
	limit := ratelimit.PerHour(1).By(ratelimit.GCRA)
	for _, user := range users {
		if _, err := l.always.Allow(ctx, user, endpoint, limit); err != nil {
			return contest{}, err
		}
		if _, err := l.rate.Allow(ctx, user, redis_rate.PerHour(1)); err != nil {
			return contest{}, err
		}
	}
	return contest{
		name: "GCRA, denied by Redis", lean: true,
		ours:   contender{name: "Allow", run: allow(ctx, l.always, users, limit, false)},
		rivals: []contender{{name: rateName, target: 1, run: l.rateAllow(ctx, users, redis_rate.PerHour(1), false)}},
	}, nil
}

// remembered compares denials that need not be asked for with a round trip.
func (l *limiters) remembered(ctx context.Context) (contest, error) {
	limit := ratelimit.PerHour(1)
	for _, user := range l.users {
		for range 2 {
			if _, err := l.ours.Allow(ctx, user, endpoint, limit); err != nil {
				return contest{}, err
			}
		}
	}
	before := l.ours.Stats().Remembered
	return contest{
		name: "denial, remembered", lean: true,
		ours:   contender{name: "Allow", run: allow(ctx, l.ours, l.users, limit, false)},
		rivals: []contender{{name: "go-redis, PING", target: 0.02, run: each(func() error { return l.rdb.Ping(ctx).Err() })}},
		check: func() error {
			if l.ours.Stats().Remembered == before {
				return errors.New("no denial was remembered")
			}
			return nil
		},
	}, nil
}

// fixed compares fixed windows, and shows what the default costs beside them.
func (l *limiters) fixed(ctx context.Context) (contest, error) {
	store, err := ululeredis.NewStore(l.rdb)
	if err != nil {
		return contest{}, err
	}
	theirs := ulule.New(store, ulule.Rate{Period: time.Hour, Limit: 1_000_000_000})
	limit := ratelimit.PerHour(10 * plenty).By(ratelimit.FixedWindow)
	return contest{
		name: "fixed window, admitted", lean: true,
		ours: contender{name: "Allow", run: allow(ctx, l.always, l.users, limit, true)},
		rivals: []contender{{name: ululeName, run: readAll(l.users, func(user string) error {
			result, err := theirs.Get(ctx, user)
			return expect(!result.Reached, true, err)
		})}},
	}, nil
}

// sliding shows what the default costs beside the leanest algorithm of others.
func (l *limiters) sliding(ctx context.Context) (contest, error) {
	return contest{
		name:   "sliding window, admitted",
		ours:   contender{name: "Allow", run: allow(ctx, l.always, l.users, ratelimit.PerSecond(plenty), true)},
		rivals: []contender{{name: rateName + " (GCRA)", run: l.rateAllow(ctx, l.users, redis_rate.PerSecond(plenty), true)}},
	}, nil
}

// several compares three limits of one user, which rivals have to ask for one
// after the other.
func (l *limiters) several(ctx context.Context) (contest, error) {
	limits := []ratelimit.Limit{
		ratelimit.PerSecond(plenty).By(ratelimit.GCRA), ratelimit.PerMinute(plenty).By(ratelimit.GCRA), ratelimit.PerHour(plenty).By(ratelimit.GCRA),
	}
	theirs := []redis_rate.Limit{redis_rate.PerSecond(plenty), redis_rate.PerMinute(plenty), redis_rate.PerHour(plenty)}
	return contest{
		name: "three limits, admitted",
		ours: contender{name: "AllowAll", run: readAll(l.users, func(user string) error {
			results, err := l.always.AllowAll(ctx, user, "several", limits...)
			return expect(results.Allowed(), true, err)
		})},
		rivals: []contender{{name: rateName + ", three calls", run: readAll(l.users, func(user string) error {
			for i, limit := range theirs {
				result, err := l.rate.Allow(ctx, user+suffixes[i], limit)
				if err != nil {
					return err
				}
				if err := expect(result.Allowed == 1, true, nil); err != nil {
					return err
				}
			}
			return nil
		})}},
	}, nil
}

var suffixes = []string{":s", ":m", ":h"}

// inMemory compares limits of one process.
func (l *limiters) inMemory(ctx context.Context) (contest, error) {
	store, err := throttledmemory.NewCtx(100_000)
	if err != nil {
		return contest{}, err
	}
	gcra, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{MaxRate: throttled.PerSec(plenty), MaxBurst: plenty})
	if err != nil {
		return contest{}, err
	}
	fixed := ulule.New(ululememory.NewStore(), ulule.Rate{Period: time.Hour, Limit: 1_000_000_000_000})
	return contest{
		name: "in memory, admitted", inProcess: true,
		ours: contender{name: "Allow", run: allow(ctx, l.memory, l.users, ratelimit.PerSecond(plenty).By(ratelimit.GCRA), true)},
		rivals: []contender{
			{name: throttledName, run: readAll(l.users, func(user string) error {
				limited, _, err := gcra.RateLimitCtx(ctx, user, 1)
				return expect(!limited, true, err)
			})},
			{name: ululeName, run: readAll(l.users, func(user string) error {
				result, err := fixed.Get(ctx, user)
				return expect(!result.Reached, true, err)
			})},
		},
	}, nil
}
