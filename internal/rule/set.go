package rule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Set is a compiled rule set; safe for concurrent use.
type Set struct {
	rules    []*compiledRule
	tables   map[cdc.TableName]*tablePlan
	warnings []*Error
}

// compiledRule is a rule with its templates parsed and its columns bound.
type compiledRule struct {
	index   int
	name    string
	table   cdc.TableName
	ops     []cdc.Op // as listed, or all four
	moves   bool     // an update may arrive as a delete and an insert: a row that moves between partitions
	changed []int    // columns of the plan; empty for any
	targets []*target
	warm    []*warm
	lookup  *query
	params  []part // the lookup's parameters
	widen   bool   // old: widen
	all     bool   // publish: all
	bulk    int64
	// canonical is the part of the rule that decides what it invalidates.
	canonical canonicalRule
}

func (r *compiledRule) counts(op cdc.Op) bool {
	if r.moves && (op == cdc.Insert || op == cdc.Delete) {
		return true
	}
	return op == cdc.Bulk || slices.Contains(r.ops, op)
}

// warm is a compiled warm query.
type warm struct {
	WarmQuery
	key    *target
	args   []part
	source string // the query as written
}

// id names the query: two with the same id fill the same keys with the same.
func (w *warm) id(r canonicalRule) string {
	data, err := json.Marshal([]any{canonicalVersion, r, w.Key, w.source, w.TTL, w.Missing})
	if err != nil { // texts and numbers only: cannot happen
		panic(fmt.Sprintf("rule: marshal warm query: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// WarmQuery is what a warmer needs to know of a warm query.
type WarmQuery struct {
	ID      string        // the same in every process with the same rule, whatever else its rules are
	Rule    string        // the rule's name
	Key     string        // the key's template
	SQL     string        // with $1, $2, … for the task's Args
	TTL     time.Duration // of the filled value
	Only    string        // cached or always
	Missing string        // remove or absent
}

// LookupQuery is a rule's lookup, for checks.
type LookupQuery struct {
	Rule int
	Name string // the rule's name
	SQL  string // with $1, $2, … for its parameters
}

// tablePlan is everything the rules need of one table.
type tablePlan struct {
	table   cdc.TableName
	columns []string // the columns that any rule reads; parts refer to them by index
	byName  map[string]int
	rules   []*compiledRule
}

func (p *tablePlan) slot(column string) int {
	if i, ok := p.byName[column]; ok {
		return i
	}
	p.byName[column] = len(p.columns)
	p.columns = append(p.columns, column)
	return len(p.columns) - 1
}

// Need is what must be published of a table.
type Need struct {
	Table   cdc.TableName
	Columns []string // sorted
	All     bool     // every column, whatever Columns says
	Ops     []cdc.Op // the operations that some rule counts
	Bulk    int64    // the smallest number of rows that some rule calls bulk; 0: the invalidator's
}

// Needs returns what must be published, sorted by table.
func (s *Set) Needs() []Need {
	needs := make([]Need, 0, len(s.tables))
	for _, plan := range s.tables {
		need := Need{Table: plan.table, Columns: slices.Sorted(slices.Values(plan.columns))}
		for _, op := range []cdc.Op{cdc.Insert, cdc.Update, cdc.Delete, cdc.Truncate} {
			if slices.ContainsFunc(plan.rules, func(r *compiledRule) bool { return r.counts(op) }) {
				need.Ops = append(need.Ops, op)
			}
		}
		for _, r := range plan.rules {
			need.All = need.All || r.all
			if r.bulk > 0 && (need.Bulk == 0 || r.bulk < need.Bulk) {
				need.Bulk = r.bulk
			}
		}
		needs = append(needs, need)
	}
	slices.SortFunc(needs, func(a, b Need) int { return compareTables(a.Table, b.Table) })
	return needs
}

// Names returns the rules' names by index.
func (s *Set) Names() []string {
	names := make([]string, len(s.rules))
	for i, r := range s.rules {
		names[i] = r.name
	}
	return names
}

// Warnings returns what is allowed but costly or probably not meant.
func (s *Set) Warnings() []*Error { return slices.Clone(s.warnings) }

// Lookups returns the lookups of all rules.
func (s *Set) Lookups() []LookupQuery {
	var lookups []LookupQuery
	for _, r := range s.rules {
		if r.lookup != nil {
			lookups = append(lookups, LookupQuery{Rule: r.index, Name: r.name, SQL: r.lookup.sql})
		}
	}
	return lookups
}

// Warm returns the warm query of a task; false when the set has no such one.
func (s *Set) Warm(rule, index int) (WarmQuery, bool) {
	if rule < 0 || rule >= len(s.rules) || index < 0 || index >= len(s.rules[rule].warm) {
		return WarmQuery{}, false
	}
	return s.rules[rule].warm[index].WarmQuery, true
}

// WarmQueries returns the warm queries of all rules.
func (s *Set) WarmQueries() []WarmQuery {
	var queries []WarmQuery
	for _, r := range s.rules {
		for _, w := range r.warm {
			queries = append(queries, w.WarmQuery)
		}
	}
	return queries
}

// WarmByID returns the warm query of that ID; false when the set has none.
func (s *Set) WarmByID(id string) (WarmQuery, bool) {
	for _, r := range s.rules {
		for _, w := range r.warm {
			if w.ID == id {
				return w.WarmQuery, true
			}
		}
	}
	return WarmQuery{}, false
}

// Warms reports whether any rule warms keys.
func (s *Set) Warms() bool {
	return slices.ContainsFunc(s.rules, func(r *compiledRule) bool { return len(r.warm) > 0 })
}

func compareTables(a, b cdc.TableName) int {
	if c := strings.Compare(a.Schema, b.Schema); c != 0 {
		return c
	}
	return strings.Compare(a.Table, b.Table)
}
