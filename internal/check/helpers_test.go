package check_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

// bundle is three servers, a role with the rights that the README asks for,
// and a configuration that fits.
type bundle struct {
	postgres *servers.Postgres
	redis    *servers.Redis
	admin    *pgx.Conn
	cfg      check.Config
	rules    []rule.Config
}

const role = "freshet_role"

// orders is the table of most tests; its rule needs the old client_id.
var orders = []string{
	`CREATE TABLE orders (id int PRIMARY KEY, client_id int NOT NULL, note text)`,
	`ALTER TABLE orders REPLICA IDENTITY FULL`,
}

func ordersRule() rule.Config {
	return rule.Config{Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}"}}
}

// start starts the servers, runs the statements, and lets the role read and
// own what they made.
func start(t *testing.T, settings map[string]string, statements ...string) *bundle {
	t.Helper()
	b := &bundle{postgres: servertest.Postgres(t, servers.PostgresOptions{Settings: settings}), redis: servertest.Redis(t)}
	b.admin = connect(t, b.postgres.URL())
	b.run(t, `CREATE ROLE `+role+` LOGIN REPLICATION`, `GRANT pg_read_all_stats TO `+role,
		`GRANT CREATE ON DATABASE app TO `+role, `GRANT ALL ON SCHEMA public TO `+role, `SET ROLE `+role)
	b.run(t, statements...)
	b.run(t, `RESET ROLE`)
	b.rules = []rule.Config{ordersRule()}
	b.cfg = check.Config{
		Name: "shop", PostgresURL: b.postgres.UserURL(role, "", "app"), Slot: "freshet_shop", Publication: "freshet_shop",
		Manage: true, MaxWAL: 8 << 30,
		Stream: stream.Config{
			Name: "shop", MaxBytes: 1 << 20, MaxAge: time.Hour, Replicas: 1,
			Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:0", StoreDir: filepath.Join(t.TempDir(), "a", "b")},
		},
		CacheURL: b.redis.URL(), Applier: cache.ApplierConfig{Name: "shop"},
		Compile: func(schema rule.Schema) check.Compiled { return compile(b.rules, schema) },
	}
	return b
}

func compile(rules []rule.Config, schema rule.Schema) check.Compiled {
	set, err := rule.Compile(rules, schema)
	var mistakes rule.Errors
	if errors.As(err, &mistakes) {
		return check.Compiled{Mistakes: mistakesOf(mistakes)}
	}
	return check.Compiled{Set: set, Warnings: mistakesOf(set.Warnings())}
}

func mistakesOf(errs []*rule.Error) []check.Mistake {
	var out []check.Mistake
	for _, e := range errs {
		out = append(out, check.Mistake{Where: e.Path, Message: e.Message, Remedy: e.Remedy, SQL: e.SQL})
	}
	return out
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	return db
}

// run runs statements one by one, as psql does, as the superuser.
func (b *bundle) run(t *testing.T, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if _, err := b.admin.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// runScript runs what --sql prints.
func (b *bundle) runScript(t *testing.T, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		if sql := strings.TrimSpace(line); sql != "" && !strings.HasPrefix(sql, "--") {
			b.run(t, sql)
		}
	}
}

// limitRedis makes a cache of a Redis that was started without a limit.
func (b *bundle) limitRedis(t *testing.T) {
	t.Helper()
	rdb := b.redis.Client()
	defer rdb.Close()
	for key, value := range map[string]string{"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"} {
		if err := rdb.ConfigSet(t.Context(), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bundle) check(t *testing.T) *check.Report {
	t.Helper()
	return check.Run(t.Context(), b.cfg)
}

// find returns the line that deals with check, the worst if there are several.
func find(t *testing.T, report *check.Report, area, name string) check.Line {
	t.Helper()
	rank := map[check.Status]int{check.OK: 1, check.Warn: 2, check.Fail: 3}
	var found check.Line
	for _, l := range report.Lines {
		if l.Area == area && l.Check == name && rank[l.Status] > rank[found.Status] {
			found = l
		}
	}
	if found.Status == "" {
		t.Fatalf("no line %s %s in\n%s", area, name, text(t, report))
	}
	return found
}

func text(t *testing.T, report *check.Report) string {
	t.Helper()
	var b strings.Builder
	if err := report.Print(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// expect fails unless the line has the status and says the words.
func expect(t *testing.T, report *check.Report, area, name string, status check.Status, words string) check.Line {
	t.Helper()
	l := find(t, report, area, name)
	if said := l.Text + " " + strings.Join(l.Details, " ") + " " + l.Remedy; l.Status != status || !strings.Contains(said, words) {
		t.Errorf("%s %s: got %s %q, want %s with %q", area, name, l.Status, said, status, words)
	}
	return l
}

// patience is how long a test waits for what takes a moment.
const patience = 90 * time.Second
