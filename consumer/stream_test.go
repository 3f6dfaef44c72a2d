package consumer_test

import (
	"testing"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestChangesArrive(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.exec("INSERT INTO orders VALUES (1, 7, 'NEW')")
	b.exec("UPDATE orders SET client_id = 9 WHERE id = 1")
	b.exec("DELETE FROM orders WHERE id = 1")
	b.awaitRow("1", cdc.Delete)
	want := []string{"insert orders 1 7 NEW", "update orders 1 9 NEW", "delete orders 1 9 NEW"}
	got := b.worker.seen("1")
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i].String() != want[i] {
			t.Errorf("change %d: got %s, want %s", i, got[i], want[i])
		}
	}
	b.awaitGap("slot_created")
	b.awaitConfirmed(b.text("SELECT pg_current_wal_flush_lsn()::text"))
	if err := c.end(); err != nil {
		t.Fatalf("Run returned %v", err)
	}
}
