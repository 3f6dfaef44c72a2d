package warmer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

// All warmers together keep the rate: in so many seconds no more than so many times
// the rate, and one more second's.
func TestRateIsShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(nil)}, nil)
	const rate, keys = 20, 60
	slow := func(c *warmer.Config) { c.Rate = rate }
	first, second := w.start(slow), w.start(slow)
	began := time.Now()
	for i := range keys {
		w.offered.Offer([]stream.WarmTask{w.task(0, fmt.Sprintf("t:%d", i+1), fmt.Sprint(i+1))})
	}
	servertest.Eventually(t, waiting, func() (bool, string) {
		a, b := first.Status().Results, second.Status().Results
		return a.Filled+b.Filled == keys, fmt.Sprintf("%+v and %+v of %d", a, b, keys)
	})
	took := time.Since(began)
	if most := rate * (int(took/time.Second) + 1); keys > most {
		t.Errorf("%d queries in %v, want at most %d", keys, took, most)
	}
	if a, b := first.Status().Queries, second.Status().Queries; a == 0 || b == 0 || a+b != keys {
		t.Errorf("got %d and %d queries, want both to work, %d together", a, b, keys)
	}
	found := w.rdb.Keys(t.Context(), "*ratelimit*").Val()
	for _, key := range found {
		if !strings.HasPrefix(key, "freshet:") {
			t.Errorf("the limit is kept under %s, which a pattern could match", key)
		}
	}
	if len(found) == 0 {
		t.Error("no limit is kept in Redis")
	}
}

// A task that comes while one for the same key waits to begin costs no query.
func TestWaitingTaskServesOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(nil)}, nil)
	v := w.start(func(c *warmer.Config) { c.Rate = 1 })
	offered := int64(0)
	servertest.Eventually(t, waiting, func() (bool, string) {
		w.offered.Offer([]stream.WarmTask{w.task(0, "t:1", "1")})
		offered++
		s := v.Status()
		return s.Results.Merged >= 5, fmt.Sprintf("%+v after %d tasks", s.Results, offered)
	})
	if s := v.Status(); s.Queries > s.Results.Merged+2 && s.Results.Filled == 0 {
		t.Errorf("got %+v", s)
	}
}
