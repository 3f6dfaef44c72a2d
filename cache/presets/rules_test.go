package presets_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/presets"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// recorder notes what is invalidated.
type recorder struct {
	mu             sync.Mutex
	keys, patterns []string
}

func (r *recorder) Observe(ctx context.Context, op cache.Op, name string) (_ context.Context, end func(cache.Outcome, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch op {
	case cache.OpDelete:
		r.keys = append(r.keys, strings.Split(name, ", ")...)
	case cache.OpInvalidatePattern:
		r.patterns = append(r.patterns, name)
	}
	return ctx, func(cache.Outcome, error) {}
}

// row makes a row of names and texts in turn.
func row(text ...string) cdc.Row {
	var columns cdc.Row
	for i := 0; i < len(text); i += 2 {
		columns = append(columns, cdc.Column{Name: text[i], Value: cdc.Value{Kind: cdc.String, Text: text[i+1]}})
	}
	return columns
}

// TestRulesAgree: for a changed row, the rules of deploy/freshet.yaml and the
// functions of this package remove the same keys and patterns.
func TestRulesAgree(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/freshet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Rules []rule.Config `yaml:"rules"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	rules, err := rule.Compile(file.Rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, tc := range []struct {
		table    string
		row, old cdc.Row
		same     func(c *cache.Cache) error
	}{
		{"users", row("id", "7", "email", "new@b"), row("email", "old@b"), func(c *cache.Cache) error {
			return presets.InvalidateUser(ctx, c, 7, "new@b", "old@b")
		}},
		{"sessions", row("id", "s1"), nil, func(c *cache.Cache) error { return presets.InvalidateSession(ctx, c, "s1") }},
		{"clients", row("id", "7"), nil, func(c *cache.Cache) error { return presets.InvalidateClient(ctx, c, 7) }},
		{
			"orders", row("id", "42", "client_id", "9", "workspace_id", "1", "created_at", "2026-11-24T01:30:00Z"), row("client_id", "7"),
			func(c *cache.Cache) error {
				return presets.InvalidateOrders(ctx, c, presets.OrderChange[int]{
					ID: 42, ClientIDs: []int{7, 9}, WorkspaceIDs: []int{1}, Created: created,
				})
			},
		},
		{"inventory", row("item_id", "3", "workspace_id", "1", "quantity", "5"), row("quantity", "6"), func(c *cache.Cache) error {
			return presets.InvalidateInventory(ctx, c, 3, 1)
		}},
	} {
		observed := &recorder{}
		c, err := cache.Open(ctx, "memory://", cache.Config{Observer: observed})
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.same(c); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		evaluator := rules.Evaluator()
		evaluator.Add(&cdc.Message{Schema: "public", Table: tc.table, Changes: []cdc.Change{
			{Op: cdc.Update, New: tc.row, Old: tc.old, OldKnown: cdc.OldFull},
		}}, nil)
		byRule := evaluator.Result()
		if len(byRule.RowErrors) > 0 || len(byRule.Keys) == 0 {
			t.Errorf("%s: the rules give %+v", tc.table, byRule)
		}
		compare(t, tc.table+": keys", observed.keys, byRule.Keys)
		compare(t, tc.table+": patterns", observed.patterns, byRule.Patterns)
	}
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: here\n%s\nby the rules\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
