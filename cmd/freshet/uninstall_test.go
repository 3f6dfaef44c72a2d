package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/uninstall"
)

// installation is a set of servers that instances are put on and taken off.
type installation struct {
	*deployment
	db  *pgx.Conn
	url string // of NATS; empty, and js nil, with embedded servers
}

func newInstallation(t *testing.T, redisURL string, rdb *redis.Client) *installation {
	t.Helper()
	in := &installation{deployment: &deployment{t: t, postgres: servertest.Postgres(t), rdb: rdb}}
	in.environment = []string{"DATABASE_URL=" + in.postgres.URL(), "REDIS_URL=" + redisURL}
	var err error
	if in.db, err = pgx.Connect(t.Context(), in.postgres.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.db.Close(context.Background()) })
	in.sql(`CREATE TABLE things (id int PRIMARY KEY, n int)`)
	in.sql(`INSERT INTO things VALUES (1, 0)`)
	return in
}

// withNATS starts a NATS server that the instances share.
func (in *installation) withNATS() *installation {
	in.t.Helper()
	server := servertest.NATS(in.t)
	in.url = server.URL()
	conn, err := nats.Connect(in.url)
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(conn.Close)
	if in.js, err = jetstream.New(conn); err != nil {
		in.t.Fatal(err)
	}
	return in
}

func (in *installation) sql(statement string) {
	in.t.Helper()
	if _, err := in.db.Exec(in.t.Context(), statement); err != nil {
		in.t.Fatalf("%s: %v", statement, err)
	}
}

func (in *installation) instance(name, extra string) (config string) {
	in.t.Helper()
	return writeConfig(in.t, fmt.Sprintf(`name: %s
postgres: {url: "${DATABASE_URL}"%s}
nats: {url: "%s", embedded: {listen: "127.0.0.1:-1", store_dir: "%s"}}
cache: {url: "${REDIS_URL}"}
http: {listen: "127.0.0.1:0"}
rules: [{table: things, invalidate: ["thing:{id}"]}]
`, name, extra, in.url, filepath.Join(in.t.TempDir(), "data")))
}

// left is everything on the servers that instances make.
func (in *installation) left() []string {
	in.t.Helper()
	rows, err := in.db.Query(in.t.Context(), `
SELECT 'slot ' || slot_name FROM pg_replication_slots UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'relation ' || oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`)
	if err != nil {
		in.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		in.t.Fatal(err)
	}
	if in.js != nil {
		names := in.js.StreamNames(in.t.Context())
		for name := range names.Name() {
			all = append(all, "stream "+name)
		}
		if names.Err() != nil {
			in.t.Fatal(names.Err())
		}
	}
	keys, err := in.rdb.Keys(in.t.Context(), "*").Result()
	if err != nil {
		in.t.Fatal(err)
	}
	for _, key := range keys {
		all = append(all, "key "+key)
	}
	slices.Sort(all)
	return all
}

// uninstall runs the command.
func (in *installation) uninstall(config string, arguments ...string) (report uninstall.Report, said string, status int) {
	in.t.Helper()
	out, errOut, status := commandIn(in.t, in.t.TempDir(), in.environment, append([]string{"uninstall", "-c", config, "-o", "json"}, arguments...)...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		in.t.Fatalf("uninstall %v: %v\n%s%s", arguments, err, out, errOut)
	}
	return report, errOut, status
}

func (in *installation) stop(p *process) {
	in.t.Helper()
	if status, _ := p.terminate(); status != exitDone {
		in.t.Fatalf("the service ended with status %d:\n%s", status, p.tail())
	}
}

// works changes a row and waits until its key is gone, and what stands behind the
// deletion in Redis has been written.
func (in *installation) works(p *process) {
	in.t.Helper()
	if err := in.rdb.Set(in.t.Context(), "thing:1", "1", 0).Err(); err != nil {
		in.t.Fatal(err)
	}
	in.sql(`UPDATE things SET n = n + 1`)
	in.applied(p)
	if n, err := in.rdb.Exists(in.t.Context(), "thing:1").Result(); n != 0 || err != nil {
		in.t.Fatalf("thing:1 is there: %v", err)
	}
}

