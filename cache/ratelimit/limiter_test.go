package ratelimit_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

var algorithms = []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.FixedWindow, ratelimit.GCRA}

func TestMaxPassAndNoMore(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		for _, a := range algorithms {
			limit, id := ratelimit.PerHour(3).By(a), fresh()
			for i := range 3 {
				r := allow(t, l, id, "/login", limit)
				if !r.Allowed || r.Remaining != 2-i || r.Limit != limit || r.RetryAfter != 0 {
					t.Fatalf("%v, call %d: got %+v", a, i, r)
				}
				if r.ResetAfter <= 0 || r.ResetAfter > time.Hour+time.Second || r.ResetAt.IsZero() {
					t.Errorf("%v, call %d: reset after %v, at %v", a, i, r.ResetAfter, r.ResetAt)
				}
			}
			for range 2 { // asked, and remembered
				r := allow(t, l, id, "/login", limit)
				if r.Allowed || r.Remaining != 0 || r.RetryAfter <= 0 || r.RetryAfter > time.Hour {
					t.Errorf("%v: got %+v, want a denial", a, r)
				}
			}
			if r := allow(t, l, id, "/other", limit); !r.Allowed {
				t.Errorf("%v: another endpoint is denied", a)
			}
			if r := allow(t, l, fresh(), "/login", limit); !r.Allowed {
				t.Errorf("%v: another identifier is denied", a)
			}
		}
	})
}

func TestUnitsAreTakenTogether(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		for _, a := range algorithms {
			limit, id := ratelimit.PerHour(10).By(a), fresh()
			for _, step := range []struct {
				n, remaining int
				allowed      bool
			}{{7, 3, true}, {4, 3, false}, {3, 0, true}, {1, 0, false}} {
				r, err := l.AllowN(t.Context(), id, "", limit, step.n)
				if err != nil || r.Allowed != step.allowed || r.Remaining != step.remaining {
					t.Errorf("%v, %d units: got %+v, %v, want %v with %d left", a, step.n, r, err, step.allowed, step.remaining)
				}
			}
		}
	})
}

// TestAllOrNothing: what one limit denies is taken from none.
func TestAllOrNothing(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		id := fresh()
		limits := []ratelimit.Limit{
			ratelimit.PerHour(5),
			ratelimit.PerHour(5).By(ratelimit.GCRA),
			ratelimit.PerHour(2).Named("tight"),
			ratelimit.PerHour(5).By(ratelimit.FixedWindow),
		}
		for i := range 5 {
			rs, err := l.AllowAll(t.Context(), id, "/orders", limits...)
			if err != nil {
				t.Fatal(err)
			}
			taken := min(i+1, 2)
			if got, want := rs.Allowed(), i < 2; got != want {
				t.Errorf("call %d: allowed %v, want %v", i, got, want)
			}
			for j, r := range rs {
				if r.Limit != limits[j] || r.Remaining != limits[j].Max-taken || r.Allowed != (i < 2 || j != 2) {
					t.Errorf("call %d, %v: got %+v", i, limits[j], r)
				}
			}
			if i >= 2 && rs.Tightest().Limit != limits[2] {
				t.Errorf("tightest is %v", rs.Tightest().Limit)
			}
		}
		// Taken together or alone, a limit is the same.
		if r := allow(t, l, id, "/orders", limits[0]); !r.Allowed || r.Remaining != 2 {
			t.Errorf("alone: got %+v, want 2 left", r)
		}
		rs, err := l.AllowAllN(t.Context(), id, "/orders", 2, limits[0], limits[1])
		if err != nil || !rs.Allowed() || rs[0].Remaining != 0 || rs[1].Remaining != 1 {
			t.Errorf("two of each: got %+v, %v", rs, err)
		}
	})
}

func TestPeekTakesNothing(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		for _, a := range algorithms {
			limit, id := ratelimit.PerHour(1).By(a), fresh()
			for range 3 {
				if r, err := l.Peek(t.Context(), id, "", limit); err != nil || !r.Allowed || r.Remaining != 1 || r.ResetAfter != 0 {
					t.Errorf("%v: got %+v, %v before", a, r, err)
				}
			}
			allow(t, l, id, "", limit)
			if r, err := l.Peek(t.Context(), id, "", limit); err != nil || r.Allowed || r.Remaining != 0 || r.RetryAfter <= 0 {
				t.Errorf("%v: got %+v, %v after", a, r, err)
			}
		}
	})
}

