package rule_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// BenchmarkAdd evaluates messages of 256 updates, of which one in eight moves
// an order to another client. One operation is one row.
func BenchmarkAdd(b *testing.B) {
	const rows = 256
	for name, cfg := range map[string]rule.Config{
		"keys":    {Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}"}},
		"pattern": {Table: "orders", Invalidate: []string{"order:{id}:*"}},
		"filters": {Table: "orders", Invalidate: []string{"orders:metrics:{created_at|date:2006-01-02}"}},
	} {
		b.Run(name, func(b *testing.B) {
			set, err := rule.Compile([]rule.Config{cfg}, nil)
			if err != nil {
				b.Fatal(err)
			}
			messages := make([]*cdc.Message, 64)
			for i := range messages {
				messages[i] = orderUpdates(i*rows, rows)
			}
			e := set.Evaluator()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%rows == 0 {
					if n/rows%4 == 0 {
						e.Reset()
					}
					e.Add(messages[n/rows%len(messages)], nil)
				}
				n++
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func orderUpdates(first, n int) *cdc.Message {
	m := &cdc.Message{Schema: "public", Table: "orders", Key: []string{"id"}}
	for i := first; i < first+n; i++ {
		c := cdc.Change{Op: cdc.Update, OldKnown: cdc.OldFull, New: cdc.Row{
			{Name: "id", Value: cdc.Value{Kind: cdc.Number, Text: strconv.Itoa(i)}},
			{Name: "client_id", Value: cdc.Value{Kind: cdc.Number, Text: strconv.Itoa(i % 1000)}},
			{Name: "created_at", Value: cdc.Value{Kind: cdc.String, Text: fmt.Sprintf("2026-11-%02dT10:00:00.123456Z", 1+i%28)}},
		}}
		if i%8 == 0 {
			c.Old = cdc.Row{{Name: "client_id", Value: cdc.Value{Kind: cdc.Number, Text: strconv.Itoa(i%1000 + 1)}}}
		}
		m.Changes = append(m.Changes, c)
	}
	return m
}
