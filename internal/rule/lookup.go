package rule

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Lookup is a query that a message needs before it can be evaluated.
type Lookup struct {
	Rule int
	SQL  string   // with $1, $2, … for Args
	Args []string // in text form
	Null []bool   // which of Args are NULL; nil for none
}

// Key returns a text that is equal for lookups with the same answer.
func (l Lookup) Key() string { return string(l.appendKey(nil)) }

func (l Lookup) appendKey(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(l.Rule))
	for i, arg := range l.Args {
		if l.Null != nil && l.Null[i] {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(arg))+1)
		dst = append(dst, arg...)
	}
	return dst
}

// LookupResults answers lookups: rows of named text columns.
type LookupResults interface {
	// Rows returns the rows that l found. An error widens the row that needed
	// them: return one only when asking again cannot help.
	Rows(l Lookup) (rows []cdc.Row, err error)
}

// answer is what a lookup says of one image.
type answer struct {
	rows []cdc.Row
	// why is set when the lookup could not tell: its columns are widened.
	why string
	// null is set when the parameters are NULL and can match no row: there is
	// nothing to invalidate that depends on it.
	null bool
	// same is set on the old image's answer when it is the new one's.
	same bool
}

// Lookups appends the lookups that m needs and that have not been asked for
// since Reset.
func (e *Evaluator) Lookups(m *cdc.Message, dst []Lookup) []Lookup {
	if !e.begin(m) || !slices.ContainsFunc(e.plan.rules, func(r *compiledRule) bool { return r.lookup != nil }) {
		return dst
	}
	for i := range m.Changes {
		c := &m.Changes[i]
		if c.Op != cdc.Insert && c.Op != cdc.Update && c.Op != cdc.Delete {
			continue
		}
		e.change = c
		e.rows.read(e.plan, e.ids, c)
		for _, r := range e.plan.rules {
			if r.lookup == nil || !r.counts(c.Op) ||
				c.Op == cdc.Update && len(r.changed) > 0 && !e.rows.anyChanged(r.changed) {
				continue
			}
			for _, img := range imagesOf(c.Op) {
				l, ok := e.lookup(r, img)
				if !ok {
					continue
				}
				e.text = l.appendKey(e.text[:0])
				if _, asked := e.asked[string(e.text)]; asked {
					continue
				}
				e.asked[string(e.text)] = struct{}{}
				l.Args = cloneTexts(l.Args)
				dst = append(dst, l)
			}
		}
	}
	e.change = nil
	return dst
}

// cloneTexts copies texts out of the message's buffer, which they may outlive.
func cloneTexts(texts []string) []string {
	clones := make([]string, len(texts))
	for i, text := range texts {
		clones[i] = strings.Clone(text)
	}
	return clones
}

func imagesOf(op cdc.Op) []image {
	switch op {
	case cdc.Insert:
		return []image{newImage}
	case cdc.Delete:
		return []image{oldImage}
	default:
		return []image{newImage, oldImage}
	}
}

// lookup returns the lookup of one image; false when a parameter is unknown.
// Its Args are valid until the next call.
func (e *Evaluator) lookup(r *compiledRule, img image) (Lookup, bool) {
	l := Lookup{Rule: r.index, SQL: r.lookup.sql}
	var ok bool
	e.args, l.Null, ok = e.bindArgs(e.args[:0], r.params, img, nil, nil)
	l.Args = e.args
	return l, ok
}

// ask gets the answers that the rule needs of the change.
func (e *Evaluator) ask(r *compiledRule) {
	e.answers = [2]answer{}
	var newKey []byte
	for _, img := range imagesOf(e.change.Op) {
		a := &e.answers[img-oldImage]
		l, ok := e.lookup(r, img)
		if !ok {
			a.why = "a parameter of the lookup is not known"
			continue
		}
		if e.change.Op == cdc.Update {
			e.text = l.appendKey(e.text[:0])
			if img == newImage {
				newKey = append(newKey, e.text...)
			} else if string(e.text) == string(newKey) {
				*a = e.answers[newImage-oldImage]
				a.same = true
				continue
			}
		}
		if e.lookups == nil {
			a.why = "no lookup was made"
			e.fail("lookup: no result")
			continue
		}
		rows, err := e.lookups.Rows(l)
		switch {
		case err != nil:
			a.why = "the lookup failed"
			e.fail("lookup: " + err.Error())
		case len(rows) == 0 && r.lookup.strict && allNull(l):
			a.null = true
		case len(rows) == 0:
			a.why = "the lookup found no row"
		default:
			a.rows = rows
		}
	}
}

func allNull(l Lookup) bool {
	return len(l.Null) > 0 && !slices.Contains(l.Null, false)
}

// fromLookup reports whether a placeholder's value comes from the lookup.
// Without a schema both may have the column: the row's own value wins.
func (e *Evaluator) fromLookup(p *part) bool {
	if !p.lookup {
		return false
	}
	if p.column < 0 {
		return true
	}
	if e.change.Op == cdc.Delete {
		return e.rows.old[p.column].state >= unknownOld
	}
	return e.rows.new[p.column].state == missing
}
