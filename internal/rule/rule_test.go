package rule_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

func compile(t *testing.T, rules ...rule.Config) *rule.Set {
	t.Helper()
	set, err := rule.Compile(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func insert(table string, row ...string) *cdc.Message {
	c := cdc.Change{Op: cdc.Insert}
	for i := 0; i < len(row); i += 2 {
		c.New = append(c.New, cdc.Column{Name: row[i], Value: cdc.Value{Kind: cdc.String, Text: row[i+1]}})
	}
	return &cdc.Message{Schema: "public", Table: table, Changes: []cdc.Change{c}}
}

func TestParseTable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]cdc.TableName{
		"orders":               {Schema: "public", Table: "orders"},
		"Order":                {Schema: "public", Table: "Order"},
		"app.orders":           {Schema: "app", Table: "orders"},
		`"Order"`:              {Schema: "public", Table: "Order"},
		`"my.schema"."Order"`:  {Schema: "my.schema", Table: "Order"},
		`app."a ""b"" c.d"`:    {Schema: "app", Table: `a "b" c.d`},
		"with space.and-hyph€": {Schema: "with space", Table: "and-hyph€"},
	} {
		got, err := rule.ParseTable(text)
		if err != nil || got != want {
			t.Errorf("ParseTable(%q): got %+v %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ".", "a.", ".a", "a.b.c", `"a`, `"a"b`, `a"b`, `""`, `"a"."b"."c"`} {
		if got, err := rule.ParseTable(text); err == nil {
			t.Errorf("ParseTable(%q): got %+v, want an error", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"invalidate", "immutable", "client_id", "id", "Order"}
	for word, want := range map[string]string{
		"invalidat": "invalidate", "inavlidate": "invalidate", "imutable": "immutable", "clientid": "client_id",
		"ORDER": "Order", "ordre": "Order", "di": "id", "nothing like it": "", "x": "",
	} {
		if got := rule.Nearest(word, words); got != want {
			t.Errorf("Nearest(%q): got %q, want %q", word, got, want)
		}
	}
}

func TestEvaluatorDeduplicates(t *testing.T) {
	t.Parallel()
	set := compile(t, rule.Config{Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}", "orders:list:{client_id}:*"}, Tags: []string{"client:{client_id}"}})
	e := set.Evaluator()
	for _, id := range []string{"1", "2", "1"} {
		e.Add(insert("orders", "id", id, "client_id", "7"), nil)
	}
	r := e.Result()
	if want := []string{"order:1", "orders:client:7", "order:2"}; !slices.Equal(r.Keys, want) {
		t.Errorf("keys: got %q, want %q", r.Keys, want)
	}
	if want := []string{"orders:list:7:*"}; !slices.Equal(r.Patterns, want) {
		t.Errorf("patterns: got %q, want %q", r.Patterns, want)
	}
	if want := []string{"client:7"}; !slices.Equal(r.Tags, want) {
		t.Errorf("tags: got %q, want %q", r.Tags, want)
	}
	if want := (rule.Count{Keys: 6, Patterns: 3, Tags: 3}); r.ByRule[0] != want || r.Changes != 3 {
		t.Errorf("counts: got %+v and %d changes, want %+v and 3", r.ByRule[0], r.Changes, want)
	}

	// Strings outlive Reset and the message's buffer; the rest starts anew.
	kept := r.Keys[0]
	e.Reset()
	for range 10_000 {
		e.Add(insert("orders", "id", "another", "client_id", "8"), nil)
	}
	if kept != "order:1" {
		t.Errorf("a kept key changed to %q", kept)
	}
	if want := []string{"order:another", "orders:client:8"}; !slices.Equal(e.Result().Keys, want) {
		t.Errorf("keys after Reset: got %q, want %q", e.Result().Keys, want)
	}
	if e.Result().AllTags || e.Result().ByRule[0].Keys != 20_000 {
		t.Errorf("after Reset: got %+v", e.Result())
	}
}

func TestLookupsAskOnce(t *testing.T) {
	t.Parallel()
	set := compile(t,
		rule.Config{Table: "order_items", Lookup: "select client_id from orders where id = {order_id}", Invalidate: []string{"c:{client_id}"}},
		rule.Config{Table: "orders", Invalidate: []string{"o:{id}"}},
	)
	e := set.Evaluator()
	var asked []rule.Lookup
	for _, id := range []string{"1", "2", "1"} {
		asked = e.Lookups(insert("order_items", "order_id", id), asked)
	}
	asked = e.Lookups(insert("orders", "id", "1"), asked)
	if len(asked) != 2 || asked[0].Args[0] != "1" || asked[1].Args[0] != "2" || asked[0].Key() == asked[1].Key() {
		t.Errorf("got %+v, want one lookup of 1 and one of 2", asked)
	}
	e.Reset()
	if again := e.Lookups(insert("order_items", "order_id", "1"), nil); len(again) != 1 || again[0].Key() != asked[0].Key() {
		t.Errorf("after Reset: got %+v, want the lookup of 1 again", again)
	}
}

func TestWiden(t *testing.T) {
	t.Parallel()
	set := compile(t,
		rule.Config{Table: "orders", Ops: []string{"insert"}, Invalidate: []string{"order:{id}", "stats"}, Tags: []string{"orders", "o:{id}"}},
		rule.Config{Table: "app.users", Invalidate: []string{"user:{id}"}},
	)
	e := set.Evaluator()
	e.Widen(cdc.TableName{Schema: "public", Table: "orders"})
	r := e.Result()
	if !slices.Equal(r.Patterns, []string{"order:*"}) || !slices.Equal(r.Keys, []string{"stats"}) || !slices.Equal(r.Tags, []string{"orders"}) || !r.AllTags {
		t.Errorf("one table: got %+v", r)
	}
	e.Reset()
	e.Widen(cdc.TableName{Schema: "public", Table: "unknown"})
	if r := e.Result(); len(r.Keys)+len(r.Patterns)+len(r.Tags) > 0 || r.AllTags {
		t.Errorf("a table without rules: got %+v", r)
	}
	e.Widen(cdc.TableName{})
	if r := e.Result(); !slices.Equal(r.Patterns, []string{"order:*", "user:*"}) {
		t.Errorf("everything: got %+v", r)
	}
}

// An operation that this version does not know is treated like a bulk change.
func TestUnknownOpWidens(t *testing.T) {
	t.Parallel()
	e := compile(t, rule.Config{Table: "orders", Ops: []string{"insert"}, Invalidate: []string{"order:{id}"}}).Evaluator()
	e.Add(&cdc.Message{Schema: "public", Table: "orders", Changes: []cdc.Change{{Op: "merge"}}}, nil)
	if r := e.Result(); !slices.Equal(r.Patterns, []string{"order:*"}) {
		t.Errorf("got %+v, want the coverage", r)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	orders := rule.Config{Table: "orders", Invalidate: []string{"order:{id}", "o:{id}"}}
	users := rule.Config{Table: "users", Invalidate: []string{"user:{id}"}}
	base := compile(t, orders, users)

	same := orders
	same.Table, same.Name, same.Bulk, same.Publish, same.Old = "public.orders", "another", 5, rule.PublishAll, rule.OldWiden
	same.Ops = []string{"truncate", "delete", "update", "insert"}
	same.Invalidate = []string{"o:{id}", "order:{id}"}
	if got := compile(t, users, same).Fingerprint(); got != base.Fingerprint() {
		t.Error("a name, an order or a setting that removes nothing else changed the fingerprint")
	}
	for what, change := range map[string]func(*rule.Config){
		"ops":        func(c *rule.Config) { c.Ops = []string{"insert"} },
		"changed":    func(c *rule.Config) { c.Changed = []string{"a"} },
		"lookup":     func(c *rule.Config) { c.Lookup = "select a from b where c = {id}" },
		"invalidate": func(c *rule.Config) { c.Invalidate = c.Invalidate[:1] },
		"tags":       func(c *rule.Config) { c.Tags = []string{"t"} },
		"immutable":  func(c *rule.Config) { c.Immutable = []string{"id"} },
		"table":      func(c *rule.Config) { c.Table = "Orders" },
	} {
		other := orders
		change(&other)
		set := compile(t, other, users)
		if set.Fingerprint() == base.Fingerprint() {
			t.Errorf("another %s left the fingerprint as it was", what)
		}
		changed, err := set.CoverageChanged(base.Canonical())
		if err != nil {
			t.Fatal(err)
		}
		if texts := texts(changed); !slices.Contains(texts, "o:*") || slices.Contains(texts, "user:*") {
			t.Errorf("another %s: got coverage %q, want that of orders only", what, texts)
		}
	}
}

func TestCoverageChanged(t *testing.T) {
	t.Parallel()
	before := compile(t, rule.Config{Table: "orders", Lookup: "select x from y where z = {z}", Invalidate: []string{"old:{x}"}}, rule.Config{Table: "users", Invalidate: []string{"user:{id}"}})
	after := compile(t, rule.Config{Table: "orders", Invalidate: []string{"new:{id}"}}, rule.Config{Table: "users", Invalidate: []string{"user:{id}"}})
	changed, err := after.CoverageChanged(before.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := texts(changed), []string{"new:*", "old:*"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if changed[0].Rule != 0 || changed[1].Rule != -1 {
		t.Errorf("rules: got %d and %d, want 0 and -1", changed[0].Rule, changed[1].Rule)
	}
	if changed, err = after.CoverageChanged(after.Canonical()); err != nil || len(changed) > 0 {
		t.Errorf("the same rules: got %v %v, want nothing", changed, err)
	}
	for _, old := range []string{"", "{", `{"v":99}`, `{"v":1,"rules":[{"schema":"public","table":"t","invalidate":["{"]}]}`} {
		if _, err := after.CoverageChanged([]byte(old)); !errors.Is(err, rule.ErrCanonical) {
			t.Errorf("saved rules %q: got %v, want ErrCanonical", old, err)
		}
	}
}

func texts(targets []rule.Target) []string {
	var all []string
	for _, target := range targets {
		all = append(all, target.Text)
	}
	return all
}

func TestErrorsText(t *testing.T) {
	t.Parallel()
	_, err := rule.Compile([]rule.Config{{Table: "t", Ops: []string{"insret"}, Invalidate: []string{"{id}"}}}, nil)
	var one *rule.Error
	if err == nil || !errors.As(err, &one) || one.Path != "rules[0].ops[0]" {
		t.Fatalf("got %v, want an Error about rules[0].ops[0]", err)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 2 || lines[0] != `rules[0].ops[0]: unknown operation "insret"; did you mean "insert"?` {
		t.Errorf("got %q", lines)
	}
}

//nolint:paralleltest // allocations are counted for the whole process
func TestAddAllocates(t *testing.T) {
	set := compile(t, rule.Config{Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}"}})
	e := set.Evaluator()
	m := orderUpdates(0, 256)
	e.Add(m, nil)
	if n := testing.AllocsPerRun(100, func() { e.Reset(); e.Add(m, nil) }); n > 4 {
		t.Errorf("%.0f allocations for 256 rows, want a few blocks at most", n)
	}
}
