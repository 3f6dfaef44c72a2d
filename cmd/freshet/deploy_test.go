package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const deployed = "../../deploy/"

// deployment is the source application's database as deploy/sql makes it, and
// the other servers.
type deployment struct {
	t           *testing.T
	postgres    *servers.Postgres
	rdb         redis.UniversalClient
	js          jetstream.JetStream
	environment []string
}

// deploy runs deploy/sql/*.sql, each as the role that its comment names.
func deploy(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{t: t, postgres: servertest.Postgres(t)}
	cache := servertest.Redis(t)
	d.rdb = cache.Client()
	t.Cleanup(func() { _ = d.rdb.Close() })
	broker := servertest.NATS(t)
	conn, err := broker.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if d.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	d.environment = []string{
		"DATABASE_URL=" + d.postgres.UserURL("freshet", "", "app"), "REDIS_URL=" + cache.URL(), "NATS_URL=" + broker.URL(),
	}
	d.admin(`CREATE ROLE owner_of_the_tables LOGIN`, `GRANT CREATE ON DATABASE app TO owner_of_the_tables`,
		// Nobody has a right that role.sql does not give.
		`REVOKE ALL ON SCHEMA public FROM PUBLIC`, `GRANT ALL ON SCHEMA public TO owner_of_the_tables`)
	d.file("owner_of_the_tables", "source-application.sql")
	d.as("owner_of_the_tables", `INSERT INTO workspaces (name) VALUES ('first'), ('second')`,
		`INSERT INTO users (workspace_id, email, name) VALUES (1, 'ann@a', 'Ann'), (2, 'bob@b', 'Bob')`,
		`INSERT INTO sessions (id, user_id, expires_at) VALUES ('s1', 1, now()), ('s2', 2, now())`,
		`INSERT INTO clients (workspace_id, name) VALUES (1, 'One'), (2, 'Two')`,
		`INSERT INTO inventory (workspace_id, name) VALUES (1, 'Bolt'), (2, 'Nut')`,
		`INSERT INTO orders (workspace_id, client_id, created_at) VALUES (1, 1, '2026-11-23T10:00Z'), (2, 2, '2026-10-01T10:00Z')`,
		`INSERT INTO order_items (order_id, item_id, quantity) VALUES (1, 1, 5), (2, 2, 5)`)
	d.file("owner_of_the_tables", "replica-identity.sql")
	d.file("postgres", "role.sql")
	d.file("postgres", "monitor.sql")
	return d
}

// publish makes publication and slot, for manage: false.
func (d *deployment) publish() {
	d.t.Helper()
	d.file("owner_of_the_tables", "publication.sql")
	d.file("freshet", "slot.sql")
}

