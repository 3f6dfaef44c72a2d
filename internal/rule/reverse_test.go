package rule_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// shop is a schema of one table with a column of each form of key.
type shop struct{}

func (shop) Tables() []cdc.TableName { return []cdc.TableName{{Schema: "public", Table: "t"}} }

func (shop) Table(schema, name string) (*rule.Table, bool) {
	if schema != "public" || name != "t" {
		return nil, false
	}
	t := &rule.Table{Schema: schema, Name: name, Identity: rule.IdentityFull, PrimaryKey: []string{"id"}}
	for column, typ := range map[string]string{"id": "bigint", "u": "uuid", "b": "boolean", "a": "text", "c": "text", "at": "date"} {
		t.Columns = append(t.Columns, rule.Column{Name: column, Type: typ, NotNull: true, Sent: true})
	}
	return t, true
}

func reverses(t *testing.T, cfg ...rule.Config) []*rule.Reverse {
	t.Helper()
	set, err := rule.Compile(cfg, shop{})
	if err != nil {
		t.Fatal(err)
	}
	return set.Reverses()
}

func warming(key, sql string, besides ...string) rule.Config {
	return rule.Config{
		Table: "t", Invalidate: append([]string{key}, besides...),
		Warm: []rule.Warm{{Key: key, SQL: sql, TTL: time.Minute}},
	}
}

func TestReverse(t *testing.T) {
	t.Parallel()
	const uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
	for _, tc := range []struct {
		rule rule.Config
		key  string
		args []string // nil: cannot be read
		why  string   // why not; "" for a key that is none of this template's
	}{
		{warming("o:{id}", "select {id}"), "o:42", []string{"42"}, ""},
		{warming("o:{id}", "select {id}"), "o:-7", []string{"-7"}, ""},
		{warming("o:{id}", "select 1"), "o:42", []string{}, ""},
		// No row renders these.
		{warming("o:{id}", "select {id}"), "o:042", nil, ""},
		{warming("o:{id}", "select {id}"), "o:42:status", nil, ""},
		{warming("o:{id}", "select {id}"), "o:", nil, ""},
		{warming("o:{id}", "select {id}"), "p:42", nil, ""},
		{warming("o:{u}", "select {u}"), "o:" + uuid, []string{uuid}, ""},
		{warming("o:{u}", "select {u}"), "o:" + strings.ToUpper(uuid), nil, ""},
		{warming("o:{b}", "select {b}"), "o:true", []string{"true"}, ""},
		{warming("o:{b}", "select {b}"), "o:t", nil, ""},
		// Types tell where one value ends.
		{warming("o:{id}:{a}", "select {a}, {id}"), "o:1:x:y", []string{"x:y", "1"}, ""},
		{warming("o:{a}:{id}", "select {a}, {id}"), "o:x:y:1", []string{"x:y", "1"}, ""},
		{warming("o:{a}:{c}", "select {a}, {c}"), "o:x:y", []string{"x", "y"}, ""},
		{warming("o:{a}:{c}", "select {a}, {c}"), "o:x:y:z", nil, "more than one way"},
		{warming("o:{a}{c}", "select {a}, {c}"), "o:xy", nil, "nothing stands between"},
		{warming("o:{a}:{a}", "select {a}"), "o:x:y:x:y", []string{"x:y"}, ""},
		{warming("o:{a}:{a}", "select {a}"), "o:x:y", nil, ""},
		// Filters.
		{warming("o:{a|urlencode}:{c|urlencode}", "select {a}, {c}"), "o:x%3Ay:%2A", []string{"x:y", "*"}, ""},
		{warming("o:{a|urlencode}", "select {a}"), "o:x%3ay", nil, ""},
		{warming("o:{a|urlencode}", "select {a|lower}"), "o:X%3AY", []string{"x:y"}, ""},
		{warming("o:{a|lower}", "select {a|lower}"), "o:x", []string{"x"}, ""},
		{warming("o:{a|lower}", "select {a|lower}"), "o:X", nil, ""},
		{warming("o:{at|date:200601}", "select {at|date:200601}"), "o:202611", []string{"202611"}, ""},
		{warming("o:{a|sha1}:{id}", "select {id}"), "o:" + strings.Repeat("0a", 20) + ":1", []string{"1"}, ""},
		{warming("o:{a|sha1}", "select {a}"), "o:" + strings.Repeat("0a", 20), nil, "does not show {a}"},
		// Another template gives keys that look the same.
		{warming("o:{a}", "select {a}", "o:{a}:status"), "o:1:status", nil, "o:{a}:status"},
		{warming("o:{a}", "select {a}", "o:{a}:status"), "o:1", []string{"1"}, ""},
		{warming("o:{a}", "select {a}", "o:*"), "o:1", []string{"1"}, ""},
		// Characters that mean something in a template or a glob.
		{warming(`o{{\*:{a}`, "select {a}"), `o{*:{[x]}`, []string{"{[x]}"}, ""},
	} {
		args, why, ok := reverses(t, tc.rule)[0].Args(tc.key)
		if ok != (tc.args != nil) || !slices.Equal(args, tc.args) || !strings.Contains(why, tc.why) || tc.why == "" && why != "" {
			t.Errorf("%s of %q: got %q, %q, %v, want %q, %q", tc.rule.Invalidate[0], tc.key, args, why, ok, tc.args, tc.why)
		}
	}
	fixed := warming("o:{id}", "select {a}")
	fixed.Immutable = []string{"a"}
	if got := reverses(t, fixed)[0].Obstacle; !strings.Contains(got, "{a}") {
		t.Errorf("got obstacle %q, want one that names {a}", got)
	}
}

// FuzzReverse: a key that a row rendered is read back as what the row had, or not
// at all; never as something else.
func FuzzReverse(f *testing.F) {
	for _, template := range []string{"o:{a}", "o:{a}:{c}", "o:{a|urlencode}:{c}", "o{{{a}}}:{c|urlencode}x", "o:{a}:{a}:{c}", "o:{a|lower}:{c}"} {
		f.Add(template, "1", "x:y")
		f.Add(template, ":", "")
		f.Add(template, "%3A", "*?[a]\\")
	}
	f.Fuzz(func(t *testing.T, template, a, c string) {
		cfg := warming(template, "select {a}, {c}", "o:{c}:other")
		set, err := rule.Compile([]rule.Config{cfg}, shop{})
		if err != nil {
			return
		}
		row := cdc.Row{
			{Name: "a", Value: cdc.Value{Kind: cdc.String, Text: a}}, {Name: "c", Value: cdc.Value{Kind: cdc.String, Text: c}},
		}
		e := set.Evaluator()
		e.Add(&cdc.Message{Schema: "public", Table: "t", Changes: []cdc.Change{{Op: cdc.Insert, New: row}}}, nil)
		for _, task := range e.Result().Warm {
			args, _, ok := set.Reverses()[0].Args(task.Key)
			if ok && !slices.Equal(args, task.Args) {
				t.Errorf("%q rendered %q for %q, which is read as %q", template, task.Key, task.Args, args)
			}
		}
	})
}
