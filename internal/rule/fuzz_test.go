package rule_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// FuzzTemplate compiles any text as a target and renders it with any value:
// nothing panics, and the target's coverage matches every key it renders.
func FuzzTemplate(f *testing.F) {
	for _, template := range []string{
		"order:{id}", "order:{id}:*", "a{{{b|lower|trim}}}c", `x\*{"q""t"}[a-c]?`, "x:{old.a}:{new.b|date:2006-01-02}",
		"x:{", "x:[", `x\`, "{id}", "fresh{a}", "freshet:x", "x:{a|date:}", "\xff{a}\x00", `x:[{a}]`, `x:{"a}`, "**{a}**",
	} {
		f.Add(template, `*?[a-c]\{x}`, "2026-11-23T10:00:00Z")
	}
	f.Fuzz(func(t *testing.T, template, a, b string) {
		set, err := rule.Compile([]rule.Config{{Table: "t", Invalidate: []string{template}}}, nil)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without text")
			}
			return
		}
		var row cdc.Row
		for i, column := range set.Needs()[0].Columns {
			text := a
			if i%2 == 1 {
				text = b
			}
			row = append(row, cdc.Column{Name: column, Value: cdc.Value{Kind: cdc.String, Text: text}})
		}
		coverage := set.CoverageAll()
		if len(coverage) != 1 {
			t.Fatalf("coverage: got %v, want one target", coverage)
		}
		e := set.Evaluator()
		e.Add(&cdc.Message{Schema: "public", Table: "t", Changes: []cdc.Change{{Op: cdc.Update, New: row, OldKnown: cdc.OldFull}}}, nil)
		for _, key := range e.Result().Keys {
			if coverage[0].Kind == rule.KeyTarget && key == coverage[0].Text {
				continue
			}
			if !globMatch(coverage[0].Text, key) {
				t.Errorf("%q renders %q, which its coverage %q does not match", template, key, coverage[0].Text)
			}
			if strings.HasPrefix(key, "freshet:") {
				t.Errorf("%q renders the reserved key %q", template, key)
			}
		}
		if len(e.Result().Keys)+len(e.Result().Patterns) == 0 && !strings.HasPrefix("freshet:", template[:1]) {
			t.Errorf("%q renders nothing", template)
		}
	})
}

// FuzzPattern renders any value into a pattern: it matches exactly the keys
// that have the value in its place.
func FuzzPattern(f *testing.F) {
	f.Add(`*?[a-c]\{x}`, "y")
	f.Add(`\`, `\`)
	f.Add("", "*")
	f.Fuzz(func(t *testing.T, value, other string) {
		set, err := rule.Compile([]rule.Config{{Table: "t", Invalidate: []string{"p:{v}:*"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := set.Evaluator()
		e.Add(&cdc.Message{Schema: "public", Table: "t", Changes: []cdc.Change{{
			Op: cdc.Insert, New: cdc.Row{{Name: "v", Value: cdc.Value{Kind: cdc.String, Text: value}}},
		}}}, nil)
		pattern := e.Result().Patterns[0]
		if !globMatch(pattern, "p:"+value+":"+other) {
			t.Errorf("value %q: pattern %q does not match its own keys", value, pattern)
		}
		if text := "p:" + other + ":"; globMatch(pattern, text) && !strings.HasPrefix(text, "p:"+value+":") {
			t.Errorf("value %q: pattern %q matches %q", value, pattern, text)
		}
	})
}

var parameter = regexp.MustCompile(`\$([0-9]+)`)

// FuzzLookup compiles any text as a lookup: nothing panics, and parameters and
// arguments fit together.
func FuzzLookup(f *testing.F) {
	for _, sql := range []string{
		"select a from t where id = {id}", "select '{{}}' || {a} -- {{x}}\n", "with x as (select 1) select $a$ {{ $a$, E'\\'' , {\"q\"\"\"}",
		"select {a} /* /* */ */ ;", "select {a}; select", "table", "select {a|sha256} {a} {b}", "values ({a}", "select 'x", `select "`,
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if sql == "" {
			return // no lookup
		}
		set, err := rule.Compile([]rule.Config{{Table: "t", Lookup: sql, Invalidate: []string{"x:{x}"}}}, nil)
		if err != nil {
			return
		}
		var row cdc.Row
		for _, column := range set.Needs()[0].Columns {
			row = append(row, cdc.Column{Name: column, Value: cdc.Value{Kind: cdc.String, Text: "2026-11-23"}})
		}
		lookups := set.Evaluator().Lookups(&cdc.Message{Schema: "public", Table: "t", Changes: []cdc.Change{{Op: cdc.Insert, New: row}}}, nil)
		if len(lookups) != 1 {
			t.Fatalf("%q: got %d lookups, want 1", sql, len(lookups))
		}
		if strings.ContainsAny(sql, `'"`) || strings.Contains(sql, "$") || strings.Contains(sql, "--") || strings.Contains(sql, "/*") {
			return // what looks like a parameter there may be none
		}
		highest := 0
		for _, m := range parameter.FindAllStringSubmatch(lookups[0].SQL, -1) {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			highest = max(highest, n)
		}
		if highest != len(lookups[0].Args) {
			t.Errorf("%q: %d arguments, parameters up to $%d in %q", sql, len(lookups[0].Args), highest, lookups[0].SQL)
		}
	})
}

