package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// oldNeed is a placeholder whose old value a rule needs.
type oldNeed struct {
	rule           *compiledRule
	table          *Table
	path           string
	offset, length int
	column, hole   string
}

// needOld notes that a placeholder's old value must be in the table's replica
// identity, or warns what its absence costs.
func (rc *ruleCompiler) needOld(path string, h placeholder, fixed bool) {
	if rc.table == nil || h.image == newImage || rc.rule.widen {
		return
	}
	updates, deletes := rc.rule.counts(cdc.Update), rc.rule.counts(cdc.Delete)
	if !updates && !deletes {
		return
	}
	if fixed {
		if deletes && !rc.table.identifies(h.column) {
			rc.warn(path, fmt.Sprintf("a deleted row does not tell %s: every DELETE invalidates the target for all its values", formatHole(h)), "")
		}
		return
	}
	rc.olds = append(rc.olds, oldNeed{rc.rule, rc.table, path, h.offset, h.length, h.column, formatHole(h)})
}

// identifies reports whether the old image carries the column.
func (t *Table) identifies(column string) bool {
	return t.Identity == IdentityFull || slices.Contains(t.IdentityColumns, column)
}

// identities refuses what the tables' replica identities cannot support. The
// remedy serves all rules of a table at once.
func (c *compiler) identities() {
	if c.schema == nil {
		return
	}
	unusable := c.unusable()
	needed := map[*Table][]string{}
	missing := map[*Table]bool{}
	for _, n := range c.olds {
		if !slices.Contains(needed[n.table], n.column) {
			needed[n.table] = append(needed[n.table], n.column)
		}
		missing[n.table] = missing[n.table] || !n.table.identifies(n.column)
	}
	for _, e := range unusable {
		statement := identityStatement(e.table, needed[e.table])
		c.errs = append(c.errs, &Error{
			Path: e.path, Length: e.length, SQL: statement, Remedy: "run: " + statement,
			Message: "table " + formatTable(e.rule.table) + onLeaf(e.table) + " has no usable replica identity: its UPDATE and DELETE would fail once published" + e.hole,
		})
	}
	type once struct {
		rule   int
		column string
	}
	reported := map[once]bool{}
	for _, n := range c.olds {
		key := once{n.rule.index, n.column}
		if n.table.identifies(n.column) || reported[key] || unusableTable(n.table) {
			continue
		}
		reported[key] = true
		statement := identityStatement(n.table, needed[n.table])
		c.errs = append(c.errs, &Error{
			Path: n.path, Offset: n.offset, Length: n.length, SQL: statement,
			Message: fmt.Sprintf("the old value of %s is not in the replica identity of %s%s (%s): the key of a changed or deleted row would stay", n.hole, formatTable(n.rule.table), onLeaf(n.table), describeIdentity(n.table)),
			Remedy:  "run: " + statement + " or, if the column never changes, add it to immutable, or accept broader invalidation with old: widen",
		})
	}
}

// unusableTable reports whether the table's UPDATEs and DELETEs fail in a
// publication that publishes them. Partitions that are each identified by
// other columns are usable and have none in common.
func unusableTable(t *Table) bool {
	return t.Identity == IdentityNothing ||
		t.Identity != IdentityFull && len(t.IdentityColumns) == 0 && t.Leaf == ""
}

// unusable finds rules on tables without a usable identity. A publication
// publishes the same operations of all its tables, so one rule that counts
// updates or deletes decides for every table.
func (c *compiler) unusable() []oldNeed {
	publishing := slices.ContainsFunc(c.set.rules, changesRows)
	var found []oldNeed
	for i, r := range c.set.rules {
		table, ok := c.schema.Table(r.table.Schema, r.table.Table)
		if !ok || !publishing || !unusableTable(table) {
			continue
		}
		why := ""
		if !changesRows(r) {
			why = " (this rule does not count them, but the publication also serves rules that do)"
		}
		found = append(found, oldNeed{rule: r, table: table, path: fmt.Sprintf("rules[%d].table", i), hole: why})
	}
	return found
}

func changesRows(r *compiledRule) bool { return r.counts(cdc.Update) || r.counts(cdc.Delete) }

func onLeaf(t *Table) string {
	if t.Leaf == "" {
		return ""
	}
	return " (its partition " + t.Leaf + ")"
}

func describeIdentity(t *Table) string {
	switch {
	case t.Identity == IdentityNothing:
		return "none"
	case len(t.IdentityColumns) == 0:
		return "its partitions have no identity column in common"
	case t.Identity == IdentityDefault:
		return "the primary key: " + strings.Join(t.IdentityColumns, ", ")
	default:
		return "an index on " + strings.Join(t.IdentityColumns, ", ")
	}
}

// identityStatement returns the statement that makes the columns part of the
// table's replica identity, by the narrowest means. On a partitioned table
// every leaf has an identity of its own: the statement is for the leaf that
// supports least, and its indexes have names of their own.
func identityStatement(t *Table, columns []string) string {
	has := func(in []string) bool {
		return len(in) > 0 && !slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(in, c) })
	}
	table := quoteTable(cdc.TableName{Schema: t.Schema, Table: t.Name})
	leaf := t.Leaf != ""
	if leaf {
		name, err := ParseTable(t.Leaf)
		if err != nil {
			name = cdc.TableName{Schema: t.Schema, Table: t.Leaf}
		}
		table = quoteTable(name)
	}
	switch index := narrowest(t.Unique, has); {
	case has(t.PrimaryKey):
		return "ALTER TABLE " + table + " REPLICA IDENTITY DEFAULT;"
	case index != "" && !leaf:
		return "ALTER TABLE " + table + " REPLICA IDENTITY USING INDEX " + quoteIdent(index) + ";"
	default:
		return "ALTER TABLE " + table + " REPLICA IDENTITY FULL;"
	}
}

func narrowest(indexes []Index, fits func([]string) bool) string {
	best := Index{}
	for _, index := range indexes {
		if !fits(index.Columns) {
			continue
		}
		if best.Name == "" || len(index.Columns) < len(best.Columns) ||
			len(index.Columns) == len(best.Columns) && index.Name < best.Name {
			best = index
		}
	}
	return best.Name
}