// config is deploy/freshet.yaml, but for addresses that a test cannot have.
func (d *deployment) config(manage bool) string {
	d.t.Helper()
	text := readFile(d.t, deployed+"freshet.yaml")
	for old, replacement := range map[string]string{
		"listen: 127.0.0.1:8080": "listen: 127.0.0.1:0",
		"manage: true":           fmt.Sprintf("manage: %v", manage),
	} {
		if !strings.Contains(text, old) {
			d.t.Fatalf("no %q in deploy/freshet.yaml", old)
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	return writeConfig(d.t, text)
}

func (d *deployment) admin(statements ...string) {
	d.t.Helper()
	d.as("postgres", statements...)
}

// as runs statements one by one as a role.
func (d *deployment) as(role string, statements ...string) {
	d.t.Helper()
	if err := d.try(role, statements...); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deployment) try(role string, statements ...string) error {
	db, err := pgx.Connect(d.t.Context(), d.postgres.UserURL(role, "", "app"))
	if err != nil {
		return err
	}
	defer db.Close(context.Background())
	for _, sql := range statements {
		if _, err := db.Exec(d.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func (d *deployment) file(role, name string) {
	d.t.Helper()
	d.as(role, readFile(d.t, deployed+"sql/"+name))
}

// check runs `freshet check`.
func (d *deployment) check(config string) (output string, status int) {
	d.t.Helper()
	out, errOut, status := commandIn(d.t, d.t.TempDir(), d.environment, "check", "-c", config)
	return out + errOut, status
}

// run starts the service.
func (d *deployment) run(config string) *process {
	d.t.Helper()
	return startService(d.t, command(context.Background(), d.environment, "run", "-c", config))
}

// settle waits until what is committed now has been applied, and no warmer has
// anything to do: one that comes late and finds no row removes its key.
func (d *deployment) settle(p *process) {
	d.t.Helper()
	d.applied(p)
	d.warmed("shop")
}

// warmed waits until an instance's warmers have nothing left to do.
func (d *deployment) warmed(instance string) {
	d.t.Helper()
	servertest.Eventually(d.t, patience, func() (bool, string) {
		tasks, err := d.js.Stream(d.t.Context(), "freshet-"+instance+"-warm")
		return err == nil && tasks.CachedInfo().State.Msgs == 0, fmt.Sprintf("warm tasks are left, or %v", err)
	})
}

// applied waits until what is committed now has been applied, and warmers know.
func (d *deployment) applied(p *process) {
	d.t.Helper()
	db, err := d.postgres.Connect(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close(d.t.Context())
	var end string
	if err := db.QueryRow(d.t.Context(), `SELECT pg_current_wal_flush_lsn()::text`).Scan(&end); err != nil {
		d.t.Fatal(err)
	}
	servertest.Eventually(d.t, patience, func() (bool, string) {
		s, err := p.status()
		var passed bool
		if err == nil {
			err = db.QueryRow(d.t.Context(), `SELECT $1::pg_lsn >= $2::pg_lsn`, s.Invalidator.Position.LSN.String(), end).Scan(&passed)
		}
		v := s.Invalidator
		offered := v.WarmTasks == v.WarmPublished+v.WarmMerged+v.WarmDropped
		return passed && v.Pending == 0 && v.Position.Hold == 0 && offered, fmt.Sprintf("want %s, got %+v, %v", end, s, err)
	})
}

// everyKey is the cache of product's table for both rows of each table. The
// value is what stands for both rows, as the lists by filter do.
func everyKey() []string {
	keys := []string{"orders:list:all", "orders:list:0f", "api:GET /v1/rates:0f", "ratelimit:ann:/login"}
	for i, row := range []struct{ email, date, month string }{{"ann@a", "2026-11-23", "2026-11"}, {"bob@b", "2026-10-01", "2026-10"}} {
		n := i + 1
		keys = append(keys,
			fmt.Sprintf("user:%d", n), "user:email:"+row.email, fmt.Sprintf("user:%d:permissions", n), fmt.Sprintf("session:s%d", n),
			fmt.Sprintf("order:%d", n), fmt.Sprintf("order:%d:status", n), fmt.Sprintf("orders:client:%d", n),
			fmt.Sprintf("client:%d", n), fmt.Sprintf("inventory:%d", n), fmt.Sprintf("dashboard:%d", n),
			"production:metrics:"+row.date, "orders:metrics:"+row.month)
	}
	return keys
}

const plantedValue = `"planted"`

// removedBy plants every key, runs statements as the application, and returns
// which of the values are gone.
func (d *deployment) removedBy(p *process, statements ...string) []string {
	d.t.Helper()
	keys := everyKey()
	d.settle(p)
	for _, key := range keys {
		if err := d.rdb.Set(d.t.Context(), key, plantedValue, 0).Err(); err != nil {
			d.t.Fatal(err)
		}
	}
	d.as("owner_of_the_tables", statements...)
	d.settle(p)
	var gone []string
	for _, key := range keys {
		value, err := d.rdb.Get(d.t.Context(), key).Result()
		// Another value has been put there since, which is as good.
		if err == nil && value == plantedValue {
			continue
		}
		gone = append(gone, key)
	}
	slices.Sort(gone)
	return gone
}

// One row of every table of the source application is changed, and what the
// product's table says goes, and nothing else.
func TestDeployedRules(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.admin(`GRANT owner_of_the_tables TO freshet`)
	config := d.config(true)
	if out, status := d.check(config); status != exitDone {
		t.Fatalf("check: status %d\n%s", status, out)
	}
	p := d.run(config)
	user := []string{"user:1", "user:email:ann@a", "user:1:permissions"}
	order := []string{
		"order:1", "order:1:status", "orders:client:1", "orders:list:all", "orders:list:0f",
		"dashboard:1", "production:metrics:2026-11-23", "orders:metrics:2026-11",
	}
	items := []string{"order:1", "orders:client:1"}
	stock := []string{"inventory:1", "dashboard:1"}
	tested := map[string]bool{}
	for _, tc := range []struct {
		table, sql string
		want       []string
	}{
		{"workspaces", `UPDATE workspaces SET name = 'renamed' WHERE id = 1`, nil},
		{"users", `UPDATE users SET permissions = '{orders:read}' WHERE id = 1`, user},
		{
			"users", `UPDATE users SET email = 'bob@b2' WHERE id = 2; UPDATE users SET email = 'bob@b' WHERE id = 1`,
			append([]string{"user:2", "user:2:permissions", "user:email:bob@b"}, user...),
		},
		{
			"users", `UPDATE users SET email = 'ann@a' WHERE id = 1; UPDATE users SET email = 'bob@b' WHERE id = 2`,
			append([]string{"user:2", "user:2:permissions", "user:email:bob@b"}, user...),
		},
		{"sessions", `UPDATE sessions SET data = '{"seen": 1}' WHERE id = 's1'`, []string{"session:s1"}},
		{"clients", `UPDATE clients SET city = 'Graz' WHERE id = 1`, []string{"client:1"}},
		{"inventory", `UPDATE inventory SET quantity = 7 WHERE item_id = 1`, stock},
		{"inventory", `UPDATE inventory SET name = 'Bolts' WHERE item_id = 1`, nil}, // no cached value has it
		{"orders", `UPDATE orders SET status = 'PAID' WHERE id = 1`, order},
		{"orders", `UPDATE orders SET client_id = 2 WHERE id = 1; UPDATE orders SET client_id = 1 WHERE id = 1`, append([]string{"orders:client:2"}, order...)},
		{"order_items", `UPDATE order_items SET quantity = 6 WHERE id = 1`, items},
		// Deleted, from the leaves to the roots.
		{"order_items", `DELETE FROM order_items WHERE id = 1`, items},
		{"orders", `DELETE FROM orders WHERE id = 1`, order},
		{"inventory", `DELETE FROM inventory WHERE item_id = 1`, stock},
		{"clients", `DELETE FROM clients WHERE id = 1`, []string{"client:1"}},
		{"users", `DELETE FROM users WHERE id = 1`, append([]string{"session:s1"}, user...)}, // by the cascade
		{"workspaces", `DELETE FROM workspaces WHERE id = 1`, nil},
		// Put in again.
		{"users", `INSERT INTO users (id, workspace_id, email, name) OVERRIDING SYSTEM VALUE VALUES (1, 2, 'ann@a', 'Ann')`, user},
		{"inventory", `INSERT INTO inventory (item_id, workspace_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 2, 'Bolt')`, []string{"inventory:1", "dashboard:2"}},
		{"sessions", `INSERT INTO sessions (id, user_id, expires_at) VALUES ('s1', 1, now())`, []string{"session:s1"}},
	} {
		tested[tc.table] = true
		want := slices.Clone(tc.want)
		slices.Sort(want)
		if got := d.removedBy(p, tc.sql); !slices.Equal(got, want) {
			t.Errorf("%s: removed\n  %s\nwant\n  %s", tc.sql, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
	for table := range tablesOf(t, readFile(t, deployed+"sql/source-application.sql")) {
		if !tested[table] {
			t.Errorf("no row of %s was changed", table)
		}
	}
}

// tablesOf returns the tables that a script creates.
func tablesOf(t *testing.T, script string) map[string]bool {
	t.Helper()
	tables := make(map[string]bool)
	for line := range strings.Lines(script) {
		if rest, found := strings.CutPrefix(line, "CREATE TABLE "); found {
			tables[strings.Fields(rest)[0]] = true
		}
	}
	if len(tables) < 5 {
		t.Fatalf("got the tables %v; the test would prove nothing", slices.Collect(maps.Keys(tables)))
	}
	return tables
}

// Freshet works with exactly the rights of role.sql, and without one of them
// says how to give it back.
func TestDeployedRights(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	config := d.config(false)
	for _, missing := range []struct{ run, check string }{
		{"CREATE PUBLICATION", "CREATE PUBLICATION"}, {"pg_create_logical_replication_slot", "pg_create_logical_replication_slot"},
	} {
		d.refused(config, missing.run, missing.check)
		switch missing.run {
		case "CREATE PUBLICATION":
			d.file("owner_of_the_tables", "publication.sql")
		default:
			d.file("freshet", "slot.sql")
		}
	}
	d.works(config)
	for _, sql := range []string{`UPDATE users SET name = 'x'`, `CREATE TABLE public.mine (id int)`, `SELECT * FROM workspaces`} {
		if err := d.try("freshet", sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("the role may do more than it needs: %s: %v", sql, err)
		}
	}
	for _, right := range []struct{ take, give, run, check string }{
		{`ALTER ROLE freshet NOLOGIN`, `ALTER ROLE freshet LOGIN`, "not permitted to log in", "mend user and password"},
		{`ALTER ROLE freshet NOREPLICATION`, `ALTER ROLE freshet REPLICATION`, `ALTER ROLE "freshet" REPLICATION`, `ALTER ROLE "freshet" REPLICATION;`},
		{`REVOKE pg_read_all_stats FROM freshet`, `GRANT pg_read_all_stats TO freshet`, "GRANT pg_read_all_stats", `GRANT pg_read_all_stats TO "freshet";`},
		{`REVOKE USAGE ON SCHEMA public FROM freshet`, `GRANT USAGE ON SCHEMA public TO freshet`, "GRANT USAGE ON SCHEMA", `GRANT USAGE ON SCHEMA "public" TO "freshet";`},
		{`REVOKE SELECT ON orders FROM freshet`, `GRANT SELECT ON orders TO freshet`, "GRANT SELECT ON", `GRANT SELECT ON TABLE "public"."orders" TO "freshet";`},
	} {
		d.admin(right.take)
		d.refused(config, right.run, right.check)
		d.admin(right.give)
	}
	// What the tables' owner has prepared.
	for _, prepared := range []struct{ take, give, remedy string }{
		{
			`ALTER PUBLICATION freshet_shop DROP TABLE inventory`, `ALTER PUBLICATION freshet_shop ADD TABLE ONLY inventory`,
			`ALTER PUBLICATION "freshet_shop" ADD TABLE ONLY "public"."inventory"`,
		},
		{`ALTER PUBLICATION freshet_shop SET (publish = 'insert')`, `ALTER PUBLICATION freshet_shop SET (publish = 'insert, update, delete, truncate')`, `ALTER PUBLICATION "freshet_shop" SET (publish`},
	} {
		d.admin(prepared.take)
		d.refused(config, prepared.remedy, prepared.remedy)
		d.admin(prepared.give)
	}
	for _, table := range []string{"users", "orders", "order_items"} {
		d.as("owner_of_the_tables", `ALTER TABLE `+table+` REPLICA IDENTITY DEFAULT`)
		remedy := `ALTER TABLE "public"."` + table + `" REPLICA IDENTITY`
		if out, status := d.check(config); status != exitFailed || !strings.Contains(out, remedy) {
			t.Errorf("check: status %d, want %d and %q\n%s", status, exitFailed, remedy, out)
		}
		d.as("owner_of_the_tables", `ALTER TABLE `+table+` REPLICA IDENTITY FULL`)
	}
	d.works(config)
}

// works expects that nothing is to be mended and that a changed row removes its
// keys.
func (d *deployment) works(config string) {
	d.t.Helper()
	if out, status := d.check(config); status != exitDone {
		d.t.Errorf("check: status %d\n%s", status, out)
	}
	p := d.run(config)
	want := []string{"order:1", "orders:client:1"} // by a lookup, which reads a table
	if got := d.removedBy(p, `UPDATE order_items SET quantity = quantity + 1 WHERE id = 1`); !slices.Equal(got, want) {
		d.t.Errorf("removed %v, want %v", got, want)
	}
	if status, _ := p.terminate(); status != exitDone {
		d.t.Errorf("the service ended with status %d:\n%s", status, p.tail())
	}
}

// refused expects that both commands fail and name the remedy.
func (d *deployment) refused(config, run, check string) {
	d.t.Helper()
	if out, status := d.check(config); status != exitFailed || !strings.Contains(out, check) {
		d.t.Errorf("check: status %d, want %d and %q\n%s", status, exitFailed, check, out)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	cmd := command(ctx, d.environment, "run", "-c", config)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), run) {
		d.t.Errorf("run: %v, %v, want status %d and %q\n%s", err, ctx.Err(), exitFailed, run, out)
	}
}

// As the tables' owner Freshet follows the rules by itself, and not without
// what the owner has.
func TestDeployedOwner(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	config := d.config(true)
	d.refused(config, "CREATE PUBLICATION", "CREATE on database app")
	d.admin(`GRANT owner_of_the_tables TO freshet`)
	d.admin(`ALTER TABLE clients OWNER TO postgres`)
	d.refused(config, "CREATE PUBLICATION", "ownership of public.clients")
	d.admin(`ALTER TABLE clients OWNER TO owner_of_the_tables`)
	d.works(config)
}

// Invalidator and warmer work with what reader.sql gives them, which is to read.
func TestDeployedReader(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.publish()
	d.file("postgres", "reader.sql")
	config := d.config(false)
	startService(t, command(context.Background(), d.environment, "run", "-c", config, "--roles", "consumer"))
	reader := append(slices.Clone(d.environment), "DATABASE_URL="+d.postgres.UserURL("freshet_reader", "", "app"))
	apart := func(ctx context.Context) *exec.Cmd {
		return command(ctx, reader, "run", "-c", config, "--roles", "invalidator,warmer")
	}
	p := startService(t, apart(context.Background()))
	want := []string{"order:1", "orders:client:1"} // by a lookup
	if got := d.removedBy(p, `UPDATE order_items SET quantity = quantity + 1 WHERE id = 1`); !slices.Equal(got, want) {
		t.Errorf("removed %v, want %v", got, want)
	}
	d.removedBy(p, `UPDATE orders SET status = 'PAID' WHERE id = 1`)
	servertest.Eventually(t, patience, func() (bool, string) {
		value, err := d.rdb.Get(t.Context(), "order:1").Result()
		return strings.Contains(value, `"PAID"`), fmt.Sprintf("order:1 is %q, %v: not warmed", value, err)
	})
	for _, sql := range []string{
		`UPDATE users SET name = 'x'`, `CREATE TABLE public.mine (id int)`, `SELECT * FROM workspaces`,
		`SELECT pg_create_logical_replication_slot('mine', 'pgoutput')`,
	} {
		if err := d.try("freshet_reader", sql); err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "replication") {
			t.Errorf("the role may do more than it needs: %s: %v", sql, err)
		}
	}
	if status, _ := p.terminate(); status != exitDone {
		t.Errorf("the service ended with status %d:\n%s", status, p.tail())
	}
	d.admin(`REVOKE SELECT ON orders FROM freshet_reader`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := apart(ctx).CombinedOutput()
	if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "GRANT SELECT ON") {
		t.Errorf("without a right: %v\n%s", err, out)
	}
}

// Who watches sees the slot and its walsender, and no table.
func TestDeployedMonitor(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	d.publish()
	p := d.run(d.config(false))
	d.settle(p)
	db, err := pgx.Connect(t.Context(), d.postgres.UserURL("freshet_monitor", "", "app"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	queries := commentedQueries(readFile(t, deployed+"sql/monitor.sql"))
	if len(queries) < 3 {
		t.Fatalf("got the queries %q; the test would prove nothing", queries)
	}
	hidden := func() (columns []string) {
		t.Helper()
		for _, sql := range queries {
			rows, err := db.Query(t.Context(), sql)
			if err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			found, err := pgx.CollectRows(rows, pgx.RowToMap)
			if err != nil || len(found) == 0 {
				t.Errorf("%s: got %v, %v, want at least a row", sql, found, err)
			}
			for _, row := range found {
				for column, value := range row {
					if value == nil && column != "safe_wal_size" { // NULL without a limit
						columns = append(columns, column)
					}
				}
			}
		}
		return columns
	}
	if columns := hidden(); len(columns) > 0 {
		t.Errorf("the role may not see %v", columns)
	}
	d.admin(`REVOKE pg_monitor FROM freshet_monitor`)
	if columns := hidden(); !slices.Contains(columns, "sync_state") {
		t.Errorf("without pg_monitor the role may not see %v: the file gives more than it needs", columns)
	}
	d.admin(`GRANT pg_monitor TO freshet_monitor`)
	d.admin(`GRANT USAGE ON SCHEMA public TO freshet_monitor`) // as everybody has it in most databases
	for table := range tablesOf(t, readFile(t, deployed+"sql/source-application.sql")) {
		if err := d.try("freshet_monitor", `SELECT * FROM `+table); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("the role may read %s: %v", table, err)
		}
	}
	for _, sql := range []string{
		`CREATE TABLE public.mine (id int)`, `CREATE PUBLICATION mine FOR ALL TABLES`, `SELECT pg_drop_replication_slot('freshet_shop')`,
		`SELECT pg_create_logical_replication_slot('mine', 'pgoutput')`, `ALTER SYSTEM SET work_mem = '1MB'`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_replication`,
	} {
		if err := d.try("freshet_monitor", sql); err == nil {
			t.Errorf("the role may %s", sql)
		}
	}
}

// commentedQueries returns the queries that a script has in its comments.
func commentedQueries(script string) []string {
	var queries []string
	query := ""
	for line := range strings.Lines(script) {
		text, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "--   ")
		if !indented {
			continue
		}
		query += strings.TrimSpace(text) + " "
		if strings.HasSuffix(text, ";") {
			queries = append(queries, query)
			query = ""
		}
	}
	return queries
}
