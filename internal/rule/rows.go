package rule

import "github.com/freshet-dev/freshet/internal/cdc"

// state says what is known of a value.
type state uint8

const (
	known         state = iota
	null                // known to be NULL
	unknownOld          // the old image does not carry it
	unknownToast        // stored out of line, not changed and not sent
	missing             // the message has no such column
	unknownLookup       // the lookup could not tell; answer.why says why
)

// value is a column's value in one image.
type value struct {
	state state
	text  string
}

func valueOf(v cdc.Value) value {
	if v.Kind == cdc.Null {
		return value{state: null}
	}
	return value{state: known, text: v.Text}
}

// rows is what is known of a row before and after its change, by the columns
// of its table's plan.
type rows struct {
	old, new  []value
	unchanged []bool // the column is known not to have changed
}

// read fills rows from a change. ids says which columns the replica identity
// of the message has.
func (r *rows) read(plan *tablePlan, ids []bool, c *cdc.Change) {
	n := len(plan.columns)
	if cap(r.old) < n {
		r.old, r.new, r.unchanged = make([]value, n), make([]value, n), make([]bool, n)
	}
	r.old, r.new, r.unchanged = r.old[:n], r.new[:n], r.unchanged[:n]
	for i, column := range plan.columns {
		switch c.Op {
		case cdc.Insert:
			r.new[i] = newValue(c, column, i)
		case cdc.Delete:
			r.old[i] = deletedValue(c, column, ids[i])
		default:
			r.new[i], r.old[i], r.unchanged[i] = updatedValues(c, column, i, ids[i])
		}
	}
}

// newValue finds a column in the new image; hint is where it probably is.
func newValue(c *cdc.Change, column string, hint int) value {
	if hint < len(c.New) && c.New[hint].Name == column {
		return valueOf(c.New[hint].Value)
	}
	if v, ok := c.New.Get(column); ok {
		return valueOf(v)
	}
	if isUnchanged(c, column) {
		return value{state: unknownToast}
	}
	return value{state: missing}
}

func isUnchanged(c *cdc.Change, column string) bool {
	for _, name := range c.Unchanged {
		if name == column {
			return true
		}
	}
	return false
}

func deletedValue(c *cdc.Change, column string, inKey bool) value {
	if v, ok := c.Old.Get(column); ok {
		return valueOf(v)
	}
	if c.OldKnown == cdc.OldFull || c.OldKnown == cdc.OldKey && inKey {
		return value{state: missing} // it should have been there
	}
	return value{state: unknownOld}
}

// updatedValues finds a column in both images of an update. unchanged is true
// only when it is certain.
func updatedValues(c *cdc.Change, column string, hint int, inKey bool) (after, before value, unchanged bool) {
	after = newValue(c, column, hint)
	if v, ok := c.Old.Get(column); ok {
		before = valueOf(v)
		if after.state == unknownToast {
			after = before // not changed: the old value is the new one
		}
		return after, before, after == before
	}
	switch {
	case after.state == unknownToast:
		return after, after, true // both unknown, and equal
	case after.state == missing:
		return after, after, false
	case c.OldKnown == cdc.OldFull, c.OldKnown == cdc.OldKey && inKey:
		return after, after, true
	}
	return after, value{state: unknownOld}, false
}

// same reports whether both images of an update are known to have the same
// value in a column, so that rendering one is enough.
func (r *rows) same(column int) bool { return r.unchanged[column] }

// anyChanged reports whether one of the columns changed, or may have changed.
func (r *rows) anyChanged(columns []int) bool {
	for _, i := range columns {
		if !r.unchanged[i] {
			return true
		}
	}
	return false
}
