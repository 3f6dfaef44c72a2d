package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Coverage returns what a flush of the table removes: every target of its
// rules with its placeholders replaced by "*", each once.
func (s *Set) Coverage(table cdc.TableName) []Target {
	if plan := s.tables[table]; plan != nil {
		return coverage(plan.rules)
	}
	return nil
}

// CoverageAll returns what a flush of every rule removes.
func (s *Set) CoverageAll() []Target { return coverage(s.rules) }

func coverage(rules []*compiledRule) []Target {
	type once struct {
		kind TargetKind
		text string
	}
	var targets []Target
	seen := map[once]bool{}
	for _, r := range rules {
		for _, t := range r.targets {
			if key := (once{t.coverage.Kind, t.coverage.Text}); !seen[key] {
				seen[key] = true
				targets = append(targets, t.coverage)
			}
		}
	}
	return targets
}

// canonicalVersion is raised when the meaning of a saved rule changes, so that
// everything is flushed once.
const canonicalVersion = 1

type canonicalSet struct {
	Version int             `json:"v"`
	Rules   []canonicalRule `json:"rules"`
}

// canonicalRule is the part of a rule that decides what it invalidates. Name,
// publish, bulk and warm do not: changing them flushes nothing.
type canonicalRule struct {
	Schema     string   `json:"schema"`
	Table      string   `json:"table"`
	Ops        []cdc.Op `json:"ops"`
	Changed    []string `json:"changed,omitempty"`
	Lookup     string   `json:"lookup,omitempty"`
	Invalidate []string `json:"invalidate,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	Immutable  []string `json:"immutable,omitempty"`
}

func canonicalOf(r *compiledRule, cfg *Config) canonicalRule {
	sorted := func(in []string) []string { return slices.Compact(slices.Sorted(slices.Values(in))) }
	c := canonicalRule{
		Schema: r.table.Schema, Table: r.table.Table, Changed: sorted(cfg.Changed), Lookup: cfg.Lookup,
		Invalidate: sorted(cfg.Invalidate), Tags: sorted(cfg.Tags), Immutable: sorted(cfg.Immutable),
	}
	for _, op := range allOps {
		if slices.Contains(r.ops, op) {
			c.Ops = append(c.Ops, op)
		}
	}
	return c
}

func (c canonicalRule) text() string {
	data, err := json.Marshal(c)
	if err != nil { // strings only: cannot happen
		panic(fmt.Sprintf("rule: marshal canonical rule: %v", err))
	}
	return string(data)
}

// Canonical returns the rules in a form that is kept by fingerprint and read
// by CoverageChanged. The order of the rules does not matter to it.
func (s *Set) Canonical() []byte {
	set := canonicalSet{Version: canonicalVersion, Rules: []canonicalRule{}}
	for _, r := range s.rules {
		set.Rules = append(set.Rules, r.canonical)
	}
	slices.SortFunc(set.Rules, func(a, b canonicalRule) int { return compareText(a, b) })
	data, err := json.Marshal(set)
	if err != nil { // strings only: cannot happen
		panic(fmt.Sprintf("rule: marshal canonical rules: %v", err))
	}
	return data
}

func compareText(a, b canonicalRule) int {
	at, bt := a.text(), b.text()
	switch {
	case at < bt:
		return -1
	case at > bt:
		return 1
	}
	return 0
}

// Fingerprint names the rule set: two sets with the same fingerprint
// invalidate the same.
func (s *Set) Fingerprint() string {
	sum := sha256.Sum256(s.Canonical())
	return hex.EncodeToString(sum[:])
}

// CoverageChanged returns the coverage of every rule, on either side, that is
// not word for word in the other set. The error wraps ErrCanonical when old
// cannot be read: flush CoverageAll.
func (s *Set) CoverageChanged(old []byte) ([]Target, error) {
	var before canonicalSet
	if err := json.Unmarshal(old, &before); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCanonical, err)
	}
	if before.Version != canonicalVersion {
		return nil, fmt.Errorf("%w: version %d", ErrCanonical, before.Version)
	}
	had, have := map[string]bool{}, map[string]bool{}
	for _, r := range before.Rules {
		had[r.text()] = true
	}
	var changed []*compiledRule
	for _, r := range s.rules {
		text := r.canonical.text()
		have[text] = true
		if !had[text] {
			changed = append(changed, r)
		}
	}
	for _, r := range before.Rules {
		if have[r.text()] {
			continue
		}
		gone, err := r.compile()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCanonical, err)
		}
		changed = append(changed, gone)
	}
	return coverage(changed), nil
}

// compile compiles a saved rule, for its coverage only.
func (c canonicalRule) compile() (*compiledRule, error) {
	table := quoteTable(cdc.TableName{Schema: c.Schema, Table: c.Table})
	set, err := Compile([]Config{{Table: table, Lookup: c.Lookup, Invalidate: c.Invalidate, Tags: c.Tags, Publish: PublishAll}}, nil)
	if err != nil {
		return nil, err
	}
	r := set.rules[0]
	for _, t := range r.targets {
		t.coverage.Rule = -1
	}
	return r, nil
}
