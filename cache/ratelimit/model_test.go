package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

// model is what the algorithms are said to do, put as plainly as can be: every
// admission that ever was, and exact fractions. Times are microseconds.
type model struct {
	limit    ratelimit.Limit
	admitted []int64 // sliding: the time of each unit
	ends     int64   // fixed
	units    int     // fixed
	tat      *big.Rat
}

func newModel(l ratelimit.Limit) *model { return &model{limit: l, tat: new(big.Rat)} }

func (m *model) window() int64 { return m.limit.Window.Microseconds() }

// inWindow are the units in the closed window that ends now.
func (m *model) inWindow(now int64) []int64 {
	for i, t := range m.admitted {
		if t >= now-m.window() {
			return m.admitted[i:]
		}
	}
	return nil
}

// spacing is n times Window/Max.
func (m *model) spacing(n int) *big.Rat {
	return new(big.Rat).SetFrac(
		new(big.Int).Mul(big.NewInt(m.window()), big.NewInt(int64(n))), big.NewInt(int64(m.limit.Max)))
}

func (m *model) burst() int {
	if m.limit.Burst > 0 {
		return m.limit.Burst
	}
	return m.limit.Max
}

func (m *model) arrival(now int64) *big.Rat {
	at := new(big.Rat).SetInt64(now)
	if m.tat.Cmp(at) > 0 {
		at.Set(m.tat)
	}
	return at
}

// fits reports whether n units are admitted.
func (m *model) fits(now int64, n int) bool {
	switch m.limit.Algorithm {
	case ratelimit.GCRA:
		tat := m.arrival(now)
		tat.Add(tat, m.spacing(n))
		latest := new(big.Rat).SetInt64(now)
		return tat.Cmp(latest.Add(latest, m.spacing(m.burst()))) <= 0
	case ratelimit.FixedWindow:
		return now >= m.ends || m.units+n <= m.limit.Max
	default:
		return len(m.inWindow(now))+n <= m.limit.Max
	}
}

func (m *model) take(now int64, n int) {
	switch m.limit.Algorithm {
	case ratelimit.GCRA:
		tat := m.arrival(now)
		m.tat = tat.Add(tat, m.spacing(n))
	case ratelimit.FixedWindow:
		if now >= m.ends {
			m.ends, m.units = now+m.window(), 0
		}
		m.units += n
	default:
		m.admitted = slices.Clone(m.inWindow(now)) // time does not go back
		for range n {
			m.admitted = append(m.admitted, now)
		}
	}
}

