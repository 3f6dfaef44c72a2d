package main

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Verdicts of a row.
const (
	met    = "met"
	missed = "missed"
	none   = "" // there is no target
)

// row is one comparison.
type row struct {
	Contest    string  `json:"contest"`
	Metric     string  `json:"metric"` // time, allocations, bytes, round trips
	Value      float64 `json:"value"`  // of the library; nanoseconds for times
	Rival      string  `json:"rival"`  // empty for a target that is no comparison
	RivalValue float64 `json:"rival_value"`
	Ratio      float64 `json:"ratio"`         // the library's by the rival's, median of rounds for times
	RatioLow   float64 `json:"ratio_quarter"` // a quarter of the rounds is below
	RatioHigh  float64 `json:"ratio_three_quarters"`
	Target     string  `json:"target"`
	Verdict    string  `json:"verdict"`
}

// Metrics of a row.
const (
	metricTime   = "time"
	metricAllocs = "allocations"
	metricBytes  = "bytes"
	metricTrips  = "round trips"
)

// rows are the comparisons of a contest.
func (c *contest) rows(o *outcome) []row {
	var rows []row
	_, ours, _ := quartiles(o.perOp[0])
	if c.atMost > 0 {
		rows = append(rows, row{
			Contest: c.name, Metric: metricTime, Value: ours,
			Target: "≤ " + c.atMost.String(), Verdict: verdict(ours <= float64(c.atMost)),
		})
	}
	for i, rival := range c.rivals {
		_, theirs, _ := quartiles(o.perOp[i+1])
		low, ratio, high := quartiles(o.ratios(i + 1))
		r := row{
			Contest: c.name, Metric: metricTime, Value: ours, Rival: rival.name, RivalValue: theirs,
			Ratio: ratio, RatioLow: low, RatioHigh: high,
		}
		if rival.target > 0 {
			r.Target, r.Verdict = "≤ "+number(rival.target), verdict(ratio <= rival.target)
		}
		rows = append(rows, r)
	}
	for _, m := range []struct {
		metric  string
		samples []float64
	}{{metricAllocs, o.allocs}, {metricBytes, o.bytes}} {
		leanest := 1
		for i := range c.rivals {
			if m.samples[i+1] < m.samples[leanest] {
				leanest = i + 1
			}
		}
		value, rival := round(m.samples[0]), round(m.samples[leanest])
		r := row{
			Contest: c.name, Metric: m.metric, Value: value, Rival: c.rivals[leanest-1].name, RivalValue: rival,
			Ratio: value / rival,
		}
		if value == rival {
			r.Ratio = 1 // also of nothing at all
		}
		if c.lean && m.metric == metricAllocs {
			r.Target, r.Verdict = "≤ 1", verdict(value <= rival)
		}
		rows = append(rows, r)
	}
	return rows
}

func verdict(ok bool) string {
	if ok {
		return met
	}
	return missed
}

// round drops what is not an operation's: the process allocates now and then.
func round(v float64) float64 {
	if v < 20 {
		return math.Floor(v*10+0.5) / 10
	}
	return math.Floor(v + 0.5)
}

func (r *row) value() string { return r.amount(r.Value) }

func (r *row) rivalValue() string {
	if r.Rival == "" {
		return ""
	}
	return r.amount(r.RivalValue)
}

func (r *row) amount(v float64) string {
	if r.Metric != metricTime {
		return number(v)
	}
	switch {
	case v < 1e3:
		return fmt.Sprintf("%.1f ns", v)
	case v < 1e6:
		return fmt.Sprintf("%.2f µs", v/1e3)
	default:
		return fmt.Sprintf("%.2f ms", v/1e6)
	}
}

func (r *row) ratio() string {
	switch {
	case r.Rival == "":
		return ""
	case math.IsInf(r.Ratio, 0) || math.IsNaN(r.Ratio):
		return "∞"
	case r.Ratio < 0.1:
		return fmt.Sprintf("%.4f", r.Ratio)
	default:
		return fmt.Sprintf("%.2f", r.Ratio)
	}
}

// spread is between which ratios half of the rounds are.
func (r *row) spread() string {
	switch {
	case r.RatioLow == 0 && r.RatioHigh == 0:
		return ""
	case r.RatioHigh < 0.1:
		return fmt.Sprintf("%.4f–%.4f", r.RatioLow, r.RatioHigh)
	default:
		return fmt.Sprintf("%.2f–%.2f", r.RatioLow, r.RatioHigh)
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// report is all that a run has found.
type report struct {
	Machine machine   `json:"machine"`
	Began   time.Time `json:"began"`
	Took    string    `json:"took"`
	Rounds  int       `json:"rounds"`
	Length  string    `json:"round_length"`
	Rows    []row     `json:"rows"`
	// Profiles are those of contests with a target that was missed.
	Profiles []profile `json:"profiles,omitempty"`
}

func (r *report) count(v string) (n int) {
	for i := range r.Rows {
		if r.Rows[i].Verdict == v {
			n++
		}
	}
	return n
}
