package catalog_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func readServer(t *testing.T, db *pgx.Conn) *catalog.Server {
	t.Helper()
	s, err := catalog.ReadServer(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReadServer(t *testing.T) {
	t.Parallel()
	server, db := start(t)
	got := readServer(t, db)
	if got.WALLevel != "logical" || got.Encoding != "UTF8" || got.Database != "app" || got.InRecovery || got.Timeline != 1 ||
		got.System == 0 || got.MaxSenders != 20 || got.MaxSlots != 20 || got.Slots != 0 || got.KeepBytes != -1 ||
		got.SenderTimeout != time.Minute || got.CrashMarker.IsZero() || got.SSL || got.Version/10000 < 15 {
		t.Errorf("got %+v", got)
	}
	ctx := t.Context()
	for key, value := range map[string]string{"max_slot_wal_keep_size": "3GB", "synchronous_standby_names": "*", "wal_sender_timeout": "5s"} {
		if err := server.SetConfig(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	changed := readServer(t, connect(t, server.URL()))
	if changed.KeepBytes != 3<<30 || changed.SyncStandbys != "*" || changed.SenderTimeout != 5*time.Second {
		t.Errorf("got %+v", changed)
	}

	insert, flush, err := catalog.Positions(ctx, db)
	if err != nil || insert < flush || flush == 0 {
		t.Errorf("positions: got %s, %s, %v", insert, flush, err)
	}
}

func TestCrashMarkerChangesWithACrashOnly(t *testing.T) {
	t.Parallel()
	server, db := start(t, `CREATE TABLE a (id int)`)
	before := readServer(t, db)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	db = connect(t, server.URL())
	if got := readServer(t, db); !got.CrashMarker.Equal(before.CrashMarker) {
		t.Errorf("clean restart: got %v, want %v", got.CrashMarker, before.CrashMarker)
	}
	run(t, db, `INSERT INTO a VALUES (1)`)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := readServer(t, connect(t, server.URL())); got.CrashMarker.Equal(before.CrashMarker) {
		t.Error("crash: the marker is the same")
	}
}

func TestReadServerOnAStandbyAndAfterItsPromotion(t *testing.T) {
	t.Parallel()
	primary, db := start(t)
	system := readServer(t, db).System
	standby := servertest.PostgresStandby(t, primary)
	conn := connect(t, standby.URL())
	if got := readServer(t, conn); !got.InRecovery || got.System != system || got.Timeline != 1 {
		t.Errorf("standby: got %+v", got)
	}
	if _, _, err := catalog.Positions(t.Context(), conn); err != nil {
		t.Error(err)
	}
	if _, err := catalog.ReadSlot(t.Context(), conn, "none"); err != nil {
		t.Error(err)
	}
	run(t, conn, `SELECT pg_promote()`)
	if got := readServer(t, conn); got.InRecovery || got.System != system || got.Timeline != 2 {
		t.Errorf("promoted: got %+v, want timeline 2", got)
	}
}

func TestSlot(t *testing.T) {
	t.Parallel()
	server, db := start(t)
	ctx := t.Context()
	if slot, err := catalog.ReadSlot(ctx, db, "fresh"); slot != nil || err != nil {
		t.Fatalf("got %+v, %v, want none", slot, err)
	}
	lsn, err := catalog.CreateSlot(ctx, db, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	got, err := catalog.ReadSlot(ctx, db, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	if got.Confirmed != lsn || got.Plugin != "pgoutput" || got.Database != "app" || got.Active || got.WALStatus != "reserved" ||
		got.SafeBytes != -1 || got.Restart == 0 || got.Restart > lsn || got.Lost() || got.TwoPhase || got.Failover {
		t.Errorf("got %+v", got)
	}
	before := got.Retained
	run(t, db, `CREATE TABLE a AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)`)
	if got, err = catalog.ReadSlot(ctx, db, "fresh"); err != nil || got.Retained < before+1000000 {
		t.Errorf("retained: got %d after %d, %v", got.Retained, before, err)
	}

	// Lost for want of room.
	for key, value := range map[string]string{"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"} {
		if err := server.SetConfig(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		run(t, db, `INSERT INTO a SELECT repeat('y', 1000) FROM generate_series(1, 1000)`, `SELECT pg_switch_wal()`)
	}
	run(t, db, `CHECKPOINT`)
	if got, err = catalog.ReadSlot(ctx, db, "fresh"); err != nil || !got.Lost() {
		t.Errorf("got %+v, %v, want a lost slot", got, err)
	}
	run(t, db, catalog.DropSlotSQL("fresh"), catalog.CreateSlotSQL("fresh"))
	if got, err = catalog.ReadSlot(ctx, db, "fresh"); err != nil || got.Lost() {
		t.Errorf("got %+v, %v, want a sound slot", got, err)
	}
}
