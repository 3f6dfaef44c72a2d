package check

import (
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// Schema presents tables to the compiler of rules.
func Schema(tables map[cdc.TableName]*catalog.Table) rule.Schema {
	s := schema{tables: make(map[cdc.TableName]*rule.Table, len(tables))}
	for name, t := range tables {
		s.tables[name] = ruleTable(t)
		if !t.Partition {
			// A partition may be named, but is not what anybody meant to type.
			s.names = append(s.names, name)
		}
	}
	slices.SortFunc(s.names, func(a, b cdc.TableName) int {
		if c := strings.Compare(a.Schema, b.Schema); c != 0 {
			return c
		}
		return strings.Compare(a.Table, b.Table)
	})
	return s
}

type schema struct {
	tables map[cdc.TableName]*rule.Table
	names  []cdc.TableName
}

var _ rule.Schema = schema{}

// Table describes a table.
func (s schema) Table(schemaName, name string) (*rule.Table, bool) {
	t, ok := s.tables[cdc.TableName{Schema: schemaName, Table: name}]
	return t, ok
}

// Tables lists the tables that are no partitions.
func (s schema) Tables() []cdc.TableName { return s.names }

// ruleTable describes a table with the identity that all its leaves support.
func ruleTable(t *catalog.Table) *rule.Table {
	weakest, by := t.Weakest()
	out := &rule.Table{
		Schema: t.Name.Schema, Name: t.Name.Table,
		Identity: identityOf(weakest, by), PrimaryKey: t.PrimaryKey,
		Partitioned: t.Kind == catalog.Partitioned,
	}
	if by.Name != t.Name {
		// Quoted, so that a name with a dot in it reads back as what it is.
		out.Leaf = catalog.Quote(by.Name)
	}
	sent := make(map[string]bool, len(t.Columns))
	for _, c := range t.Columns {
		sent[c.Name] = c.Sent
		out.Columns = append(out.Columns, rule.Column{
			Name: c.Name, Type: c.Type, NotNull: c.NotNull, Generated: c.Generated != catalog.NotGenerated, Sent: c.Sent,
		})
	}
	// The old image lacks what the new one lacks.
	for _, c := range weakest.Columns {
		if weakest.Kind != catalog.IdentityFull && sent[c] {
			out.IdentityColumns = append(out.IdentityColumns, c)
		}
	}
	for _, i := range t.Unique {
		out.Unique = append(out.Unique, rule.Index{Name: i.Name, Columns: i.Columns})
	}
	return out
}

func identityOf(i catalog.Identity, by *catalog.Relation) string {
	switch {
	case !i.Usable() && !by.Identity.Usable():
		return rule.IdentityNothing
	case i.Kind == catalog.IdentityFull:
		return rule.IdentityFull
	case i.Kind == catalog.IdentityIndex:
		return rule.IdentityIndex
	}
	return rule.IdentityDefault
}
