package invalidator

import (
	"slices"
	"time"
)

// latencyBounds are the upper bounds of the histogram: 100 µs to 60 s.
var latencyBounds = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second,
	10 * time.Second, 20 * time.Second, 60 * time.Second,
}

// Bucket counts how many transactions took at most UpTo since the start.
type Bucket struct {
	UpTo  time.Duration `json:"up_to"`
	Count int64         `json:"count"` // those of smaller buckets included
}

// latencies keeps the last samples for percentiles and all of them as a
// histogram. It is guarded by its owner.
type latencies struct {
	ring  [2048]time.Duration
	n     int // samples ever added
	count [len(latencyBounds) + 1]int64
	sum   time.Duration
}

func (l *latencies) add(d time.Duration) {
	d = max(d, 0) // the clocks of Postgres and of this machine may differ
	l.ring[l.n%len(l.ring)] = d
	l.n++
	l.sum += d
	i, _ := slices.BinarySearch(latencyBounds[:], d)
	l.count[i]++
}

func (l *latencies) percentiles() Latency {
	n := min(l.n, len(l.ring))
	if n == 0 {
		return Latency{}
	}
	sorted := slices.Clone(l.ring[:n])
	slices.Sort(sorted)
	return Latency{
		Count: n,
		P50:   sorted[(n*50+99)/100-1],
		P99:   sorted[(n*99+99)/100-1],
		Max:   sorted[n-1],
		Total: int64(l.n),
		Sum:   l.sum,
	}
}

func (l *latencies) buckets() []Bucket {
	out := make([]Bucket, len(latencyBounds))
	var sum int64
	for i, bound := range latencyBounds {
		sum += l.count[i]
		out[i] = Bucket{UpTo: bound, Count: sum}
	}
	return out
}

// rateSeconds is over how many whole seconds a rate is taken.
const rateSeconds = 5

// rate counts events of the last seconds. It is guarded by its owner.
type rate struct {
	count [rateSeconds + 1]int
	at    [rateSeconds + 1]int64
}

func (r *rate) add(now time.Time, n int) {
	second := now.Unix()
	i := second % int64(len(r.count))
	if r.at[i] != second {
		r.at[i], r.count[i] = second, 0
	}
	r.count[i] += n
}

// perSecond leaves the present second out: it has not ended.
func (r *rate) perSecond(now time.Time) float64 {
	second, sum := now.Unix(), 0
	for i, at := range r.at {
		if at < second && at >= second-rateSeconds {
			sum += r.count[i]
		}
	}
	return float64(sum) / rateSeconds
}
