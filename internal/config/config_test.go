package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/rule"
)

const minimal = "name: Shop-1\nrules:\n  - {table: orders, invalidate: [\"order:{id}\"]}\n"

func load(t *testing.T, text string, pairs ...string) (*config.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "freshet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(path, env(pairs...))
}

// A client needs the name and how to reach NATS; the rest may lack its variables
// and files, and even be wrong.
func TestLoadClient(t *testing.T) {
	t.Parallel()
	client := func(text string) (*config.File, error) {
		path := filepath.Join(t.TempDir(), "freshet.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.LoadClient(path, env("NATS_URL", "nats://far:4222"))
	}
	f, err := client("name: shop\npostgres: {url: \"${DATABASE_URL}\", password_file: /none}\n" +
		"nats: {url: \"${NATS_URL}\", user: ann}\nrules: [{table: 7}]\n")
	if err != nil {
		t.Fatal(err)
	}
	if c := f.StreamConfig(); c.Name != "shop" || c.URL != "nats://far:4222" || c.User != "ann" {
		t.Errorf("got %+v", c)
	}
	for text, want := range map[string]string{
		"nats: {url: x}":                     "no name",
		"name: shop\nnats: {ulr: x}":         `did you mean "url"`,
		"name: shop\nnat: {url: x}":          `did you mean "nats"`,
		"name: a b\n":                        "letters, digits",
		"name: shop\nnats: {url: \"${NO}\"}": "NO is not set",
	} {
		if _, err := client(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func mustLoad(t *testing.T, text string, pairs ...string) *config.File {
	t.Helper()
	f, err := load(t, text, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	f := mustLoad(t, minimal+"postgres:\nnats: {}\nhttp: {ready_lag: }\n")
	want := config.File{
		Path: f.Path, Name: "Shop-1",
		Postgres: config.Postgres{
			Slot: "freshet_shop_1", Publication: "freshet_shop_1", Manage: true, Confirm: "applied",
			MaxWAL: 8 << 30, Heartbeat: 10 * time.Second, MarkInterval: 100 * time.Millisecond, Chunk: 256,
		},
		NATS: config.NATS{
			Embedded: config.Embedded{Listen: "127.0.0.1:4222", StoreDir: "./freshet-data"},
			Stream:   config.Stream{Replicas: 1, MaxAge: 24 * time.Hour, MaxBytes: 1 << 30},
		},
		HTTP:        config.HTTP{Listen: "127.0.0.1:8080", ReadyLag: 30 * time.Second},
		Invalidator: config.Invalidator{Batch: 1000, Bulk: 1_000_000, ScanShare: 0.2, FlushRate: 20_000},
		Warmer:      config.Warmer{Rate: 200, Concurrency: 8, Timeout: 5 * time.Second},
		Rules:       []rule.Config{{Table: "orders", Invalidate: []string{"order:{id}"}}},
	}
	sections := reflect.ValueOf(*f)
	for i := range sections.NumField() {
		field := sections.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		got, want := sections.Field(i).Interface(), reflect.ValueOf(want).Field(i).Interface()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", field.Name, got, want)
		}
	}
}

func TestEverything(t *testing.T) {
	t.Parallel()
	f := mustLoad(t, "\ufeff"+strings.ReplaceAll(`
name: shop
postgres: {url: "${PG}", slot: s, publication: P, manage: false, confirm: published, max_wal: 1.5GiB, heartbeat: 1m, mark_interval: 5ms, chunk: "${CHUNK:-1_000}"}
nats:
  url: nats://a:4222,b:4222
  credentials: c.creds
  user: u
  password: "p${P:-w}$${x}"
  token: '123'
  nkey: seed
  tls: {ca: ca.pem, cert: c.pem, key: k.pem}
  embedded: {listen: 127.0.0.1:-1, store_dir: /data}
  stream: {replicas: 3, max_age: 7d, max_bytes: 500MB}
cache: {url: "rediss://h:6379/0?addr=i:6379", prefix: "shop:"}
http: {listen: "", ready_lag: 1m30s}
invalidator: {batch: 5, bulk: 0, scan_share: 0.5, flush_rate: 7/s}
warmer: {rate: 9/s, concurrency: 2, timeout: 250ms}
verify: {rate: 3/s}
rules:
  - &orders
    table: '"my.schema"."Order"'
    name: orders
    ops: [insert, update]
    changed: [a]
    lookup: >
      select x
      from y where z = {z}
    invalidate:
      - order:{id}:*
      - "{{"
      - a:{x}
    tags: ["t:{x}"]
    immutable: [z]
    old: widen
    publish: all
    bulk: 12
    warm:
      - {key: "a:{x}", sql: "select {z}", ttl: 10m, only: always, missing: absent}
`, "\n", "\r\n"), "PG", "postgres://u:secret@h/db")
	r := f.Rules[0]
	want := rule.Config{
		Table: `"my.schema"."Order"`, Name: "orders", Ops: []string{"insert", "update"}, Changed: []string{"a"},
		Lookup: "select x from y where z = {z}\n", Invalidate: []string{"order:{id}:*", "{{", "a:{x}"}, Tags: []string{"t:{x}"},
		Immutable: []string{"z"}, Old: "widen", Publish: "all", Bulk: 12,
		Warm: []rule.Warm{{Key: "a:{x}", SQL: "select {z}", TTL: 10 * time.Minute, Only: "always", Missing: "absent"}},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("rule: got %+v, want %+v", r, want)
	}

	s := f.StreamConfig()
	if s.Name != "shop" || s.URL != "nats://a:4222,b:4222" || s.Credentials != "c.creds" || s.User != "u" || s.Password != "pw${x}" ||
		s.Token != "123" || s.NKeySeedFile != "seed" || s.CA != "ca.pem" || s.Cert != "c.pem" || s.Key != "k.pem" ||
		s.Embedded.Listen != "127.0.0.1:-1" || s.Embedded.StoreDir != "/data" || !s.Embedded.SyncAlways ||
		s.Replicas != 3 || s.MaxAge != 7*24*time.Hour || s.MaxBytes != 500_000_000 {
		t.Errorf("stream: got %+v", s)
	}
	c := f.ConsumerConfig([]rule.Need{
		{Table: cdc.TableName{Schema: "a", Table: "b"}, Columns: []string{"c"}, All: true, Ops: []cdc.Op{cdc.Insert}},
		{Table: cdc.TableName{Schema: "a", Table: "d"}, Bulk: 12},
	})
	if c.Name != "shop" || c.URL != "postgres://u:secret@h/db" || c.Slot != "s" || c.Publication != "P" || c.Manage || c.Confirm != consumer.Published ||
		c.MaxWAL != 3<<29 || c.Heartbeat != time.Minute || c.MarkInterval != 5*time.Millisecond || c.Chunk != 1000 {
		t.Errorf("consumer: got %+v", c)
	}
	if got := c.Tables; len(got) != 2 || got[0].Schema != "a" || got[0].Name != "b" || !got[0].All || got[0].Bulk != 0 || got[1].Bulk != 12 {
		t.Errorf("tables: got %+v", got)
	}
	if i := f.InvalidatorConfig(); i.Name != "shop" || i.Prefix != "shop:" || i.Batch != 5 || i.Bulk != 0 || i.FlushRate != 7 {
		t.Errorf("invalidator: got %+v", i)
	}
	if w := f.WarmerConfig(); w.Name != "shop" || w.Rate != 9 || w.Concurrency != 2 || w.Timeout != 250*time.Millisecond {
		t.Errorf("warmer: got %+v", w)
	}
	if a := f.ApplierConfig(); a.Name != "shop" || a.Prefix != "shop:" || a.ScanShare != 0.5 {
		t.Errorf("applier: got %+v", a)
	}
	if m := f.MonitorConfig(); m.Listen != "" || f.HTTP.ReadyLag != 90*time.Second {
		t.Errorf("http: got %+v %+v", m, f.HTTP)
	}
	if f.Warmer != (config.Warmer{Rate: 9, Concurrency: 2, Timeout: 250 * time.Millisecond}) {
		t.Errorf("warmer: got %+v", f.Warmer)
	}
	if f.Verify.Rate != 3 {
		t.Errorf("verify: got %+v", f.Verify)
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("p'w/:\\\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ section, want string }{
		"url":               {"postgres: {url: 'postgres://u@h/d', password_file: " + secret + "}", `postgres://u:p%27w%2F%3A%5C@h/d`},
		"keywords":          {"postgres: {password_file: " + secret + ", url: host=h user=u}", `host=h user=u password='p\'w/:\\'`},
		"password in place": {"postgres: {url: 'postgres://u@h/d', password: 12}", "postgres://u:12@h/d"},
	} {
		f := mustLoad(t, minimal+c.section+"\n")
		if f.Postgres.URL != c.want {
			t.Errorf("%s: got %q, want %q", name, f.Postgres.URL, c.want)
		}
	}
	f := mustLoad(t, minimal+"cache: {url: 'redis://h:6379', password_file: "+secret+"}\nnats: {password_file: "+secret+", token_file: "+secret+"}\n")
	if want := `redis://:p%27w%2F%3A%5C@h:6379`; f.Cache.URL != want {
		t.Errorf("cache: got %q, want %q", f.Cache.URL, want)
	}
	f = mustLoad(t, minimal+"cache: {url: 'redis://h:26379?master_name=m&username=u', password_file: "+secret+"}\nnats: {password_file: "+secret+", token_file: "+secret+"}\n")
	if want := `redis://h:26379?master_name=m&password=p%27w%2F%3A%5C&username=u`; f.Cache.URL != want {
		t.Errorf("cache by Sentinel: got %q, want %q", f.Cache.URL, want)
	}
	if f.NATS.Password != `p'w/:\` || f.NATS.Token != `p'w/:\` {
		t.Errorf("nats: got %+v", f.NATS)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("loaded", "config", f)
	if text := fmt.Sprint(f) + log.String(); strings.Contains(text, "p'w") || !strings.Contains(text, "Shop-1") {
		t.Errorf("printed: got %q", text)
	}
	if _, err := load(t, minimal+"cache: {url: 'redis://:x@h:6379', password_file: "+secret+"}\n"); err == nil || strings.Contains(err.Error(), "p'w") {
		t.Errorf("a password twice: got %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	_, err := config.Load("no/such.yaml", env())
	if want := "no/such.yaml: there is no such file; write one with `freshet init`, copy deploy/freshet.yaml, or name another with -c FILE or $FRESHET_CONFIG"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := config.Load(t.TempDir(), env()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: got %v", err)
	}
}

type schema map[string]*rule.Table

func (s schema) Table(schema, name string) (*rule.Table, bool) {
	t, ok := s[schema+"."+name]
	return t, ok
}

func (s schema) Tables() (names []cdc.TableName) {
	for _, t := range s {
		names = append(names, cdc.TableName{Schema: t.Schema, Table: t.Name})
	}
	return names
}

func table(name string, key string, columns ...string) *rule.Table {
	t := &rule.Table{Schema: "public", Name: name, Identity: rule.IdentityFull, PrimaryKey: []string{key}}
	if key != "" {
		t.Identity, t.IdentityColumns = rule.IdentityDefault, t.PrimaryKey
	}
	for _, column := range columns {
		t.Columns = append(t.Columns, rule.Column{Name: column, Type: "text", Sent: true})
	}
	return t
}

// What the schema is needed for is reported with its place in the file, too.
func TestCompilePoints(t *testing.T) {
	t.Parallel()
	f := mustLoad(t, `name: shop
rules:
  - table: order
    invalidate: ["x"]
  - table: orders
    invalidate:
      - ${PREFIX:-a-long-prefix}:{id}:{clientid}
      - 'it''s:{client_id}'
  - table: nothing
    name: without-list
    publish: all
`)
	tables := schema{"public.orders": table("orders", "id", "id", "client_id")}
	_, err := f.Compile(tables)
	var all config.Errors
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want Errors", err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%d:%d %s", e.Line, e.Column, e.Message[:min(len(e.Message), 40)]))
	}
	want := []string{
		`3:12 there is no table "order"`,
		`7:39 table orders has no column "clientid"`,
		"8:16 the old value of {client_id} is not in t",
		`9:12 there is no table "nothing"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
	if sql := all[2].SQL; sql != `ALTER TABLE "public"."orders" REPLICA IDENTITY FULL;` {
		t.Errorf("SQL: got %q", sql)
	}
}

// The example is sound, and its own comments tell the identities that it needs.
func TestExample(t *testing.T) {
	t.Parallel()
	f, err := config.Load("../../deploy/freshet.yaml", env("DATABASE_URL", "postgres://freshet@db/shop", "REDIS_URL", "redis://redis:6379"))
	if err != nil {
		t.Fatal(err)
	}
	tables := schema{
		"public.users":       table("users", "", "id", "email"),
		"public.sessions":    table("sessions", "id", "id"),
		"public.clients":     table("clients", "id", "id"),
		"public.orders":      table("orders", "", "id", "client_id", "workspace_id", "created_at"),
		"public.order_items": table("order_items", "", "id", "order_id"),
		"public.inventory":   table("inventory", "id", "id", "item_id", "quantity", "reserved", "workspace_id"),
	}
	set, err := f.Compile(tables)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Names(); len(got) != len(tables) {
		t.Errorf("rules: got %q, want one for each of %d tables", got, len(tables))
	}
}

// The errors of nested lists point at the element.
func TestWarningsPoint(t *testing.T) {
	t.Parallel()
	f := mustLoad(t, minimal+"  - table: users\n    immutable: [team]\n    invalidate: ['user:{id}', 'team:{team}']\n")
	set, err := f.Compile(schema{"public.orders": table("orders", "id", "id"), "public.users": table("users", "id", "id", "team")})
	if err != nil {
		t.Fatal(err)
	}
	warnings := f.Warnings(set)
	if len(warnings) != 1 || warnings[0].Line != 6 || warnings[0].Column != 31 {
		t.Errorf("got %v, want one warning at 6:31", warnings)
	}
}

// FuzzLoad reads any file: nothing panics, every error has a text, and the
// value of a secret is never in it.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../../deploy/freshet.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(minimal)
	path := filepath.Join(f.TempDir(), "fuzzed.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "_file") {
			return // would read what it names
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := config.Load(path, env("DATABASE_URL", "hunter2:secret", "REDIS_URL", "hunter2:secret"))
		if (file == nil) == (err == nil) {
			t.Fatalf("got %v and %v", file, err)
		}
		if err == nil {
			return
		}
		if err.Error() == "" {
			t.Error("an error without text")
		}
		if strings.Contains(err.Error(), "hunter2:secret") {
			t.Errorf("the report holds a secret:\n%v", err)
		}
	})
}
