package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// contender is one way to do what a contest is about.
type contender struct {
	name string
	// run does it n times in a row. Several goroutines may call it.
	run func(n int) error
	// target is what the time of the library divided by this one's may be at
	// most. Zero is no target: the rival is shown for comparison.
	target float64
}

// each does something n times.
func each(op func() error) func(n int) error {
	return func(n int) error {
		for range n {
			if err := op(); err != nil {
				return err
			}
		}
		return nil
	}
}

// readAll reads keys in turn, from a place of its own for each caller.
func readAll(keys []string, read func(key string) error) func(int) error {
	return func(n int) error {
		at := rand.IntN(len(keys))
		for range n {
			if at++; at == len(keys) {
				at = 0
			}
			if err := read(keys[at]); err != nil {
				return err
			}
		}
		return nil
	}
}

// contest compares the library with rivals. All do the same on the same server,
// through the same client where they take one.
type contest struct {
	name    string
	callers int // goroutines; zero is one
	ours    contender
	rivals  []contender
	// atMost is what one operation of the library may take; zero is no target.
	atMost time.Duration
	// lean makes it a target to allocate no more than the rival that allocates
	// least.
	lean bool
	// inProcess says that no server takes part: then the time is the processor's,
	// which other processes do not lengthen.
	inProcess bool
	// check says, after the rounds, whether they were about what they should be;
	// nil is no check.
	check func() error
}

// timing is how contests are measured.
type timing struct {
	rounds int           // that count
	length time.Duration // of one contender's part of a round, about
}

// outcome is what was measured of a contest. Its slices are in the order of the
// contenders, the library first.
type outcome struct {
	perOp  [][]float64 // nanoseconds, one for each round
	allocs []float64   // in one operation
	bytes  []float64
}

func (c *contest) contenders() []contender { return append([]contender{c.ours}, c.rivals...) }

// run measures the contest. In each round every contender has its turn, each
// time another one first, so that what disturbs the machine disturbs all alike:
// ratios are taken within a round.
func (c *contest) run(ctx context.Context, t timing) (outcome, error) {
	all := c.contenders()
	o := outcome{perOp: make([][]float64, len(all))}
	counts := make([]int, len(all))
	for i := range all {
		var err error
		if counts[i], err = c.calibrate(&all[i], t.length); err != nil {
			return o, err
		}
	}
	for round := range t.rounds {
		if ctx.Err() != nil {
			return o, context.Cause(ctx)
		}
		for turn := range all {
			i := (round + turn) % len(all)
			took, err := c.turn(&all[i], counts[i])
			if err != nil {
				return o, err
			}
			o.perOp[i] = append(o.perOp[i], float64(took.Nanoseconds())/float64(counts[i]))
		}
	}
	if c.check != nil {
		if err := c.check(); err != nil {
			return o, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for i := range all {
		allocs, bytes, err := c.allocations(&all[i])
		if err != nil {
			return o, err
		}
		o.allocs, o.bytes = append(o.allocs, allocs), append(o.bytes, bytes)
	}
	return o, nil
}

// calibrate returns how many operations take about as long as a turn should.
// The warm-up is in it.
func (c *contest) calibrate(who *contender, length time.Duration) (int, error) {
	n := max(c.callers, 1)
	for {
		took, err := c.turn(who, n)
		if err != nil {
			return 0, err
		}
		if took >= length/4 {
			return max(int(float64(n)*float64(length)/float64(took)), max(c.callers, 1)), nil
		}
		n *= 2
	}
}

// turn measures n operations, shared out among the callers.
func (c *contest) turn(who *contender, n int) (time.Duration, error) {
	since := stopwatch(c.inProcess)
	if c.callers <= 1 {
		err := who.run(n)
		return since(), c.failed(who, err)
	}
	errs := make([]error, c.callers)
	var wg sync.WaitGroup
	for caller := range c.callers {
		share := (n + caller) / c.callers
		wg.Go(func() { errs[caller] = who.run(share) })
	}
	wg.Wait()
	took := since()
	for _, err := range errs {
		if err != nil {
			return took, c.failed(who, err)
		}
	}
	return took, nil
}

// stopwatch returns a function that says how much time has passed, or how much
// this process has used of the processors.
func stopwatch(used bool) func() time.Duration {
	if !used {
		start := time.Now()
		return func() time.Duration { return time.Since(start) }
	}
	start := processorTime()
	return func() time.Duration { return processorTime() - start }
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // there is no such error for oneself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (c *contest) failed(who *contender, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", c.name, who.name, err)
}

// allocations returns how often one operation allocates, and how many bytes, in
// the whole process. What else goes on can only add, so the least of several
// turns counts.
func (c *contest) allocations(who *contender) (allocs, bytes float64, err error) {
	const n = 300
	allocs, bytes = math.Inf(1), math.Inf(1)
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		if err := who.run(n); err != nil {
			return 0, 0, c.failed(who, err)
		}
		runtime.ReadMemStats(&after)
		allocs = min(allocs, float64(after.Mallocs-before.Mallocs)/n)
		bytes = min(bytes, float64(after.TotalAlloc-before.TotalAlloc)/n)
	}
	return allocs, bytes, nil
}

// quartiles returns the median and what a quarter of the samples is below and
// above.
func quartiles(samples []float64) (low, median, high float64) {
	sorted := slices.Sorted(slices.Values(samples))
	at := func(share float64) float64 { return sorted[int(share*float64(len(sorted)-1)+0.5)] }
	return at(0.25), at(0.5), at(0.75)
}

// ratios returns the library's time divided by a rival's, round by round.
func (o *outcome) ratios(rival int) []float64 {
	all := make([]float64, len(o.perOp[0]))
	for round := range all {
		all[round] = o.perOp[0][round] / o.perOp[rival][round]
	}
	return all
}
