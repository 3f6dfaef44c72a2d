package rule

import (
	"unsafe"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Evaluator turns messages into targets, deduplicated over everything added
// since Reset. One goroutine uses it.
type Evaluator struct {
	set      *Set
	result   Result
	keys     map[string]struct{}
	patterns map[string]struct{}
	tags     map[string]struct{}
	warms    map[warmID]warmSeen
	asked    map[string]struct{}
	arena    arena
	trace    func(step) // for Explain; nil otherwise

	// Of the message being added.
	m    *cdc.Message
	plan *tablePlan
	ids  []bool // which of the plan's columns the replica identity has

	// Of the change being added.
	index  int
	change *cdc.Change
	rows   rows
	wide   bool
	lost   bool // for want of an old value that was there when the rules were compiled
	serial int  // numbers the changes, to tell tasks of one change from older ones

	// Of the rule being evaluated.
	rule    *compiledRule
	answers [2]answer // to the lookup of the old and the new image
	lookups LookupResults

	text []byte // scratch: the target being rendered
	args []string
}

type warmID struct {
	rule, warm int
	key        string
}

type warmSeen struct{ index, serial int }

// keptSize is the number of distinct targets up to which the maps are emptied
// on Reset instead of replaced: emptying costs what the map could hold.
const keptSize = 1 << 14

// Evaluator returns an evaluator for one goroutine.
func (s *Set) Evaluator() *Evaluator {
	e := &Evaluator{set: s, result: Result{ByRule: make([]Count, len(s.rules))}}
	e.Reset()
	return e
}

// Reset forgets everything that was added.
func (e *Evaluator) Reset() {
	e.keys, e.patterns, e.tags = emptied(e.keys), emptied(e.patterns), emptied(e.tags)
	e.asked, e.warms = emptied(e.asked), emptied(e.warms)
	r := &e.result
	clear(r.ByRule)
	clear(r.Keys)
	clear(r.Patterns)
	clear(r.Tags)
	clear(r.Warm)
	clear(r.RowErrors)
	*r = Result{
		Keys: r.Keys[:0], Patterns: r.Patterns[:0], Tags: r.Tags[:0], Warm: r.Warm[:0],
		RowErrors: r.RowErrors[:0], ByRule: r.ByRule,
	}
	e.arena.next()
}

func emptied[K comparable, V any](m map[K]V) map[K]V {
	if m == nil || len(m) > keptSize {
		return make(map[K]V)
	}
	clear(m)
	return m
}

// Result returns what everything added since Reset invalidates.
func (e *Evaluator) Result() *Result { return &e.result }

// Add evaluates m. A row that cannot be evaluated exactly is widened; what
// should not have happened is recorded in RowErrors besides. lookups answers
// what Lookups asked for.
func (e *Evaluator) Add(m *cdc.Message, lookups LookupResults) {
	e.result.Changes += len(m.Changes)
	if !e.begin(m) {
		return
	}
	e.lookups = lookups
	for i := range m.Changes {
		c := &m.Changes[i]
		e.index, e.change, e.wide, e.lost = i, c, false, false
		e.serial++
		switch c.Op {
		case cdc.Insert, cdc.Update, cdc.Delete:
			e.rows.read(e.plan, e.ids, c)
			for _, r := range e.plan.rules {
				e.evaluate(r)
			}
		default:
			// Truncate, bulk, and whatever a later version may send: no row to
			// render from.
			for _, r := range e.plan.rules {
				e.cover(r, c.Op)
			}
		}
		if e.wide {
			e.result.Widened++
		}
		if e.lost {
			e.result.LostOld++
		}
	}
	e.m, e.change, e.lookups = nil, nil, nil
}

// begin prepares for m's table; false when no rule is about it.
func (e *Evaluator) begin(m *cdc.Message) bool {
	e.m = m
	e.plan = e.set.tables[cdc.TableName{Schema: m.Schema, Table: m.Table}]
	if e.plan == nil {
		return false
	}
	e.ids = e.ids[:0]
	for _, column := range e.plan.columns {
		has := false
		for _, key := range m.Key {
			has = has || key == column
		}
		e.ids = append(e.ids, has)
	}
	return true
}

// evaluate renders a rule's targets for one row change.
func (e *Evaluator) evaluate(r *compiledRule) {
	op := e.change.Op
	e.rule = r
	if !r.counts(op) {
		e.note(step{verdict: skippedOp})
		return
	}
	if op == cdc.Update && len(r.changed) > 0 && !e.rows.anyChanged(r.changed) {
		e.note(step{verdict: skippedChanged})
		return
	}
	if r.lookup != nil {
		e.ask(r)
	}
	for _, t := range r.targets {
		e.target(t, nil)
	}
	for _, w := range r.warm {
		e.target(w.key, w)
	}
}

// target renders a target from every image that the change has.
func (e *Evaluator) target(t *target, w *warm) {
	first := newImage
	switch e.change.Op {
	case cdc.Insert:
		if t.pinOld {
			e.note(step{target: t, warm: w, verdict: skippedOld})
			return
		}
	case cdc.Delete:
		if t.pinNew {
			e.note(step{target: t, warm: w, verdict: skippedNew})
			return
		}
		first = oldImage
	}
	e.combine(t, w, first)
	if e.change.Op == cdc.Update && t.floating && !e.sameImages(t) {
		e.combine(t, w, oldImage)
	}
}

// sameImages reports whether the old image renders what the new one does.
func (e *Evaluator) sameImages(t *target) bool {
	for i := range t.parts {
		p := &t.parts[i]
		if p.name == "" || p.image != anyImage {
			continue
		}
		if e.fromLookup(p) {
			if !e.answers[0].same {
				return false
			}
			continue
		}
		if !e.rows.same(p.column) && !(p.fixed && e.rows.old[p.column].state == unknownOld) {
			return false
		}
	}
	return true
}

// cover adds the coverage of a rule's targets.
func (e *Evaluator) cover(r *compiledRule, op cdc.Op) {
	e.rule = r
	if op == cdc.Truncate && !r.counts(op) {
		e.note(step{verdict: skippedOp})
		return
	}
	for _, t := range r.targets {
		e.add(t.coverage)
		e.note(step{target: t, verdict: covered, kind: t.coverage.Kind, text: t.coverage.Text})
	}
}

// Widen adds the whole coverage of a table, for a message that cannot be
// decoded, or of every rule for a zero name.
func (e *Evaluator) Widen(table cdc.TableName) {
	targets := e.set.Coverage(table)
	if table == (cdc.TableName{}) {
		targets = e.set.CoverageAll()
	}
	for _, t := range targets {
		e.add(t)
	}
}

// add records a target.
func (e *Evaluator) add(t Target) {
	e.text = append(e.text[:0], t.Text...)
	e.emit(t.Kind, t.Rule)
}

// emit records e.text as a target.
func (e *Evaluator) emit(kind TargetKind, rule int) {
	count := &e.result.ByRule[rule]
	switch kind {
	case KeyTarget:
		count.Keys++
		e.result.Keys = e.once(e.keys, e.result.Keys)
	case PatternTarget:
		count.Patterns++
		e.result.Patterns = e.once(e.patterns, e.result.Patterns)
	case TagTarget:
		count.Tags++
		e.result.Tags = e.once(e.tags, e.result.Tags)
	case TagPattern:
		count.Tags++
		e.result.AllTags = true
	}
}

// once appends e.text to list unless seen has it.
func (e *Evaluator) once(seen map[string]struct{}, list []string) []string {
	if _, ok := seen[string(e.text)]; ok {
		return list
	}
	text := e.arena.keep(e.text)
	seen[text] = struct{}{}
	return append(list, text)
}

func (e *Evaluator) fail(reason string) {
	table := e.plan.table
	if n := len(e.result.RowErrors); n > 0 {
		last := &e.result.RowErrors[n-1]
		if last.Index == e.index && last.Rule == e.rule.name && last.Reason == reason && last.Table == table {
			return
		}
	}
	e.result.RowErrors = append(e.result.RowErrors, RowError{Table: table, Rule: e.rule.name, Reason: reason, Index: e.index})
}

func (e *Evaluator) note(s step) {
	if e.trace != nil {
		s.rule = e.rule
		e.trace(s)
	}
}

// arena keeps strings in large blocks: one allocation for thousands of keys.
// Blocks are never written again, so that a string stays valid for as long as
// somebody holds it.
type arena struct{ block []byte }

const arenaBlock = 32 << 10

// next starts anew in what is left of the block.
func (a *arena) next() { a.block = a.block[len(a.block):] }

func (a *arena) keep(text []byte) string {
	if len(text) > arenaBlock/4 {
		return string(text)
	}
	if cap(a.block)-len(a.block) < len(text) {
		a.block = make([]byte, 0, arenaBlock)
	}
	start := len(a.block)
	a.block = append(a.block, text...)
	kept := a.block[start:len(a.block):len(a.block)]
	return unsafe.String(unsafe.SliceData(kept), len(kept))
}