// What an instance made goes, once it has stopped, and nothing else: not another
// instance's things on the same servers, not cached values, not a stream that only
// looks like the instance's.
func TestUninstall(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	in := newInstallation(t, server.URL(), rdb).withNATS()
	// "first-events" would have a stream by the name of one of first's.
	if _, err := in.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "freshet-first-dead", Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	first, second := in.instance("first", ""), in.instance("second", "")
	other := in.run(second)
	in.works(other)
	before := in.left()
	// What first would do with that stream is to take it over: it is made again
	// below, when first has gone.
	if err := in.js.DeleteStream(t.Context(), "freshet-first-dead"); err != nil {
		t.Fatal(err)
	}
	p := in.run(first)
	in.works(p)

	full := in.left()
	report, said, status := in.uninstall(first, "--yes")
	if status != exitFailed || len(report.Running) < 2 || !strings.Contains(said, "instance first runs: stop each") {
		t.Errorf("while it runs: status %d, %v, %s", status, report.Running, said)
	}
	if got := in.left(); !slices.Equal(got, full) {
		t.Errorf("while it runs: got\n%v\nwant\n%v", got, full)
	}

	in.stop(p)
	if err := in.js.DeleteStream(t.Context(), "freshet-first-dead"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "freshet-first-dead", Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Set(t.Context(), "cached", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	full = in.left()
	report, _, status = in.uninstall(first)
	found := report.Count(uninstall.Found)
	if status != exitDone || found < 7 || found != len(report.Items) {
		t.Errorf("without --yes: status %d, %d found of %d", status, found, len(report.Items))
	}
	if got := in.left(); !slices.Equal(got, full) {
		t.Errorf("without --yes: got\n%v\nwant\n%v", got, full)
	}
	report, _, status = in.uninstall(first, "--yes")
	if status != exitDone || report.Count(uninstall.Removed) != found {
		t.Errorf("with --yes: status %d, %d removed, want %d", status, report.Count(uninstall.Removed), found)
	}
	got := in.left()
	for _, thing := range append(before, "key cached") {
		if !slices.Contains(got, thing) {
			t.Errorf("%s is gone", thing)
		}
	}
	for _, thing := range got {
		if strings.Contains(thing, "first") && thing != "stream freshet-first-dead" {
			t.Errorf("%s is left", thing)
		}
	}
	report, _, status = in.uninstall(first, "--yes")
	if status != exitDone || len(report.Items) != 0 {
		t.Errorf("again: status %d, %+v", status, report)
	}
	in.works(other)
	in.stop(other)
}

// Two names may give the same name of a slot. Who has never read it does not remove it.
func TestUninstallOfANameThatLooksLikeAnother(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	in := newInstallation(t, server.URL(), rdb).withNATS()
	p := in.run(in.instance("shop-eu", ""))
	in.works(p)
	in.stop(p)
	before := in.left()
	for _, name := range []string{"shop_eu", "SHOP-EU", "shop", "eu"} {
		report, said, status := in.uninstall(in.instance(name, ""), "--yes")
		if status != exitDone || report.Count(uninstall.Removed) > 0 {
			t.Errorf("%s: status %d, %s, %d removed", name, status, said, report.Count(uninstall.Removed))
		}
		if got := in.left(); !slices.Equal(got, before) {
			t.Fatalf("%s: got\n%v\nwant\n%v", name, got, before)
		}
	}
	report, said, status := in.uninstall(in.instance("shop-eu", ""), "--yes")
	if status != exitDone || report.Count(uninstall.Removed) != len(report.Items) {
		t.Errorf("its own: status %d, %s, %+v", status, said, report)
	}
}

// With an embedded server it is the folder that goes, and that shows who runs.
func TestUninstallEmbedded(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	in := newInstallation(t, server.URL(), rdb)
	config := in.instance("solo", "")
	before := in.left()
	p := in.run(config)
	in.works(p)
	if report, _, status := in.uninstall(config, "--yes"); status != exitFailed || len(report.Running) < 2 {
		t.Errorf("while it runs: status %d, %v", status, report.Running)
	}
	in.stop(p)
	report, said, status := in.uninstall(config, "--yes")
	if status != exitDone || report.Count(uninstall.Removed) != len(report.Items) {
		for _, i := range report.Items {
			t.Logf("%+v", *i)
		}
		t.Fatalf("status %d, %s", status, said)
	}
	at := slices.IndexFunc(report.Items, func(i *uninstall.Item) bool { return i.Kind == "folder" })
	if at < 0 {
		t.Fatal("the folder is not listed")
	}
	if _, err := os.Stat(report.Items[at].Name); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
	if got := in.left(); !slices.Equal(got, before) {
		t.Errorf("got\n%v\nwant\n%v", got, before)
	}
	out, _, status := commandIn(t, t.TempDir(), in.environment, "uninstall", "-c", config)
	if status != exitDone || !strings.Contains(out, "nothing of instance solo is there") {
		t.Errorf("again: status %d\n%s", status, out)
	}
}

// Slot and publication that people made are left to people, with the statements.
func TestUninstallUnmanaged(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	in := newInstallation(t, server.URL(), rdb).withNATS()
	in.sql(`CREATE PUBLICATION freshet_hand FOR TABLE ONLY things`)
	in.sql(`SELECT pg_create_logical_replication_slot('freshet_hand', 'pgoutput')`)
	before := in.left()
	for _, extra := range []string{", manage: false", ""} {
		config := in.instance("hand", extra)
		out, errOut, status := commandIn(t, t.TempDir(), in.environment, "uninstall", "-c", config)
		if status != exitDone || !strings.Contains(out, `left to you: DROP PUBLICATION IF EXISTS "freshet_hand";`) {
			t.Errorf("manage %q: status %d\n%s%s", extra, status, out, errOut)
		}
	}
	config := in.instance("hand", ", manage: false")
	in.stop(in.run(config))
	report, _, status := in.uninstall(config, "--yes")
	if status != exitDone || report.Count(uninstall.Left) != 2 {
		t.Errorf("status %d, %d left, want slot and publication", status, report.Count(uninstall.Left))
	}
	if got := in.left(); !slices.Equal(got, before) {
		t.Errorf("got\n%v\nwant\n%v", got, before)
	}
}

// What cannot be asked is said, and the rest goes.
func TestUninstallWithoutNATS(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := server.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	in := newInstallation(t, server.URL(), rdb)
	in.sql(`SELECT pg_create_logical_replication_slot('freshet_gone', 'pgoutput')`)
	in.url = "nats://" + servertest.FreeAddr(t)
	report, said, status := in.uninstall(in.instance("gone", ""), "--yes")
	if status != exitFailed || report.Count(uninstall.Removed) != 1 || report.Count(uninstall.Failed) != 1 || !strings.Contains(said, "1 things could not be") {
		t.Errorf("status %d, %s, %+v", status, said, report)
	}
}

// Every master of a Cluster has bookkeeping of its own.
func TestUninstallCluster(t *testing.T) {
	t.Parallel()
	cluster := servertest.RedisCluster(t, 3)
	client := cluster.Client()
	t.Cleanup(func() { _ = client.Close() })
	in := newInstallation(t, cluster.URL(), nil).withNATS()
	config := in.instance("spread", "")
	p := in.run(config)
	in.sql(`UPDATE things SET n = n + 1`)
	in.applied(p)
	in.stop(p)
	for _, key := range []string{"freshet:position:spread-2:{06S}", "freshet:position:spread:other", "mine"} {
		if err := client.Set(t.Context(), key, "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	report, said, status := in.uninstall(config, "--yes")
	keys := 0
	for _, i := range report.Items {
		if i.Kind == "key" && i.State == uninstall.Removed {
			keys++
		}
	}
	if status != exitDone || keys < 6 {
		t.Errorf("status %d, %d keys removed, want positions and counters of three masters: %s", status, keys, said)
	}
	left := int64(0)
	for _, key := range []string{"freshet:position:spread-2:{06S}", "freshet:position:spread:other", "mine"} {
		left += client.Exists(t.Context(), key).Val()
	}
	if left != 3 {
		t.Errorf("%d of 3 keys of others are left", left)
	}
	if report, _, _ := in.uninstall(config); len(report.Items) != 0 {
		t.Errorf("again: %+v", report.Items)
	}
}
