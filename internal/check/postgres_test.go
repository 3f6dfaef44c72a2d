package check_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// Settings that only a restart mends, all at once, mended by the script.
func TestSettingsAndTheirRemedies(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "1"}, orders...)
	b.run(t, `SELECT pg_create_physical_replication_slot('somebody')`)
	busy, err := pgconn.Connect(t.Context(), b.postgres.URL()+"&replication=true")
	if err != nil {
		t.Fatal(err)
	}
	report := b.check(t)
	expect(t, report, "postgres", "wal_level", check.Fail, "is replica")
	expect(t, report, "postgres", "max_wal_senders", check.Fail, "all of 1 are in use")
	expect(t, report, "postgres", "max_replication_slots", check.Fail, "all of 1 are in use")
	expect(t, report, "postgres", "max_slot_wal_keep_size", check.Warn, "unlimited")

	b.runScript(t, report.Script())
	_ = busy.Close(t.Context()) // of no further use
	if err := b.postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.postgres.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.admin = connect(t, b.postgres.URL())
	report = b.check(t)
	if report.Failed() {
		t.Errorf("after the remedies:\n%s", text(t, report))
	}
	// The optional one was not run, and works when it is.
	limit := expect(t, report, "postgres", "max_slot_wal_keep_size", check.Warn, "unlimited")
	b.run(t, limit.SQL...)
	servertest.Eventually(t, patience, func() (bool, string) {
		l := find(t, b.check(t), "postgres", "max_slot_wal_keep_size")
		return l.Status == check.OK, l.Text
	})
}

func TestRightsAndTheirRemedies(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	b.run(t, `CREATE SCHEMA "Other"`, `CREATE TABLE "Other"."Item" (id int PRIMARY KEY, "orderId" int)`, `CREATE ROLE "plain role" LOGIN`)
	b.rules = append(b.rules, itemRule())
	b.cfg.PostgresURL = b.postgres.UserURL("plain role", "", "app")
	report := b.check(t)
	expect(t, report, "postgres", "replication", check.Fail, "may not open replication connections")
	expect(t, report, "postgres", "pg_read_all_stats", check.Fail, "not granted")
	expect(t, report, "rules", "select", check.Fail, `may not read "Other"."Item", "public"."orders"`)
	expect(t, report, "postgres", "publication", check.Fail, "CREATE on database app")
	b.runScript(t, report.Script())
	if report = b.check(t); report.Failed() {
		t.Errorf("after the remedies:\n%s", text(t, report))
	}
	expect(t, report, "postgres", "publication", check.OK, "publishes the tables")

	// Policies hide rows from queries.
	b.run(t, `ALTER TABLE orders ENABLE ROW LEVEL SECURITY`)
	b.rules[1].Lookup, b.rules[1].Invalidate = "select client_id from orders where id = {id}", []string{"client:{client_id}"}
	report = b.check(t)
	hidden := expect(t, report, "rules", "row security", check.Warn, "public.orders")
	expect(t, report, "rules", "lookup of Other.Item", check.Fail, "row-level security")
	b.run(t, hidden.SQL...)
	b.rules[1] = itemRule()
	if all := text(t, b.check(t)); strings.Contains(all, "row security") {
		t.Errorf("after the remedy:\n%s", all)
	}

	// CREATE on the database is not enough to change what others own.
	b.run(t, `DROP PUBLICATION freshet_shop`, `GRANT CREATE ON DATABASE app TO "plain role"`)
	expect(t, b.check(t), "postgres", "publication", check.Fail, "ownership of")
}

func TestSynchronousStandbys(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	for _, names := range []string{"*", "FIRST 1 (a, *)", `ANY 1 ("FRESHET/shop")`} {
		// As somebody would set it. Nobody may wait for a commit meanwhile.
		b.run(t, `SET synchronous_commit = local`, `ALTER SYSTEM SET synchronous_standby_names = '`+names+`'`, `SELECT pg_reload_conf()`)
		var report *check.Report
		servertest.Eventually(t, patience, func() (bool, string) {
			report = b.check(t)
			l := find(t, report, "postgres", "synchronous_standby_names")
			return l.Status == check.Fail, l.Text
		})
		// What it writes waits for no standby either.
		expect(t, report, "postgres", "heartbeat", check.OK, "came back")
		b.runScript(t, report.Script())
		servertest.Eventually(t, patience, func() (bool, string) {
			l := find(t, b.check(t), "postgres", "synchronous_standby_names")
			return l.Status == check.OK, l.Text
		})
	}
	b.run(t, `ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (elsewhere)'`, `SELECT pg_reload_conf()`)
	servertest.Eventually(t, patience, func() (bool, string) {
		l := find(t, b.check(t), "postgres", "synchronous_standby_names")
		return l.Status == check.OK && strings.Contains(l.Text, "elsewhere"), l.Text
	})
}

func TestStandby(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	standby := servertest.PostgresStandby(t, b.postgres)
	b.cfg.PostgresURL = standby.UserURL(role, "", "app")
	servertest.Eventually(t, patience, func() (bool, string) {
		// Until it has replayed the role.
		l := b.check(t).Lines[0]
		return l.Status == check.OK, l.Text
	})
	expect(t, b.check(t), "postgres", "primary", check.Fail, "target_session_attrs=read-write")
}

