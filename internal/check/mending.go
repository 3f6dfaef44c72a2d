package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// mending finds every statement that makes the tables support the rules. The
// compiler names one leaf of a table at a time, so each statement is carried
// out on a copy of what the catalog says, and the rules are compiled again,
// until nothing is left to mend.
type mending struct {
	compile func(rule.Schema) Compiled
	tables  map[cdc.TableName]*catalog.Table // with everything mended
	// found holds what must be mended, by table.
	found map[cdc.TableName]*finding
	// later says for partitioned tables what would be wrong with a new
	// partition that has the primary key as its identity.
	later    map[cdc.TableName]string
	left     []Mistake // not mended by an identity
	warnings []Mistake
}

type finding struct {
	messages []string
	remedy   string
	sql      []string
}

func newMending(all map[cdc.TableName]*catalog.Table, compile func(rule.Schema) Compiled) *mending {
	m := &mending{
		compile: compile, tables: clone(all),
		found: make(map[cdc.TableName]*finding), later: make(map[cdc.TableName]string),
	}
	for first := true; ; first = false {
		compiled := compile(Schema(m.tables))
		if first {
			m.warnings = compiled.Warnings
		}
		m.left = nil
		progress := false
		for _, mistake := range compiled.Mistakes {
			name, changed, ok := carryOut(m.tables, statement(mistake.SQL))
			if !ok {
				m.left = append(m.left, mistake)
				continue
			}
			progress = progress || changed
			m.note(name, mistake, first)
		}
		if !progress {
			break
		}
	}
	m.lookAhead()
	return m
}

func (m *mending) note(name cdc.TableName, mistake Mistake, first bool) {
	f := m.found[name]
	if f == nil {
		f = &finding{remedy: remedyBesides(mistake)}
		m.found[name] = f
	}
	// Later rounds repeat the same about the next leaf.
	if message := mistake.Where + ": " + mistake.Message; first && !slices.Contains(f.messages, message) || len(f.messages) == 0 {
		f.messages = append(f.messages, message)
	}
	if sql := statement(mistake.SQL); !slices.Contains(f.sql, sql) {
		f.sql = append(f.sql, sql)
	}
}

// remedyBesides is the remedy without the statement, which stands on a line
// of its own.
func remedyBesides(m Mistake) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(m.Remedy, "run: "), m.SQL)
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(rest), ";"), ","))
}

// carryOut applies an ALTER TABLE … REPLICA IDENTITY to the copy. ok is false
// for any other statement.
func carryOut(tables map[cdc.TableName]*catalog.Table, sql string) (name cdc.TableName, changed, ok bool) {
	for tableName, t := range tables {
		for _, r := range t.Relations() {
			setting, found := strings.CutPrefix(sql, "ALTER TABLE "+catalog.Quote(r.Name)+" REPLICA IDENTITY ")
			if !found {
				continue
			}
			// A leaf stands under its root, which the rules name, and under its
			// own name too.
			if !ok || !t.Partition {
				name = tableName
			}
			ok = true
			if identity := identityAfter(r, setting); identity.String() != r.Identity.String() {
				r.Identity, changed = identity, true
			}
		}
	}
	return name, changed, ok
}

func identityAfter(r *catalog.Relation, setting string) catalog.Identity {
	switch {
	case setting == "FULL":
		return catalog.Identity{Kind: catalog.IdentityFull}
	case setting == "DEFAULT":
		return catalog.Identity{Kind: catalog.IdentityDefault, Columns: r.PrimaryKey}
	}
	for _, index := range r.Unique {
		if setting == "USING INDEX "+catalog.QuoteIdent(index.Name) {
			return catalog.Identity{Kind: catalog.IdentityIndex, Columns: index.Columns, Index: index.Name}
		}
	}
	return r.Identity
}

// lookAhead compiles the rules for partitioned tables as they will be when a
// partition is added: its identity is the primary key, whatever the others have.
func (m *mending) lookAhead() {
	for name, t := range m.tables {
		if t.Kind != catalog.Partitioned || len(t.PrimaryKey) == 0 {
			continue
		}
		future := maps.Clone(m.tables)
		then := *t
		then.Descendants = []*catalog.Relation{{
			Name: t.Name, Kind: catalog.Ordinary, Logged: true, PrimaryKey: t.PrimaryKey,
			Identity: catalog.Identity{Kind: catalog.IdentityDefault, Columns: t.PrimaryKey},
		}}
		future[name] = &then
		for _, mistake := range m.compile(Schema(future)).Mistakes {
			if mistake.SQL != "" && strings.HasPrefix(mistake.SQL, "ALTER TABLE "+catalog.Quote(name)+" REPLICA IDENTITY ") {
				m.later[name] = mistake.Where + ": " + mistake.Message
				break
			}
		}
	}
}

// clone copies tables as deep as identities are changed.
func clone(all map[cdc.TableName]*catalog.Table) map[cdc.TableName]*catalog.Table {
	out := make(map[cdc.TableName]*catalog.Table, len(all))
	for name, t := range all {
		c := *t
		c.Descendants = make([]*catalog.Relation, len(t.Descendants))
		for i, d := range t.Descendants {
			relation := *d
			c.Descendants[i] = &relation
		}
		out[name] = &c
	}
	return out
}
