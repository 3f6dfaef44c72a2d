package rule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// TestLessKnownCoversMore evaluates random changes twice, with everything
// known and with part of it withheld as Postgres does: whatever the first
// removes, the second removes too (I8).
func TestLessKnownCoversMore(t *testing.T) {
	t.Parallel()
	set, err := rule.Compile([]rule.Config{
		{
			Table: "t", Immutable: []string{"fixed"},
			Invalidate: []string{"a:{id}", "b:{a}:{id}", "c:{a}:{b}:*", "d:{old.a}:{new.b}", "e:{at|date:2006-01-02}:{a|upper}", "f:{fixed}:{a}", "g"},
			Tags:       []string{"a:{a}", "b:{b}"},
		},
		{Table: "t", Changed: []string{"b", "a"}, Invalidate: []string{"changed:{id}:{b}"}},
		{Table: "t", Lookup: "select x from y where id = {a} and b = {b}", Invalidate: []string{"l:{x}:{id}"}, Tags: []string{"l:{x}"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	columns := []string{"id", "a", "b", "at", "fixed"}
	whole, part := set.Evaluator(), set.Evaluator()
	widened := 0
	for range 20_000 {
		exact := randomChange(random, columns)
		key := columns[:1+random.IntN(2)]
		less := withhold(random, exact, key)
		message := func(c cdc.Change) *cdc.Message {
			return &cdc.Message{Schema: "public", Table: "t", Key: key, Changes: []cdc.Change{c}}
		}
		whole.Reset()
		whole.Add(message(exact), everyLookup{})
		part.Reset()
		part.Add(message(less), everyLookup{})
		widened += part.Result().Widened
		if missed := uncovered(whole.Result(), part.Result()); missed != "" {
			t.Fatalf("%s stays\nexact: %+v\nknown: %+v (key %v)\nremoves: %+v", missed, exact, less, key, part.Result())
		}
	}
	if widened < 1000 {
		t.Errorf("only %d changes were widened: the test withholds too little", widened)
	}
}

// everyLookup finds one or two rows that depend on the arguments, none for
// some of them.
type everyLookup struct{}

func (everyLookup) Rows(l rule.Lookup) ([]cdc.Row, error) {
	var rows []cdc.Row
	for i := range (len(l.Args[0]) + len(l.Args[1])) % 3 {
		rows = append(rows, cdc.Row{{Name: "x", Value: cdc.Value{Kind: cdc.String, Text: fmt.Sprint(l.Args, i)}}})
	}
	return rows, nil
}

func randomChange(random *rand.Rand, columns []string) cdc.Change {
	c := cdc.Change{Op: []cdc.Op{cdc.Insert, cdc.Update, cdc.Update, cdc.Delete}[random.IntN(4)], OldKnown: cdc.OldFull}
	for _, name := range columns {
		before, after := randomValue(random, name), randomValue(random, name)
		if name == "fixed" || random.IntN(2) == 0 {
			after = before
		}
		if c.Op != cdc.Delete {
			c.New = append(c.New, cdc.Column{Name: name, Value: after})
		}
		if c.Op == cdc.Delete || c.Op == cdc.Update && before != after {
			c.Old = append(c.Old, cdc.Column{Name: name, Value: before})
		}
	}
	return c
}

func randomValue(random *rand.Rand, column string) cdc.Value {
	if random.IntN(8) == 0 && column != "id" {
		return cdc.Value{}
	}
	if column == "at" {
		return cdc.Value{Kind: cdc.String, Text: []string{"2026-11-23T10:00:00Z", "2026-11-24", "infinity"}[random.IntN(3)]}
	}
	return cdc.Value{Kind: cdc.String, Text: []string{"1", "2", "*", "a[b]", `\`, "", "x:y"}[random.IntN(7)]}
}

// withhold leaves out what Postgres would: old values outside the replica
// identity, unchanged values out of line, columns that were not published.
func withhold(random *rand.Rand, c cdc.Change, key []string) cdc.Change {
	unchanged := func(name string) bool {
		_, differs := c.Old.Get(name)
		return !differs
	}
	var out cdc.Row
	for _, column := range c.New {
		switch {
		case c.Op == cdc.Update && unchanged(column.Name) && random.IntN(6) == 0:
			c.Unchanged = append(c.Unchanged, column.Name)
		case column.Name != "id" && random.IntN(20) == 0:
			c.Old = slices.DeleteFunc(slices.Clone(c.Old), func(o cdc.Column) bool { return o.Name == column.Name })
		default:
			out = append(out, column)
		}
	}
	c.New = out
	switch random.IntN(3) {
	case 0:
		return c
	case 1:
		c.OldKnown = cdc.OldKey
	default:
		c.OldKnown, key = cdc.OldNone, nil
	}
	c.Old = slices.DeleteFunc(slices.Clone(c.Old), func(o cdc.Column) bool { return !slices.Contains(key, o.Name) })
	return c
}

// uncovered names something that want removes and got does not.
func uncovered(want, got *rule.Result) string {
	covered := func(text string, exact []string) bool {
		return slices.Contains(exact, text) ||
			slices.ContainsFunc(got.Patterns, func(pattern string) bool { return globMatch(pattern, text) })
	}
	for _, key := range want.Keys {
		if !covered(key, got.Keys) {
			return "key " + key
		}
	}
	for _, pattern := range want.Patterns {
		if !slices.Contains(got.Patterns, pattern) && !covered(sample(pattern), nil) {
			return "pattern " + pattern
		}
	}
	for _, tag := range want.Tags {
		if !got.AllTags && !slices.Contains(got.Tags, tag) {
			return "tag " + tag
		}
	}
	if want.AllTags && !got.AllTags {
		return "all tags"
	}
	return ""
}

// sample returns a key that the pattern matches.
func sample(pattern string) string {
	var key []byte
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
			key = append(key, pattern[i])
		case '*':
			key = append(key, "any~thing"...)
		default:
			key = append(key, pattern[i])
		}
	}
	return string(key)
}