func TestResetForgets(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		for _, a := range algorithms {
			limit, id := ratelimit.PerHour(2).By(a), fresh()
			for round := range 3 {
				for i := range 4 { // the last is a remembered denial
					if got, want := allow(t, l, id, "/x", limit).Allowed, i < 2; got != want {
						t.Fatalf("%v, round %d, call %d: allowed %v", a, round, i, got)
					}
				}
				if err := l.Reset(t.Context(), id, "/x"); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestLimitsThatDifferCountApart: one that is asked about in between does not
// spoil the other, as it would if they shared a key.
func TestLimitsThatDifferCountApart(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		id := fresh()
		for i := range 6 {
			for _, limit := range []ratelimit.Limit{
				{Max: 3, Window: time.Hour},
				{Max: 4, Window: 2 * time.Hour},
				{Max: 2, Window: time.Hour, Name: "b"},
				{Max: 3, Window: time.Hour, Algorithm: ratelimit.FixedWindow},
				{Max: 3, Window: time.Hour, Algorithm: ratelimit.GCRA},
			} {
				if got, want := allow(t, l, id, "", limit).Allowed, i < limit.Max; got != want {
					t.Errorf("call %d of %v: allowed %v", i, limit, got)
				}
			}
		}
	})
}

// TestMaxMayChange: a deployment with another Max goes on counting.
func TestMaxMayChange(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		for _, a := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.FixedWindow} {
			id := fresh()
			for i := range 4 {
				if r := allow(t, l, id, "", ratelimit.PerHour(4).By(a)); !r.Allowed {
					t.Fatalf("%v: call %d denied", a, i)
				}
			}
			if r := allow(t, l, id, "", ratelimit.PerHour(2).By(a)); r.Allowed || r.Remaining != 0 || r.RetryAfter <= 0 {
				t.Errorf("%v: lowered to 2: got %+v", a, r)
			}
			if r := allow(t, l, id, "", ratelimit.PerHour(6).By(a)); !r.Allowed || r.Remaining != 1 {
				t.Errorf("%v: raised to 6: got %+v", a, r)
			}
		}
		id := fresh()
		for _, limit := range []ratelimit.Limit{ratelimit.PerHour(7), ratelimit.PerHour(3), ratelimit.PerHour(11), {Max: 11, Window: time.Hour, Burst: 2}} {
			limit.Algorithm = ratelimit.GCRA
			r := allow(t, l, id, "", limit)
			if r.Remaining < 0 || r.Remaining > limit.Max || !r.Allowed && r.RetryAfter <= 0 {
				t.Errorf("%v: got %+v", limit, r)
			}
		}
	})
}

func TestCallsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		ctx := t.Context()
		good := ratelimit.PerMinute(10)
		for name, limit := range map[string]ratelimit.Limit{
			"zero":           {},
			"no max":         {Window: time.Second},
			"negative max":   {Max: -1, Window: time.Second},
			"huge max":       {Max: 10_000_001, Window: time.Second},
			"no window":      {Max: 1},
			"short window":   {Max: 1, Window: 999 * time.Microsecond},
			"uneven window":  {Max: 1, Window: time.Second + 1},
			"long window":    {Max: 1, Window: 367 * 24 * time.Hour},
			"algorithm":      {Max: 1, Window: time.Second, Algorithm: 3},
			"burst":          {Max: 1, Window: time.Second, Burst: 1},
			"negative burst": {Max: 1, Window: time.Second, Burst: -1, Algorithm: ratelimit.GCRA},
			"long name":      good.Named(strings.Repeat("n", 65)),
			"control name":   good.Named("a\nb"),
		} {
			if r, err := l.Allow(ctx, "x", "", limit); !errors.Is(err, ratelimit.ErrLimit) || r.Allowed {
				t.Errorf("%s: got %+v, %v", name, r, err)
			}
		}
		for _, n := range []int{-1, 0, 11} {
			if r, err := l.AllowN(ctx, "x", "", good, n); !errors.Is(err, ratelimit.ErrLimit) || r.Allowed {
				t.Errorf("%d units of 10: got %+v, %v", n, r, err)
			}
		}
		if rs, err := l.AllowAll(ctx, "x", ""); !errors.Is(err, ratelimit.ErrLimit) || len(rs) != 0 || rs.Allowed() {
			t.Errorf("no limits: got %v, %v", rs, err)
		}
		if rs, err := l.AllowAll(ctx, "x", "", good, ratelimit.PerMinute(5)); !errors.Is(err, ratelimit.ErrLimit) || rs.Allowed() {
			t.Errorf("two that share their state: got %v, %v", rs, err)
		}
		if rs, err := l.AllowAllN(ctx, "x", "", 6, good, ratelimit.PerHour(5)); !errors.Is(err, ratelimit.ErrLimit) || rs.Allowed() {
			t.Errorf("more than one of them has: got %v, %v", rs, err)
		}
		if r, err := l.Allow(ctx, "", "/x", good); !errors.Is(err, ratelimit.ErrIdentifier) || r.Allowed {
			t.Errorf("no identifier: got %+v, %v", r, err)
		}
		if err := l.Reset(ctx, "", "/x"); !errors.Is(err, ratelimit.ErrIdentifier) {
			t.Errorf("reset without identifier: %v", err)
		}
	})
}

