package invalidator

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// oneRow answers every query with one row of one column.
type oneRow struct{ asked int }

func (q *oneRow) Query(context.Context, string, ...any) (pgx.Rows, error) {
	q.asked++
	return &row{}, nil
}

type row struct {
	pgx.Rows
	n int
}

func (r *row) Next() bool          { r.n++; return r.n == 1 }
func (r *row) Close()              {}
func (r *row) Err() error          { return nil }
func (r *row) RawValues() [][]byte { return [][]byte{[]byte("7")} }
func (r *row) FieldDescriptions() []pgconn.FieldDescription {
	return []pgconn.FieldDescription{{Name: "client_id", DataTypeOID: pgtype.Int8OID}}
}

func TestMessagesOfABatchShareLookups(t *testing.T) {
	t.Parallel()
	set, err := rule.Compile([]rule.Config{
		{Table: "items", Lookup: "select client_id from orders where id = {order_id}", Invalidate: []string{"client:{client_id}", "item:{id}"}},
		{Table: "orders", Invalidate: []string{"order:{id}"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	querier := &oneRow{}
	v := &Invalidator{cfg: Config{Name: "shop", Batch: 100}, log: slog.Default(), rules: set, lookups: querier, stats: newStats("me", set.Names())}
	in := newIntake(&reading{v: v}, stream.Point{})
	evaluator := set.Evaluator()
	message := func(table, id, order string) stream.Item {
		m := cdc.Message{
			Source: "shop", Schema: "public", Table: table, LSN: 10,
			Transactions: []cdc.Transaction{{LSN: 10}},
			Changes: []cdc.Change{{Op: cdc.Insert, New: cdc.Row{
				{Name: "id", Value: cdc.Value{Kind: cdc.Number, Text: id}}, {Name: "order_id", Value: cdc.Value{Kind: cdc.Number, Text: order}},
			}}},
		}
		return stream.Item{Kind: stream.KindChange, Data: m.AppendJSON(nil)}
	}
	for turn := range 3 { // messages and answers are not kept over batches, their memory is
		in.items = []stream.Item{message("items", "1", "5"), message("orders", "5", "0"), message("items", "2", "5"), message("items", "3", "6")}
		b := in.build(t.Context(), evaluator)
		if got, want := querier.asked, 2*(turn+1); got != want {
			t.Fatalf("%d queries after batch %d, want %d", got, turn+1, want)
		}
		keys := slices.Sorted(slices.Values(b.result.Keys))
		if want := []string{"client:7", "item:1", "item:2", "item:3", "order:5"}; !slices.Equal(keys, want) || b.result.Widened != 0 || len(b.result.Patterns) != 0 {
			t.Errorf("got keys %q, patterns %q, %d widened; want %q", keys, b.result.Patterns, b.result.Widened, want)
		}
		evaluator.Reset()
	}
}