func TestConnectionAndItsRemedies(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	b.run(t, `ALTER ROLE `+role+` PASSWORD 'right'`)
	if err := b.postgres.SetHBA(t.Context(), "host all "+role+" 127.0.0.1/32 scram-sha-256"); err != nil {
		t.Fatal(err)
	}
	right := b.postgres.UserURL(role, "right", "app")
	b.cfg.PostgresURL = b.postgres.UserURL(role, "se/cret", "app")
	report := b.check(t)
	expect(t, report, "postgres", "connection", check.Fail, "mend user and password")
	if all := text(t, report) + report.Script(); strings.Contains(all, "se/cret") || strings.Contains(all, "se%2Fcret") {
		t.Errorf("the password is in the report:\n%s", all)
	}
	b.cfg.PostgresURL = b.postgres.UserURL(role, "right", "nowhere")
	expect(t, b.check(t), "postgres", "connection", check.Fail, "mend the database's name")
	b.cfg.PostgresURL = right
	if report = b.check(t); report.Failed() {
		t.Errorf("with the right password:\n%s", text(t, report))
	}
	if err := b.postgres.Stop(); err != nil {
		t.Fatal(err)
	}
	expect(t, b.check(t), "postgres", "connection", check.Fail, "see that the server runs")
	b.cfg.PostgresURL = "postgres://a b@"
	report = b.check(t)
	expect(t, report, "postgres", "connection", check.Fail, "mend postgres.url")
	if !report.Invalid {
		t.Error("an unreadable URL is a wrong configuration")
	}
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for encoding, want := range map[string]check.Status{"LATIN1": check.OK, "SQL_ASCII": check.Warn} {
		name := "db_" + strings.ToLower(encoding)
		b.run(t, `CREATE DATABASE `+name+` ENCODING '`+encoding+`' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`)
		db := connect(t, b.postgres.DatabaseURL(name))
		for _, sql := range orders {
			if _, err := db.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		b.cfg.PostgresURL = b.postgres.DatabaseURL(name)
		report := b.check(t)
		expect(t, report, "postgres", "encoding", want, encoding)
		if report.Failed() {
			t.Errorf("%s:\n%s", encoding, text(t, report))
		}
	}
}

func TestSlotsAndTheirRemedies(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	b.cfg.Manage = false
	report := b.check(t)
	expect(t, report, "postgres", "publication", check.Fail, "does not exist, and postgres.manage is false")
	expect(t, report, "postgres", "slot", check.Fail, "does not exist, and postgres.manage is false")
	b.runScript(t, report.Script())
	report = b.check(t)
	if report.Failed() {
		t.Errorf("after the remedies:\n%s", text(t, report))
	}
	expect(t, report, "postgres", "slot", check.OK, "nobody reads it now")

	b.cfg.MaxWAL = 1
	expect(t, b.check(t), "postgres", "slot", check.Warn, "more than postgres.max_wal")
	b.cfg.MaxWAL = 8 << 30

	// Given up by the server.
	b.run(t, `ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'`, `ALTER SYSTEM SET wal_keep_size = 0`, `SELECT pg_reload_conf()`)
	servertest.Eventually(t, patience, func() (bool, string) {
		b.run(t, `INSERT INTO orders SELECT g, 1, repeat('x', 200) FROM generate_series(1, 20000) g ON CONFLICT DO NOTHING`,
			`DELETE FROM orders`, `SELECT pg_switch_wal()`, `CHECKPOINT`)
		l := find(t, b.check(t), "postgres", "slot")
		return l.Status == check.Fail, l.Text
	})
	report = b.check(t)
	expect(t, report, "postgres", "slot", check.Fail, "was given up by the server")
	expect(t, report, "postgres", "max_slot_wal_keep_size", check.Warn, "less than postgres.max_wal")
	b.cfg.Manage = true
	expect(t, b.check(t), "postgres", "slot", check.Warn, "will be created again")
	b.runScript(t, report.Script())
	expect(t, b.check(t), "postgres", "slot", check.OK, "nobody reads it now")

	// Somebody else's.
	b.run(t, `SELECT pg_create_physical_replication_slot('physical')`)
	b.cfg.Slot = "physical"
	expect(t, b.check(t), "postgres", "slot", check.Fail, "choose another name")
	b.run(t, `CREATE DATABASE second`)
	other := connect(t, b.postgres.DatabaseURL("second"))
	if _, err := other.Exec(t.Context(), `SELECT pg_create_logical_replication_slot('second', 'pgoutput')`); err != nil {
		t.Fatal(err)
	}
	b.cfg.Slot = "second"
	expect(t, b.check(t), "postgres", "slot", check.Fail, "is of database second")
	b.run(t, `SELECT pg_create_logical_replication_slot('short', 'pgoutput', true)`)
	b.cfg.Slot = "short"
	expect(t, b.check(t), "postgres", "slot", check.Fail, "is temporary")
}
