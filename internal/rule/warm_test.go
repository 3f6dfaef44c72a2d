package rule_test

import (
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/rule"
)

// TestWarmID: a query keeps its name when other rules come, go or are renamed, and has
// another when it fills otherwise.
func TestWarmID(t *testing.T) {
	t.Parallel()
	base := rule.Config{
		Table: "orders", Invalidate: []string{"order:{id}"},
		Warm: []rule.Warm{{Key: "order:{id}", SQL: "select {id}", TTL: time.Minute}},
	}
	other := rule.Config{Table: "clients", Invalidate: []string{"client:{id}"}}
	id := func(rules ...rule.Config) string {
		set, err := rule.Compile(rules, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, ok := set.Warm(len(rules)-1, 0)
		if !ok || !set.Warms() {
			t.Fatal("the rule warms nothing")
		}
		if found, ok := set.WarmByID(w.ID); !ok || found != w {
			t.Errorf("by ID: got %+v, %v, want %+v", found, ok, w)
		}
		if _, ok := set.WarmByID("another"); ok {
			t.Error("a query that there is not was found")
		}
		return w.ID
	}
	renamed := base
	renamed.Name = "renamed"
	if want := id(base); id(other, base) != want || id(renamed) != want {
		t.Error("the ID depends on more than the query")
	}
	for name, change := range map[string]func(*rule.Warm){
		"sql":     func(w *rule.Warm) { w.SQL = "select {id}::text" },
		"ttl":     func(w *rule.Warm) { w.TTL = time.Hour },
		"missing": func(w *rule.Warm) { w.Missing = rule.MissingAbsent },
	} {
		changed := base
		changed.Warm = []rule.Warm{base.Warm[0]}
		change(&changed.Warm[0])
		if id(changed) == id(base) {
			t.Errorf("%s: another query has the same ID", name)
		}
	}
	if set, err := rule.Compile([]rule.Config{other}, nil); err != nil || set.Warms() {
		t.Errorf("got warms %v, %v, want none", set.Warms(), err)
	}
}