func TestClosed(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, l *ratelimit.Limiter) {
		t.Helper()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		limit := ratelimit.PerMinute(1)
		_, err1 := l.Allow(t.Context(), "x", "", limit)
		_, err2 := l.AllowAll(t.Context(), "x", "", limit)
		_, err3 := l.Peek(t.Context(), "x", "", limit)
		for i, err := range []error{err1, err2, err3, l.Reset(t.Context(), "x", "")} {
			if !errors.Is(err, ratelimit.ErrClosed) {
				t.Errorf("call %d: got %v", i, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
	})
}

// TestWhatIsInRedis: the names that operators see, and that all of it goes away.
func TestWhatIsInRedis(t *testing.T) {
	t.Parallel()
	rdb := client(t)
	cfg := generous()
	cfg.Prefix = "{app}:"
	l := over(rdb, cfg)
	id := fresh() + ":2001:db8::"
	limits := []ratelimit.Limit{
		ratelimit.PerMinute(5), ratelimit.PerHour(5).By(ratelimit.GCRA).Named("slow"), ratelimit.PerSecond(5).By(ratelimit.FixedWindow),
	}
	if rs, err := l.AllowAll(t.Context(), id, "/orders/:id", limits...); err != nil || !rs.Allowed() {
		t.Fatal(rs, err)
	}
	hash := "%7Bapp%7D:ratelimit:" + id + ":/orders/%3Aid"
	for _, key := range []string{hash, "{" + hash + "}#s:60000000"} {
		ttl, err := rdb.PTTL(t.Context(), key).Result()
		if err != nil || ttl <= 0 || ttl > 2*time.Hour {
			t.Errorf("%s expires in %v, %v", key, ttl, err)
		}
	}
	fields, err := rdb.HKeys(t.Context(), hash).Result()
	if got, want := fmt.Sprint(fields), "[i 1 s:60000000 g:3600000000:slow f:1000000]"; err != nil || got != want {
		t.Errorf("fields are %v, %v, want %v", got, err, want)
	}
	if keys, err := rdb.Keys(t.Context(), "*"+id+"*").Result(); err != nil || len(keys) != 2 {
		t.Errorf("keys are %q, %v, want two", keys, err)
	}
}

// TestStateStaysSmall: what a busy identifier leaves behind is bounded by its
// limit, not by how often it comes.
func TestStateStaysSmall(t *testing.T) {
	t.Parallel()
	rdb := client(t)
	l := over(rdb, generous())
	id, limit, now := fresh(), ratelimit.PerSecond(100), int64(1_700_000_000_000_000)
	ratelimit.SetClock(l, func() int64 { return now })
	for range 5000 {
		now += 20_000 // 50 in a second
		if r := allow(t, l, id, "", limit); !r.Allowed {
			t.Fatalf("denied: %+v", r)
		}
	}
	key := ratelimit.Key(id, "")
	length, err := rdb.StrLen(t.Context(), "{"+key+"}#s:1000000").Result()
	if err != nil || length > 7*1200 {
		t.Errorf("the log has %d bytes, %v", length, err)
	}
	if fields, err := rdb.HLen(t.Context(), key).Result(); err != nil || fields > 110 {
		t.Errorf("the hash has %d fields, %v", fields, err)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	l, err := ratelimit.Open(t.Context(), "", ratelimit.Config{Logger: logger})
	if err != nil || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("an empty URL: %v, log %q, want a warning", err, log.String())
	}
	allow(t, l, "x", "", ratelimit.PerSecond(1))
	log.Reset()
	if _, err := ratelimit.Open(t.Context(), "memory://", ratelimit.Config{Logger: logger}); err != nil || log.Len() != 0 {
		t.Errorf("memory://: %v, log %q, want none", err, log.String())
	}
	for _, url := range []string{"redis://user:secret@host:bad", "http://:secret@host", "redis://:secret@host?addr=b:1&nonsense=1", "redis://:secret@h?master_name=m&nonsense=1"} {
		if _, err := ratelimit.Open(t.Context(), url, ratelimit.Config{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want an error without the password", url, err)
		}
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		ratelimit.PerMinute(100).String(): "100 per 1m0s (sliding window)",
		ratelimit.Limit{Max: 5, Window: time.Second, Algorithm: ratelimit.GCRA, Burst: 2, Name: "x"}.String(): "x: 5 per 1s (GCRA, burst 2)",
		ratelimit.PerSecond(1).By(ratelimit.FixedWindow).String():                                             "1 per 1s (fixed window)",
		ratelimit.Algorithm(9).String():                                                                       "Algorithm(9)",
		fmt.Sprint(ratelimit.FailLocal, ratelimit.FailOpen, ratelimit.FailClosed, ratelimit.Failure(7)):       "local open closed Failure(7)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
