package main

import (
	"testing"
	"time"
)

// Benchmark runs every contender by itself, for profiles and for comparisons
// over time; for comparisons of contenders run the program.
func Benchmark(b *testing.B) {
	e, err := newEnvironment(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.close(); err != nil {
			b.Error(err)
		}
	})
	for _, build := range e.contests(b.Context()) {
		c, err := build()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			for _, who := range c.contenders() {
				b.Run(who.name, func(b *testing.B) {
					b.ReportAllocs()
					took, err := c.turn(&who, b.N)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "own-ns/op")
				})
			}
		})
	}
}

// TestEveryContest runs a round of everything, so that what is measured works.
func TestEveryContest(t *testing.T) {
	t.Parallel()
	e, err := newEnvironment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	for _, build := range e.contests(t.Context()) {
		c, err := build()
		if err != nil {
			t.Fatal(err)
		}
		o, err := c.run(t.Context(), timing{rounds: 1, length: time.Millisecond})
		if err != nil {
			t.Error(err)
			continue
		}
		for _, r := range c.rows(&o) {
			if r.Value < 0 || r.Contest == "" || r.Metric == metricTime && (r.Value == 0 || r.Rival != "" && r.Ratio == 0) {
				t.Errorf("%s: %s: nothing was measured: %+v", c.name, r.Rival, r)
			}
		}
	}
	trips, err := countTrips(t.Context(), e.redis.Addr())
	if err != nil || len(trips) == 0 {
		t.Errorf("round trips: %d, %v", len(trips), err)
	}
	for _, r := range trips {
		if r.Value < 1 || r.RivalValue < 1 {
			t.Errorf("%s: %v and %v round trips, want one at least", r.Contest, r.Value, r.RivalValue)
		}
	}
}
