package check_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestFailover(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	version := catalogVersion(t, b)
	if version >= 170000 {
		expect(t, b.check(t), "postgres", "failover", check.OK, "no standby is connected")
	}
	standby := servertest.PostgresStandby(t, b.postgres)
	b.eventually(t, `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')`)
	if version < 170000 {
		expect(t, b.check(t), "postgres", "failover", check.OK, "a promoted standby has no slot")
		return
	}
	b.run(t, `CREATE PUBLICATION freshet_shop FOR TABLE orders`)
	created := expect(t, b.check(t), "postgres", "failover", check.Warn, "will not be a failover slot")
	b.run(t, `SELECT pg_create_logical_replication_slot('freshet_shop', 'pgoutput')`)
	expect(t, b.check(t), "postgres", "failover", check.Warn, "ALTER_REPLICATION_SLOT")
	b.run(t, `SELECT pg_drop_replication_slot('freshet_shop')`)
	b.run(t, created.SQL...)
	expect(t, b.check(t), "postgres", "failover", check.Warn, "may be ahead of the standbys")

	b.run(t, `SELECT pg_create_physical_replication_slot('first')`)
	there := connect(t, standby.URL())
	for _, sql := range []string{`ALTER SYSTEM SET primary_slot_name = 'first'`, `SELECT pg_reload_conf()`} {
		if _, err := there.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually(t, `SELECT EXISTS (SELECT FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
		WHERE r.state = 'streaming' AND s.slot_name = 'first')`)
	named := expect(t, b.check(t), "postgres", "failover", check.Warn, "may be ahead of the standbys")
	b.run(t, named.SQL...)
	b.eventually(t, `SELECT current_setting('synchronized_standby_slots') = 'first'`)
	expect(t, b.check(t), "postgres", "failover", check.OK, "is a failover slot")
	if err := standby.Stop(); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, `SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'first'`)
	expect(t, b.check(t), "postgres", "failover", check.Warn, "names first, which nobody reads")
}

// eventually waits until a query says true.
func (b *bundle) eventually(t *testing.T, sql string) {
	t.Helper()
	servertest.Eventually(t, patience, func() (is bool, state string) {
		if err := b.admin.QueryRow(t.Context(), sql).Scan(&is); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return is, sql
	})
}

func TestSenderTimeout(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	expect(t, b.check(t), "postgres", "wal_sender_timeout", check.OK, "1m0s")
	for setting, words := range map[string]string{"0": "off", "1s": "pauses", "20min": "keeps the slot"} {
		b.run(t, `ALTER SYSTEM SET wal_sender_timeout = '`+setting+`'`, `SELECT pg_reload_conf()`)
		var found check.Line
		servertest.Eventually(t, patience, func() (bool, string) {
			found = find(t, b.check(t), "postgres", "wal_sender_timeout")
			return found.Status == check.Warn, found.Text
		})
		expect(t, &check.Report{Lines: []check.Line{found}}, "postgres", "wal_sender_timeout", check.Warn, words)
		b.run(t, found.SQL...) // the remedy
		servertest.Eventually(t, patience, func() (bool, string) {
			l := find(t, b.check(t), "postgres", "wal_sender_timeout")
			return l.Status == check.OK, l.Text
		})
	}
}

func TestSuperuser(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	expect(t, b.check(t), "postgres", "role", check.OK, "no superuser")
	b.cfg.PostgresURL = b.postgres.URL()
	expect(t, b.check(t), "postgres", "role", check.Warn, "deploy/sql/role.sql")
}
