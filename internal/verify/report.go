package verify

import (
	"encoding/json"
	"math"
	"time"

	"github.com/freshet-dev/freshet/internal/rule"
)

// Mismatch is a cached value that is stale.
type Mismatch struct {
	// Key is the key, without the cache's prefix.
	Key string `json:"key"`
	// Rule is the name of the rule whose warm query says what it should hold.
	Rule string `json:"rule"`
	// Target is the template of the key.
	Target string `json:"target"`
	// Cached and Database are digests of the two values, never the values.
	// "no row" stands for a row that there is not.
	Cached   string `json:"cached"`
	Database string `json:"database"`
	// Age is how long the value has been cached if it was stored with the rule's
	// ttl. Negative where it was not: unknown.
	Age time.Duration `json:"-"`
	// Fixed says that it has been invalidated.
	Fixed bool `json:"fixed"`
}

// MarshalJSON writes the age in seconds, null where it is unknown.
func (m Mismatch) MarshalJSON() ([]byte, error) {
	type plain Mismatch
	var age *float64
	if m.Age >= 0 {
		seconds := m.Age.Seconds()
		age = &seconds
	}
	return json.Marshal(struct {
		plain
		Age *float64 `json:"age_seconds"`
	}{plain(m), age})
}

// Target is what was found at the keys of one warm query.
type Target struct {
	Rule       string `json:"rule"`
	Key        string `json:"key"`                // the template
	Keys       int    `json:"keys"`               // cached keys that it gave
	Checked    int    `json:"checked"`            // values compared
	Mismatches int    `json:"mismatches"`         // of these, stale
	Behind     int    `json:"behind,omitempty"`   // left out: within the watermark's lag
	Changing   int    `json:"changing,omitempty"` // left out: replaced at every look
	Unread     int    `json:"unread,omitempty"`   // keys that cannot be read backwards
	Why        string `json:"why,omitempty"`      // the reason of the first of them, or of all
	Failed     int    `json:"failed,omitempty"`   // keys whose query or read failed
	Error      string `json:"error,omitempty"`    // the first such failure
	Verifiable bool   `json:"verifiable"`         // keys can be read backwards at all
	Fixed      int    `json:"fixed,omitempty"`    // stale values that were invalidated
	Gone       int    `json:"gone,omitempty"`     // removed before they were looked at
}

// Report is what one look at the cache found.
type Report struct {
	Checked       int        `json:"checked"`
	Mismatches    []Mismatch `json:"mismatches"`
	Fixed         int        `json:"fixed"`
	Skipped       int        `json:"skipped"`
	NotVerifiable int        `json:"not_verifiable"` // targets
	Failed        int        `json:"failed"`
	// Bound is the share of stale values that is exceeded with a probability of
	// at most 5 %, if what was checked is a fair sample. 1 when nothing was.
	Bound   float64  `json:"bound_95"`
	Targets []Target `json:"targets"`
}

func newReport(rules []*rule.Reverse) *Report {
	r := &Report{Mismatches: []Mismatch{}, Targets: make([]Target, len(rules))}
	for i, v := range rules {
		r.Targets[i] = Target{Rule: v.Rule, Key: v.Key, Verifiable: v.Obstacle == "", Why: v.Obstacle}
	}
	return r
}

func (r *Report) unread(index int, why string) {
	t := &r.Targets[index]
	t.Unread++
	if t.Why == "" {
		t.Why = why
	}
}

func (r *Report) add(t task, f finding) {
	target := &r.Targets[t.index]
	switch f.outcome {
	case gone:
		target.Gone++
	case fresh:
		target.Checked++
	case stale:
		target.Checked++
		target.Mismatches++
		if f.mismatch.Fixed {
			target.Fixed++
		}
		r.Mismatches = append(r.Mismatches, f.mismatch)
	case behind:
		target.Behind++
	case changing:
		target.Changing++
	case failed:
		target.Failed++
		if target.Error == "" {
			target.Error = f.err.Error()
		}
	}
}

func (r *Report) finish() {
	for _, t := range r.Targets {
		r.Checked += t.Checked
		r.Fixed += t.Fixed
		r.Skipped += t.Behind + t.Changing
		r.Failed += t.Failed
		if !t.Verifiable {
			r.NotVerifiable++
		}
	}
	r.Bound = bound(len(r.Mismatches), r.Checked)
}

// bound is the upper end of the one-sided exact 95 % interval (Clopper and
// Pearson, 1934) for a share of which k were found among n. For k = 0 it is near
// 3/n.
func bound(k, n int) float64 {
	if n == 0 || k >= n {
		return 1
	}
	low, high := float64(k)/float64(n), 1.0
	for range 60 {
		p := (low + high) / 2
		if atMost(k, n, p) > 0.05 {
			low = p
		} else {
			high = p
		}
	}
	return high
}

// atMost is the probability of at most k of n when each has the probability p.
func atMost(k, n int, p float64) float64 {
	if p >= 1 {
		return 0
	}
	logP, logQ := math.Log(p), math.Log1p(-p)
	total := 0.0
	choose := 0.0 // log of n over i
	for i := 0; i <= k; i++ {
		if i > 0 {
			choose += math.Log(float64(n-i+1)) - math.Log(float64(i))
		}
		if p > 0 {
			total += math.Exp(choose + float64(i)*logP + float64(n-i)*logQ)
		} else if i == 0 {
			total = 1
		}
	}
	return total
}
