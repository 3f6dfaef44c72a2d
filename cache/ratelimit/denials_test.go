package ratelimit_test

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

// counting counts the commands of a client.
type counting struct{ n atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func counted(t *testing.T, cfg ratelimit.Config) (*ratelimit.Limiter, *counting) {
	t.Helper()
	rdb := client(t)
	c := &counting{}
	rdb.AddHook(c)
	l := over(rdb, cfg)
	allow(t, l, fresh(), "", ratelimit.PerHour(1)) // the script is loaded
	c.n.Store(0)
	return l, c
}

func TestDenialIsRemembered(t *testing.T) {
	t.Parallel()
	l, commands := counted(t, generous())
	for _, a := range algorithms {
		commands.n.Store(0)
		id, limit := fresh(), ratelimit.PerHour(1).By(a)
		allow(t, l, id, "/x", limit)
		first := allow(t, l, id, "/x", limit)
		last := first
		for range 100 {
			r := allow(t, l, id, "/x", limit)
			if r.Allowed || r.RetryAfter > last.RetryAfter || r.ResetAfter > last.ResetAfter || r.ResetAt != first.ResetAt || r.RetryAfter <= 0 {
				t.Fatalf("%v: got %+v after %+v", a, r, last)
			}
			last = r
		}
		if got := commands.n.Load(); got != 2 {
			t.Errorf("%v: %d commands for 102 calls, want 2", a, got)
		}
		// What was not denied is asked about.
		allow(t, l, id, "/y", limit)
		allow(t, l, fresh(), "/x", limit)
		allow(t, l, id, "/x", ratelimit.PerMinute(1).By(a))
		if got := commands.n.Load(); got != 5 {
			t.Errorf("%v: %d commands, want 5", a, got)
		}
	}
	if got := l.Stats(); got.Remembered != 300 || got.Denied != 303 || got.Allowed != 13 || got.Errors != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestDenialOfSeveralIsRemembered(t *testing.T) {
	t.Parallel()
	l, commands := counted(t, generous())
	id, limits := fresh(), []ratelimit.Limit{ratelimit.PerHour(9), ratelimit.PerMinute(1)}
	for i := range 10 {
		rs, err := l.AllowAll(t.Context(), id, "", limits...)
		if err != nil || rs.Allowed() != (i == 0) || rs[0].Remaining != 8 || !rs[0].Allowed {
			t.Errorf("call %d: got %+v, %v", i, rs, err)
		}
	}
	if got := commands.n.Load(); got != 2 {
		t.Errorf("%d commands for 10 calls, want 2", got)
	}
	// More units, or one of the limits alone, is another call.
	if r := allow(t, l, id, "", limits[0]); !r.Allowed {
		t.Errorf("the limit that did not deny: got %+v", r)
	}
}

// TestDenialEndsWithTheLimit: whoever comes back when told is admitted, so a
// denial is remembered no longer than it holds.
func TestDenialEndsWithTheLimit(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			l := open(t, redisURL(t), generous())
			limit, id := ratelimit.Limit{Max: 1, Window: 20 * time.Millisecond, Algorithm: a}, fresh()
			for i := range 20 {
				r := allow(t, l, id, "", limit)
				for tries := 0; !r.Allowed; tries++ {
					if tries > 0 {
						t.Fatalf("round %d: denied after waiting as told: %+v", i, r)
					}
					again := allow(t, l, id, "", limit) // a remembered one, unless the wait is over by now
					if again.Allowed {
						break
					}
					<-time.After(again.RetryAfter)
					r = allow(t, l, id, "", limit)
				}
			}
			if l.Stats().Remembered < 10 {
				t.Errorf("%+v; the test proves nothing", l.Stats())
			}
		})
	}
}

func TestResetForgetsDenials(t *testing.T) {
	t.Parallel()
	l, _ := counted(t, generous())
	id, limit := fresh(), ratelimit.PerHour(1)
	allow(t, l, id, "", limit)
	allow(t, l, id, "", limit)
	other := fresh()
	allow(t, l, other, "", limit)
	allow(t, l, other, "", limit)
	if err := l.Reset(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if r := allow(t, l, id, "", limit); !r.Allowed {
		t.Errorf("after a reset: got %+v", r)
	}
	before := l.Stats().Remembered
	if allow(t, l, other, "", limit); l.Stats().Remembered != before+1 {
		t.Error("another's denial was forgotten with it")
	}
}

func TestDenialsAreBounded(t *testing.T) {
	t.Parallel()
	cfg := generous()
	cfg.RememberedDenials = 64
	l, _ := counted(t, cfg)
	for i := range 300 {
		id := fresh() + strconv.Itoa(i)
		allow(t, l, id, "", ratelimit.PerHour(1))
		allow(t, l, id, "", ratelimit.PerHour(1))
	}
	if got := ratelimit.DenialsLen(l); got > 64 || got < 32 {
		t.Errorf("%d denials are remembered, want at most 64", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	l := ratelimit.NewMemory(ratelimit.Config{MemoryEntries: 320})
	for range 5000 {
		allow(t, l, fresh(), "", ratelimit.PerHour(1))
	}
	if got := ratelimit.MemoryLen(l); got > 320 || got < 200 {
		t.Errorf("%d entries, want at most 320", got)
	}
	// What has expired makes room for the rest.
	l = ratelimit.NewMemory(ratelimit.Config{})
	now := int64(1_700_000_000_000_000)
	ratelimit.SetClock(l, func() int64 { return now })
	for range 50_000 {
		now += 1000
		allow(t, l, fresh(), "", ratelimit.PerSecond(1))
	}
	if got := ratelimit.MemoryLen(l); got > 5000 {
		t.Errorf("%d entries, with 1000 in use", got)
	}
}
