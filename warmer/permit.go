package warmer

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

const (
	// maxRate is what one limit may count.
	maxRate = 10_000_000
	// endpoint is the last part of the limit's key.
	endpoint = "warm"
	// longestWait bounds how long a denial is believed, as somebody may have raised
	// the rate.
	longestWait = time.Second
)

// permits hands out the right to send a query: never more in any second than the rate,
// all warmers together.
type permits struct {
	limiter *ratelimit.Limiter
	name    string
	limit   ratelimit.Limit
	turn    chan struct{} // size 1: one of this process asks at a time, the others would be told the same
}

func newPermits(limiter *ratelimit.Limiter, cfg Config) *permits {
	return &permits{limiter: limiter, name: cfg.Name, limit: limitOf(cfg.Rate), turn: make(chan struct{}, 1)}
}

// limitOf spreads the queries over the second, and lets a few of them make up for time
// that was lost. In no second does that permit more than 95 % of the rate, as a query
// may be sent a little later than it was permitted, and another not. The whole state
// of such a limit is under the limiter's prefix, where no pattern matches.
func limitOf(rate int) ratelimit.Limit {
	burst := rate / 20
	if burst == 0 {
		// One at a time, at least a rate's part of a second apart.
		return ratelimit.Limit{Max: rate, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 1}
	}
	return ratelimit.Limit{Max: rate - 2*burst, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: burst}
}

// wait waits for a permit. The error is the limiter's, whose Redis is away, or the
// context's.
func (p *permits) wait(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		r, err := p.limiter.Allow(ctx, p.name, endpoint, p.limit)
		if err != nil || r.Allowed {
			return err
		}
		if !sleep(ctx, min(r.RetryAfter, longestWait)) {
			return ctx.Err()
		}
	}
}
