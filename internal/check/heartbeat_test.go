package check_test

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/check"
)

// What comes through a running service is tested on the command.
func TestHeartbeatWithoutAService(t *testing.T) {
	t.Parallel()
	b := start(t, nil, append(orders, `INSERT INTO orders VALUES (1, 1, 'x')`)...)
	expect(t, b.check(t), "postgres", "heartbeat", check.OK, "through a temporary slot")

	// A slot that nobody reads is not touched.
	b.run(t, `CREATE PUBLICATION freshet_shop FOR TABLE orders`, `SELECT pg_create_logical_replication_slot('freshet_shop', 'pgoutput')`)
	slots := func() (all string) {
		t.Helper()
		err := b.admin.QueryRow(t.Context(), `SELECT string_agg(slot_name || confirmed_flush_lsn, ' ') FROM pg_replication_slots WHERE NOT temporary`).Scan(&all)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := slots()
	expect(t, b.check(t), "postgres", "heartbeat", check.OK, "through a temporary slot")
	if after := slots(); after != before {
		t.Errorf("slots: got %s, want %s as before", after, before)
	}

	// Somebody writes and does not end.
	writer := connect(t, b.postgres.URL())
	if _, err := writer.Exec(t.Context(), `BEGIN; UPDATE orders SET note = 'y'`); err != nil {
		t.Fatal(err)
	}
	expect(t, b.check(t), "postgres", "heartbeat", check.Warn, "pg_stat_activity")
	if _, err := writer.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	expect(t, b.check(t), "postgres", "heartbeat", check.OK, "through a temporary slot")
}
