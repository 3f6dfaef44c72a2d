package main

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/doctest"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// recipe is one section of docs/cookbook.md.
type recipe struct {
	name          string
	tables, rules string
	changes       []cookedChange
}

// cookedChange is what stands before a comment that says what it does.
type cookedChange struct {
	sql      string
	removes  []string // keys, and patterns that stand for all keys of the page that match
	refills  string
	refilled string
}

var (
	outcome    = regexp.MustCompile(`^-- (removes|refills) (.+)$`)
	taggedItem = regexp.MustCompile(`^(\S+) tagged (\S+)$`)
	refillItem = regexp.MustCompile(`^(\S+) with (.+)$`)
)

// cookbook reads the page, and the tags of the entries that it names.
func cookbook(t *testing.T) (recipes []*recipe, tags map[string][]string) {
	t.Helper()
	blocks, err := doctest.Read("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	tags = map[string][]string{}
	var r *recipe
	for _, b := range blocks {
		switch {
		case b.Language == "yaml":
			r.rules = b.Text
		case b.Language != "sql":
			t.Fatalf("line %d: a block of %q is not run", b.Line, b.Language)
		case r == nil || r.name != b.Heading:
			r = &recipe{name: b.Heading, tables: b.Text}
			recipes = append(recipes, r)
		default:
			r.changes = changesOf(t, b, tags)
		}
	}
	return recipes, tags
}

func changesOf(t *testing.T, b doctest.Block, tags map[string][]string) (changes []cookedChange) {
	t.Helper()
	sql := ""
	for line := range strings.Lines(b.Text) {
		found := outcome.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil {
			sql += line
			continue
		}
		c := cookedChange{sql: sql}
		sql = ""
		switch {
		case found[1] == "refills":
			item := refillItem.FindStringSubmatch(found[2])
			c.refills, c.refilled = item[1], item[2]
		case found[2] != "nothing":
			for item := range strings.SplitSeq(found[2], ", ") {
				if tagged := taggedItem.FindStringSubmatch(item); tagged != nil {
					item = tagged[1]
					if !slices.Contains(tags[item], tagged[2]) {
						tags[item] = append(tags[item], tagged[2])
					}
				}
				c.removes = append(c.removes, item)
			}
		}
		changes = append(changes, c)
	}
	if strings.TrimSpace(sql) != "" || len(changes) == 0 {
		t.Fatalf("line %d: what does %q remove?", b.Line, sql)
	}
	return changes
}

// Every recipe of the page works as it says, all of them in one configuration:
// the statements are run as they stand, with all keys of the page in Redis.
func TestCookbook(t *testing.T) {
	t.Parallel()
	recipes, tags := cookbook(t)
	if len(recipes) < 20 {
		t.Fatalf("%d recipes; the page promises twenty", len(recipes))
	}
	redis := servertest.Redis(t)
	d := &deployment{t: t, postgres: servertest.Postgres(t), rdb: redis.Client()}
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
	d.environment = []string{"DATABASE_URL=" + d.postgres.URL(), "REDIS_URL=" + redis.URL(), "NATS_URL=" + broker.URL()}
	db, err := pgx.Connect(t.Context(), d.postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close(context.Background()) })

	rules := ""
	keys := map[string]bool{}
	for _, r := range recipes {
		if r.rules == "" || r.changes == nil {
			t.Fatalf("%s: a rule or its changes are missing", r.name)
		}
		rules += r.rules
		if _, err := db.Exec(t.Context(), r.tables, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		for _, c := range r.changes {
			for _, key := range append(slices.Clone(c.removes), c.refills) {
				if key != "" && !strings.Contains(key, "*") {
					keys[key] = true
				}
			}
		}
	}
	config := writeConfig(t, "name: cookbook\npostgres: {url: \"${DATABASE_URL}\"}\nnats: {url: \"${NATS_URL}\"}\n"+
		"cache: {url: \"${REDIS_URL}\"}\nhttp: {listen: \"127.0.0.1:0\"}\nrules:\n"+rules)
	if out, status := d.check(config); status != exitDone || strings.Contains(out, "[warn] rule") {
		t.Fatalf("check: status %d\n%s", status, out)
	}
	p := d.run(config)
	c, err := cache.Open(t.Context(), redis.URL(), cache.Config{Source: "cookbook"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for _, r := range recipes {
		for _, change := range r.changes {
			d.cook(p, db, c, slices.Sorted(maps.Keys(keys)), tags, r.name, change)
		}
	}
}

const planted = "planted"

// cook plants every key, runs a change, and compares what went.
func (d *deployment) cook(p *process, db *pgx.Conn, c *cache.Cache, keys []string, tags map[string][]string, name string, change cookedChange) {
	d.t.Helper()
	d.applied(p)
	d.warmed("cookbook")
	for _, key := range keys {
		var options []cache.WriteOption
		if tags[key] != nil {
			options = append(options, cache.WithTags(tags[key]...))
		}
		if err := cache.Set(d.t.Context(), c, key, planted, time.Hour, options...); err != nil {
			d.t.Fatal(err)
		}
	}
	if _, err := db.Exec(d.t.Context(), change.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		d.t.Fatalf("%s: %s: %v", name, change.sql, err)
	}
	d.applied(p)
	d.warmed("cookbook")
	if change.refills != "" {
		servertest.Eventually(d.t, patience, func() (bool, string) {
			got, err := d.rdb.Get(d.t.Context(), change.refills).Result()
			return err == nil && got == change.refilled, fmt.Sprintf("%s: got %q, %v, want %q", name, got, err, change.refilled)
		})
	}
	var got, want []string
	for _, key := range keys {
		if value, err := cache.Get[string](d.t.Context(), c, key); (err != nil || value != planted) && key != change.refills {
			got = append(got, key)
		}
		if slices.ContainsFunc(change.removes, func(pattern string) bool { return matches(pattern, key) }) {
			want = append(want, key)
		}
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("%s: %s: removed\n  %s\nwant\n  %s", name, strings.TrimSpace(change.sql), strings.Join(got, " "), strings.Join(want, " "))
	}
}

// matches knows the * at the end alone, which is all that the page uses.
func matches(pattern, key string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == key || open && strings.HasPrefix(key, prefix)
}
