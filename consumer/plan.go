package consumer

import (
	"fmt"
	"slices"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// plan is how the rows of one relation become changes of one table. It is made
// when the relation is described and used for every row.
type plan struct {
	table *openTable
	// shape is the first plan of the table whose changes may share a message
	// with this one's: partitions of one table have one shape as a rule, also
	// when their columns stand in another order.
	shape  *plan
	width  int // columns in a tuple of the relation
	fields []planField
	key    []string // published columns of the identity, sorted, for Message.Key
	// insert, update, del and truncate say which operations are published.
	insert, update, del, truncate bool
}

// planField is a published column.
type planField struct {
	index int // in the tuple
	key   bool
	name  string
	field cdc.Field
}

// newPlan makes the plan for a relation whose rows are published as those of
// t. A column that is needed and that the relation has not is absent, and the
// rules widen.
func newPlan(r *pgoutput.Relation, t *openTable, leaf bool, encoding func(uint32) cdc.Encoding) *plan {
	p := &plan{
		table: t, width: len(r.Columns),
		insert: t.wants(cdc.Insert), update: t.wants(cdc.Update),
		del: t.wants(cdc.Delete), truncate: t.wants(cdc.Truncate),
	}
	if leaf && p.update {
		// An UPDATE that moves a row to another partition arrives as a DELETE
		// from the one and an INSERT into the other.
		p.insert, p.del = true, true
	}
	// With FULL every column is flagged as part of the identity. It is not a
	// key then: it names no row once the row has changed.
	keyed := r.Identity == pgoutput.IdentityDefault || r.Identity == pgoutput.IdentityIndex
	for i, c := range r.Columns {
		if !t.all && !t.columns[c.Name] {
			continue
		}
		f := planField{index: i, key: keyed && c.Key, name: c.Name, field: cdc.NewField(c.Name, encoding(c.Type))}
		p.fields = append(p.fields, f)
		if f.key {
			p.key = append(p.key, c.Name)
		}
	}
	slices.Sort(p.key)
	return p
}

// same reports whether changes written by p and q may share a message, which
// has one key. All else is told by each change.
func (p *plan) same(q *plan) bool { return p.table == q.table && slices.Equal(p.key, q.key) }

// known is what an old image of the given kind tells of the published columns.
// A row that came without one has kept its key.
func (p *plan) known(kind pgoutput.OldKind) cdc.OldKnown {
	switch {
	case kind == pgoutput.OldFull:
		return cdc.OldFull
	case len(p.key) > 0:
		return cdc.OldKey
	}
	return cdc.OldNone
}

// check reports a tuple that does not fit the relation.
func (p *plan) check(t pgoutput.Tuple) error {
	if len(t) != p.width {
		return fmt.Errorf("row of %s has %d columns, its relation %d", p.table.name, len(t), p.width)
	}
	for i := range p.fields {
		if t[p.fields[i].index].Kind == pgoutput.Binary {
			return fmt.Errorf("row of %s: column %s was sent in binary form, which was not asked for", p.table.name, p.fields[i].name)
		}
	}
	return nil
}

// size is the number of bytes that the published columns of a tuple hold.
func (p *plan) size(t pgoutput.Tuple) int {
	n := 0
	for i := range p.fields {
		n += len(t[p.fields[i].index].Data)
	}
	return n
}

// writeNew writes an inserted row. A column that was not sent, which cannot be
// in an insert, is named as unchanged.
func (p *plan) writeNew(b *cdc.Builder, t pgoutput.Tuple) {
	for i := range p.fields {
		f := &p.fields[i]
		switch c := &t[f.index]; c.Kind {
		case pgoutput.Null:
			b.NewNull(&f.field)
		case pgoutput.Unchanged:
			b.Unchanged(&f.field)
		default:
			b.New(&f.field, c.Data)
		}
	}
}

// writeUpdate writes the new row and the known old values that differ from it.
// It returns what is known of the old row.
func (p *plan) writeUpdate(b *cdc.Builder, m *pgoutput.Update) cdc.OldKnown {
	known := p.known(m.OldKind)
	full := known == cdc.OldFull
	sent := m.OldKind != pgoutput.OldNone
	for i := range p.fields {
		f := &p.fields[i]
		c := &m.New[f.index]
		if c.Kind == pgoutput.Unchanged && sent && (full || f.key) {
			// The value is out of line and did not change: the old row has it.
			c = &m.Old[f.index]
		}
		switch c.Kind {
		case pgoutput.Null:
			b.NewNull(&f.field)
		case pgoutput.Unchanged:
			b.Unchanged(&f.field)
		default:
			b.New(&f.field, c.Data)
		}
	}
	if !sent {
		return known
	}
	for i := range p.fields {
		f := &p.fields[i]
		if !full && !f.key {
			continue // in a key image every other column is NULL, whatever it was
		}
		before, after := &m.Old[f.index], &m.New[f.index]
		switch {
		case after.Kind == pgoutput.Unchanged:
		case before.Kind == pgoutput.Unchanged:
			// Servers send old images in line. One that did not would leave a
			// value unknown, which must not pass for unchanged (I8).
			known = cdc.OldNone
		case before.Kind != after.Kind || string(before.Data) != string(after.Data):
			writeOld(b, f, before)
		}
	}
	return known
}

// writeDelete writes all known old values.
func (p *plan) writeDelete(b *cdc.Builder, m *pgoutput.Delete) cdc.OldKnown {
	known := p.known(m.OldKind)
	for i := range p.fields {
		f := &p.fields[i]
		if known != cdc.OldFull && !f.key {
			continue
		}
		if m.Old[f.index].Kind == pgoutput.Unchanged {
			known = cdc.OldNone // as in writeUpdate
			continue
		}
		writeOld(b, f, &m.Old[f.index])
	}
	return known
}

func writeOld(b *cdc.Builder, f *planField, c *pgoutput.Column) {
	if c.Kind == pgoutput.Null {
		b.OldNull(&f.field)
	} else {
		b.Old(&f.field, c.Data)
	}
}
