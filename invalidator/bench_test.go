package invalidator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/invalidator"
)

// BenchmarkBacklog drains a backlog of changes from the stream into Redis: rows
// per second, from an embedded NATS server with a file store to a Redis server
// in a process of its own.
func BenchmarkBacklog(b *testing.B) {
	for _, chunk := range []int{1, 16, 256} {
		for _, present := range []bool{false, true} {
			b.Run(fmt.Sprintf("chunk=%d/cached=%v", chunk, present), func(b *testing.B) {
				backlog(b, chunk, present)
			})
		}
	}
}

func backlog(b *testing.B, chunk int, present bool) {
	b.Helper()
	rows := 500_000
	if chunk == 1 {
		rows = 100_000
	}
	w := newWorld(b)
	w.rules = []rule.Config{{Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}"}}}
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	v.stop()
	var drained time.Duration
	for b.Loop() {
		b.StopTimer()
		if present {
			for i := 0; i < rows; i += 10000 {
				w.fill(orders(i, i+10000)...)
			}
		}
		changes := make([]cdc.Change, chunk)
		for i := 0; i < rows; i += chunk {
			for j := range changes {
				changes[j] = order(i + j)
			}
			w.publish("orders", changes...)
		}
		last := w.mark()
		b.StartTimer()
		began := time.Now()
		v = w.start()
		v.within(5*time.Minute, "the end of the backlog", func(s invalidator.Status) bool { return s.Position.LSN >= last })
		drained += time.Since(began)
		b.StopTimer()
		v.stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(rows*b.N)/drained.Seconds(), "rows/s")
}

// BenchmarkLoneChange applies one change after the other: from the publication
// of a change to Redis' confirmation that its keys are gone.
func BenchmarkLoneChange(b *testing.B) {
	w := newWorld(b)
	applied := make(chan struct{}, 1)
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) {
		c.OnApplied = func(a invalidator.Applied) {
			if a.Rows > 0 {
				applied <- struct{}{}
			}
		}
	})
	w.settle(v)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		w.publish("orders", order(len(took)))
		<-applied
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
