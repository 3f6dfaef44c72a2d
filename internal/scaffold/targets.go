package scaffold

import (
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// draft is one rule.
type draft struct {
	table   *catalog.Table
	notes   []string
	targets []line
	// guesses are targets that the schema does not prove.
	guesses []string
	// fixed are the columns that are candidates for immutable.
	fixed []string
}

// line is a target and what to say of it.
type line struct{ target, comment string }

// drafter makes rules of tables.
type drafter struct {
	nouns map[cdc.TableName]noun
	keys  map[cdc.TableName]*catalog.Keys
}

func (d *drafter) rule(t *catalog.Table) *draft {
	n, keys := d.nouns[t.Name], d.keys[t.Name]
	out := &draft{table: t}
	key, index := rowKey(t)
	out.add(n.one+":"+holes(key), "")
	switch {
	case index != "":
		out.notes = append(out.notes, fmt.Sprintf("No primary key; the unique index %s stands for it.", index))
	case t.Kind == catalog.Partitioned:
		out.notes = append(out.notes, "With all its partitions, those made later too.")
	}
	if slices.ContainsFunc(t.Columns, func(c catalog.Column) bool { return c.Generated == catalog.Virtual }) {
		// Under REPLICA IDENTITY FULL its UPDATEs would fail.
		out.notes = append(out.notes, "It has a virtual generated column, so that Postgres can tell old values of its key only.")
		return out
	}
	for _, u := range keys.Unique {
		if u.Name != index && sent(t, u.Columns) && d.parentOf(t, keys, u.Columns) == "" {
			out.add(n.one+":"+labels(u.Columns)+":"+holes(u.Columns), "")
		}
	}
	d.lists(out, t, keys, key)
	out.guess(t, n)
	return out
}

// lists adds what a foreign key says: the rows that belong to a row of another
// table.
func (d *drafter) lists(out *draft, t *catalog.Table, keys *catalog.Keys, key []string) {
	n := d.nouns[t.Name]
	joined := joins(t, keys, key)
	for _, f := range keys.Foreign {
		parent := d.parentOf(t, keys, f.Columns)
		switch {
		case same(f.Columns, key) || !sent(t, f.Columns):
			continue // the row's own key names it
		case slices.ContainsFunc(keys.Unique, func(u catalog.Index) bool { return same(u.Columns, f.Columns) }):
			out.add(n.one+":"+parent+":"+holes(f.Columns), "")
		case joined:
			other := keys.Foreign[0]
			if other.Name == f.Name {
				other = keys.Foreign[1]
			}
			many := d.nouns[other.Parent].many
			out.add(many+":"+parent+":"+holes(f.Columns), words(many)+" by "+words(parent))
		default:
			out.add(n.many+":"+parent+":"+holes(f.Columns), words(n.many)+" by "+words(parent))
		}
		if !joined {
			for _, c := range f.Columns {
				if !slices.Contains(key, c) && !slices.Contains(out.fixed, c) {
					out.fixed = append(out.fixed, c)
				}
			}
		}
	}
}

// parentOf names the row that columns refer to; "" when they are no foreign key.
func (d *drafter) parentOf(t *catalog.Table, keys *catalog.Keys, columns []string) string {
	at := slices.IndexFunc(keys.Foreign, func(f catalog.ForeignKey) bool { return same(f.Columns, columns) })
	if at < 0 {
		return ""
	}
	parent, times := keys.Foreign[at].Parent, 0
	var seen [][]string
	for _, f := range keys.Foreign {
		if f.Parent == parent && !slices.ContainsFunc(seen, func(columns []string) bool { return same(columns, f.Columns) }) {
			times++
			seen = append(seen, f.Columns)
		}
	}
	one := d.nouns[parent].one
	if times > 1 || parent == t.Name || one == "" {
		return relation(columns)
	}
	return one
}

// joins reports whether a table says nothing but which rows of two others
// belong together.
func joins(t *catalog.Table, keys *catalog.Keys, key []string) bool {
	if len(keys.Foreign) != 2 || len(key) != len(keys.Foreign[0].Columns)+len(keys.Foreign[1].Columns) {
		return false
	}
	both := append(slices.Clone(keys.Foreign[0].Columns), keys.Foreign[1].Columns...)
	return len(t.Columns) == len(key) && same(both, key)
}

// owners are the columns that tell whose a row is, by which pages that sum up
// are kept apart.
var owners = []string{"workspace_id", "tenant_id", "organization_id", "organisation_id", "org_id", "account_id", "company_id", "team_id", "project_id", "store_id", "shop_id"}

// born are the columns that tell the day to whose figures a row counts.
var born = []string{"created_at", "created_on", "created", "inserted_at"}

// guess adds what other schemas of the kind keep in their caches.
func (out *draft) guess(t *catalog.Table, n noun) {
	key, _ := rowKey(t)
	out.guesses = append(out.guesses, n.one+":"+holes(key)+":*", n.many+":list:*")
	for _, c := range t.Columns {
		if !c.Sent {
			continue
		}
		switch name := snake(c.Name); {
		case slices.Contains(owners, name):
			out.guesses = append(out.guesses, "dashboard:"+rule.FormatPlaceholder(c.Name))
		case slices.Contains(born, name) && (c.Type == "date" || strings.HasPrefix(c.Type, "timestamp")):
			hole := strings.TrimSuffix(rule.FormatPlaceholder(c.Name), "}") + "|date:2006-01-02}"
			out.guesses = append(out.guesses, n.many+":metrics:"+hole)
		}
	}
}

func (out *draft) add(target, comment string) {
	if !slices.ContainsFunc(out.targets, func(l line) bool { return l.target == target }) {
		out.targets = append(out.targets, line{target, comment})
	}
}

func (out *draft) config() rule.Config {
	c := rule.Config{Table: rule.FormatTable(out.table.Name)}
	for _, l := range out.targets {
		c.Invalidate = append(c.Invalidate, l.target)
	}
	return c
}

// holes are the columns' placeholders, as a part of a key.
func holes(columns []string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = rule.FormatPlaceholder(c)
	}
	return strings.Join(parts, ":")
}

// labels are the columns' names, as a part of a key.
func labels(columns []string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = snake(c)
	}
	return strings.Join(parts, ":")
}

// words writes a noun for a comment.
func words(noun string) string { return strings.ReplaceAll(noun, "_", " ") }

// same reports whether both lists have the same columns, in any order.
func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