// FuzzEvaluate evaluates any message: nothing panics, and explaining it names
// what evaluating it gives.
func FuzzEvaluate(f *testing.F) {
	set, err := rule.Compile([]rule.Config{
		{Table: "t", Changed: []string{"a"}, Immutable: []string{"b"}, Invalidate: []string{"a:{a}:{b}", "m:{old.a|upper}:{new.b}", "d:{c|date:2006}"}, Tags: []string{"t:{a}"}},
		{Table: "t", Lookup: "select x from y where id = {a}", Invalidate: []string{"x:{x}:{a}"}, Warm: []rule.Warm{{Key: "x:{x}:{a}", SQL: "select {a}, {x}", TTL: 1}}},
	}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, changes := range []string{
		`[{"op":"update","new":{"a":1,"b":"x","c":"2026-11-23"},"old":{"a":null},"old_known":"full"}]`,
		`[{"op":"delete","old":{"a":1},"old_known":"key"},{"op":"truncate"}]`,
		`[{"op":"update","new":{"a":1},"unchanged":["b","c"],"old_known":"none"}]`,
		`[{"op":"insert","new":{"a":"*","b":{},"c":"x","x":null}}]`,
	} {
		f.Add([]byte(`{"v":1,"schema":"public","table":"t","key":["a"],"transactions":[{"lsn":"0/1","xid":1,"time":"2026-11-23T10:00:00Z"}],"changes":` + changes + `}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m cdc.Message
		if cdc.Decode(data, &m) != nil {
			return
		}
		e := set.Evaluator()
		e.Lookups(&m, nil)
		e.Add(&m, lookupRows{"1": {{{Name: "x", Value: cdc.Value{Kind: cdc.String, Text: "found"}}}}})
		r := e.Result()
		said := 0
		for _, x := range set.Explain(&m, lookupRows{"1": {{{Name: "x", Value: cdc.Value{Kind: cdc.String, Text: "found"}}}}}) {
			switch x.Kind {
			case "key":
				said++
				if !slices.Contains(r.Keys, x.Target) {
					t.Errorf("explained key %q is not in %q", x.Target, r.Keys)
				}
			case "pattern":
				said++
				if !slices.Contains(r.Patterns, x.Target) {
					t.Errorf("explained pattern %q is not in %q", x.Target, r.Patterns)
				}
			}
		}
		made := 0
		for _, count := range r.ByRule {
			made += count.Keys + count.Patterns
		}
		if said != made {
			t.Errorf("explained %d targets, made %d", said, made)
		}
	})
}