// remaining is the most that would fit.
func (m *model) remaining(now int64) int {
	low, high := 0, m.burst()
	for low < high {
		if middle := (low + high + 1) / 2; m.fits(now, middle) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

// reset is when nothing is taken any more.
func (m *model) reset(now int64) int64 {
	switch m.limit.Algorithm {
	case ratelimit.GCRA:
		up := new(big.Int).Add(m.tat.Num(), new(big.Int).Sub(m.tat.Denom(), big.NewInt(1)))
		return max(now, up.Div(up, m.tat.Denom()).Int64())
	case ratelimit.FixedWindow:
		return max(now, m.ends)
	default:
		if in := m.inWindow(now); len(in) > 0 {
			return in[len(in)-1] + m.window() + 1
		}
		return now
	}
}

// retry is how long it takes until n units fit: the shortest time after which
// they do, found by trying.
func (m *model) retry(now int64, n int) int64 {
	low, high := now, now+2*m.window()*int64(1+m.burst()/m.limit.Max)+2
	for low < high {
		if middle := (low + high) / 2; m.fits(middle, n) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low - now
}

// compare runs calls at random against a limiter and the model, at times that
// lie at the edges more often than chance would have it, and returns the first
// difference.
func compare(ctx context.Context, l *ratelimit.Limiter, limits []ratelimit.Limit, steps int, random *rand.Rand) error {
	now, id := int64(1_700_000_000_000_000), fresh()
	ratelimit.SetClock(l, func() int64 { return now })
	models := make([]*model, len(limits))
	most := limits[0].Max
	for i, limit := range limits {
		models[i] = newModel(limit)
		most = min(most, models[i].burst())
	}
	wait := int64(0)
	for step := range steps {
		window := limits[random.IntN(len(limits))].Window.Microseconds()
		now += []int64{
			0, 1, random.Int64N(1000), random.Int64N(window/int64(most) + 1), random.Int64N(window/20 + 1), wait, wait + 1,
			max(0, wait-1), max(0, wait-1), window, window + 1,
		}[min(random.IntN(40), 10)%11*min(1, random.IntN(9))]
		n := 1
		if random.IntN(4) == 0 {
			n += random.IntN(most)
		}
		peek := n == 1 && len(limits) == 1 && random.IntN(5) == 0
		allowed := true
		for _, m := range models {
			allowed = allowed && m.fits(now, n)
		}
		want := make([]string, len(limits))
		wait = 0
		for i, m := range models {
			fits, retry := m.fits(now, n), int64(0)
			if !fits {
				retry = m.retry(now, n)
				wait = max(wait, retry)
			}
			if allowed && !peek {
				m.take(now, n)
			}
			want[i] = describe(fits, m.remaining(now), retry, m.reset(now), m.reset(now)-now)
		}

		var got ratelimit.Results
		var err error
		switch {
		case peek:
			got = make(ratelimit.Results, 1)
			got[0], err = l.Peek(ctx, id, "", limits[0])
		case len(limits) == 1:
			got = make(ratelimit.Results, 1)
			got[0], err = l.AllowN(ctx, id, "", limits[0], n)
		default:
			got, err = l.AllowAllN(ctx, id, "", n, limits...)
		}
		if err != nil {
			return err
		}
		for i, r := range got {
			if text := describe(r.Allowed, r.Remaining, r.RetryAfter.Microseconds(), r.ResetAt.UnixMicro(), r.ResetAfter.Microseconds()); text != want[i] {
				return fmt.Errorf("step %d, %d units, peek %v, %v:\ngot  %s\nwant %s", step, n, peek, limits[i], text, want[i])
			}
		}
	}
	return nil
}

func describe(allowed bool, remaining int, retry, reset, after int64) string {
	return fmt.Sprintf("allowed %v, %d left, retry after %dµs, reset at %d, in %dµs", allowed, remaining, retry, reset, after)
}

// noDenials asks the store each time: the clock of the test is not this
// process's.
func noDenials() ratelimit.Config {
	cfg := generous()
	cfg.RememberedDenials = -1
	return cfg
}

// longLived keeps Redis from removing what has expired by the server's clock,
// and not by the test's.
func longLived(t *testing.T, l *ratelimit.Limiter) *ratelimit.Limiter {
	t.Helper()
	ratelimit.Rewrite(t, l, "1.25 / 1000) + 1000", "1.25 / 1000) + 3600000")
	return l
}

func randomLimit(random *rand.Rand, a ratelimit.Algorithm) ratelimit.Limit {
	l := ratelimit.Limit{
		Max:       1 + random.IntN([]int{1, 3, 10, 70, 1000}[random.IntN(5)]),
		Window:    time.Duration(1000+random.IntN([]int{10, 1e6, 60e6}[random.IntN(3)])) * time.Microsecond,
		Algorithm: a,
	}
	if a == ratelimit.GCRA && random.IntN(2) == 0 {
		l.Burst = 1 + random.IntN(20)
	}
	return l
}

func scenarios(random *rand.Rand) map[string][]ratelimit.Limit {
	all := map[string][]ratelimit.Limit{}
	for _, a := range algorithms {
		for i := range 5 {
			all[fmt.Sprintf("%v %d", a, i)] = []ratelimit.Limit{randomLimit(random, a)}
		}
	}
	for i := range 4 {
		limits := make([]ratelimit.Limit, 2+random.IntN(3))
		for j := range limits {
			limits[j] = randomLimit(random, algorithms[random.IntN(3)]).Named(string(rune('a' + j)))
		}
		all[fmt.Sprintf("together %d", i)] = limits
	}
	return all
}

func TestModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	memory := func(t *testing.T) *ratelimit.Limiter {
		t.Helper()
		return open(t, "memory://", noDenials())
	}
	onRedis := func(t *testing.T) *ratelimit.Limiter {
		t.Helper()
		return longLived(t, open(t, redisURL(t), noDenials()))
	}
	for name, limits := range scenarios(rand.New(rand.NewPCG(seed, 0))) {
		for store, limiter := range map[string]func(t *testing.T) *ratelimit.Limiter{"memory": memory, "redis": onRedis} {
			t.Run(store+"/"+name, func(t *testing.T) {
				t.Parallel()
				steps := 1500
				if store == "redis" {
					steps = 600
				}
				if err := compare(t.Context(), limiter(t), limits, steps, rand.New(rand.NewPCG(seed, 1))); err != nil {
					t.Errorf("%v (seed %d)", err, seed)
				}
			})
		}
	}
}

// TestModelNoticesBrokenScripts: the comparison must be able to fail.
func TestModelNoticesBrokenScripts(t *testing.T) {
	t.Parallel()
	sliding := []ratelimit.Limit{{Max: 5, Window: time.Second}}
	fixed := []ratelimit.Limit{{Max: 5, Window: time.Second, Algorithm: ratelimit.FixedWindow}}
	gcra := []ratelimit.Limit{{Max: 7, Window: time.Second, Algorithm: ratelimit.GCRA}}
	together := []ratelimit.Limit{{Max: 20, Window: 3 * time.Second, Algorithm: ratelimit.FixedWindow}, {Max: 50, Window: 10 * time.Second, Algorithm: ratelimit.FixedWindow}}
	for name, variant := range map[string]struct {
		old, replacement string
		limits           []ratelimit.Limit
	}{
		"sliding: a unit counts a microsecond too short":    {"+ window >= now, entry", "+ window > now, entry", sliding},
		"sliding: the window is forgotten with its last":    {"if last + window < now or", "if last < now or", sliding},
		"sliding: the search stops one early":               {"while lo - old > 1 do", "while lo - old > 2 do", sliding},
		"sliding: the log is cut at the wrong place":        {"2 * lo > hi then", "true then lo = lo - 1", []ratelimit.Limit{{Max: 600, Window: time.Second}}},
		"fixed: the window begins with each unit":           {"used > 0 and reset or now + window", "now + window", fixed},
		"fixed: one too many":                               {"if used2 > max then retry = reset2", "if used2 > max + 1 then retry = reset2", fixed},
		"gcra: fractions are dropped":                       {"write[2 * i] = pack('>I7I4', reset2, used2)\n\telseif algorithm == 102", "write[2 * i] = pack('>I7I4', reset2, 0)\n\telseif algorithm == 102", gcra},
		"gcra: the burst is too large":                      {"local most, mostPart = rest * burst, 0", "burst = burst + 1 local most, mostPart = rest * burst, 0", gcra},
		"together: what one denies is taken from the other": {"if not allowed or take == 0 then", "if not allowed then call('HSET', key, unpack(write)) end if not allowed or take == 0 then", together},
		"together: only the last decides":                   {"if retry > 0 then allowed = false end", "if retry > 0 and i == count then allowed = false end", together},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := longLived(t, open(t, redisURL(t), noDenials()))
			ratelimit.Rewrite(t, l, variant.old, variant.replacement)
			for seed := range uint64(5) {
				if err := compare(t.Context(), l, variant.limits, 1500, rand.New(rand.NewPCG(seed, 2))); errors.Is(err, ratelimit.ErrUnavailable) {
					t.Fatalf("not broken enough to answer: %v", err)
				} else if err != nil {
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}

// TestClockSetBack: the limit holds by what the clock says, and nobody is
// locked out for longer than a limit can last.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		l, id, limit := longLived(t, open(t, redisURL(t), noDenials())), fresh(), ratelimit.PerMinute(2).By(a)
		now := int64(1_700_000_000_000_000)
		ratelimit.SetClock(l, func() int64 { return now })
		allow(t, l, id, "", limit)
		allow(t, l, id, "", limit)
		now -= 3600_000_000
		r := allow(t, l, id, "", limit)
		if r.RetryAfter > time.Minute {
			t.Errorf("%v: locked out for %v", a, r.RetryAfter)
		}
		now += r.RetryAfter.Microseconds()
		if !r.Allowed && !allow(t, l, id, "", limit).Allowed {
			t.Errorf("%v: still denied after %v", a, r.RetryAfter)
		}
		// Back by less than a window: what was taken counts.
		id = fresh()
		allow(t, l, id, "", limit)
		allow(t, l, id, "", limit)
		now -= 1_000_000
		if r := allow(t, l, id, "", limit); r.Allowed {
			t.Errorf("%v: a second back, and all is forgotten", a)
		}
	}
}
