package consumer

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// BenchmarkBatcher publishes rows of seven columns of which four are needed,
// one to a transaction and a thousand to a transaction.
func BenchmarkBatcher(b *testing.B) {
	relation := &pgoutput.Relation{OID: 1, Namespace: "public", Name: "orders", Identity: pgoutput.IdentityFull}
	for _, c := range []struct {
		name string
		typ  uint32
	}{{"id", 20}, {"client_id", 23}, {"workspace_id", 23}, {"status", 25}, {"total", 1700}, {"created_at", 1184}, {"note", 25}} {
		relation.Columns = append(relation.Columns, pgoutput.RelationColumn{Key: true, Name: c.name, Type: c.typ})
	}
	row := func(status string) pgoutput.Tuple {
		return textTuple("123456", "789", "3", status, "1234.50", "2026-11-23 10:00:00.123456+00", "a note of some length, as people write them")
	}
	before, after := row("NEW"), row("PAID")
	for _, m := range []struct {
		name    string
		message pgoutput.Message
	}{
		{"insert", &pgoutput.Insert{Relation: 1, New: after}},
		{"update", &pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: before, New: after}},
	} {
		for _, size := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/transaction=%s", m.name, strconv.Itoa(size)), func(b *testing.B) {
				out := 0
				w := newBatcher(batcherConfig{
					source: "shop", epoch: testEpoch, rootOf: itself,
					tables: []Table{{Schema: "public", Name: "orders", Columns: []string{"id", "client_id", "status", "created_at"}}},
					emit:   func(_, _ string, _ cdc.LSN, _ int, data []byte) error { out += len(data); return nil },
				})
				applyAll(b, w, relation)
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					if n%size == 0 {
						w.begin(testTx(uint64(n + 1)))
					}
					n++
					if err := w.apply(m.message); err != nil {
						b.Fatal(err)
					}
				}
				flushed(b, w)
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(out)/float64(n), "bytes/row")
			})
		}
	}
}
