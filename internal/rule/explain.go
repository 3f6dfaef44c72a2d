package rule

import (
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Explanation says what one rule makes of a change, and why.
type Explanation struct {
	Rule     string `json:"rule"`
	Kind     string `json:"kind"` // key, pattern, tag, warm, none
	Target   string `json:"target,omitempty"`
	Template string `json:"template,omitempty"`
	Why      string `json:"why"`
}

// verdict is what became of a target.
type verdict uint8

const (
	exact verdict = iota
	widened
	covered
	skippedOp
	skippedChanged
	skippedOld
	skippedNew
	skippedNull
	skippedReserved
)

// step is one thing that an evaluator did, for Explain.
type step struct {
	rule    *compiledRule
	target  *target // nil when the whole rule was skipped
	warm    *warm
	image   image
	verdict verdict
	kind    TargetKind
	text    string
	why     []string
}

// Explain evaluates one message as an Evaluator does and says why each target
// came out, or why none did.
func (s *Set) Explain(m *cdc.Message, lookups LookupResults) []Explanation {
	table := cdc.TableName{Schema: m.Schema, Table: m.Table}
	if s.tables[table] == nil {
		return []Explanation{{Kind: "none", Why: "no rule is about table " + formatTable(table)}}
	}
	e := s.Evaluator()
	var all []Explanation
	e.trace = func(st step) {
		if st.warm == nil {
			all = append(all, e.explain(st))
		}
	}
	e.Add(m, lookups)
	for _, task := range e.Result().Warm {
		w := s.rules[task.Rule].warm[task.Warm]
		why := "refilled if it was cached"
		if w.Only == OnlyAlways {
			why = "refilled whether it was cached or not"
		}
		all = append(all, Explanation{Rule: w.Rule, Kind: "warm", Target: task.Key, Template: w.WarmQuery.Key, Why: why})
	}
	return all
}

func (e *Evaluator) explain(st step) Explanation {
	x := Explanation{Rule: st.rule.name, Kind: "none"}
	if st.target != nil {
		x.Template = st.target.text
	}
	switch op := e.change.Op; st.verdict {
	case skippedOp:
		x.Why = fmt.Sprintf("the rule counts %s, and this is %s", joinOps(st.rule.ops), article(op))
	case skippedChanged:
		x.Why = "updates count only when one of " + strings.Join(e.columnNames(st.rule.changed), ", ") + " changed, and none did"
	case skippedOld:
		x.Why = "an insert has no old row"
	case skippedNew:
		x.Why = "a delete has no new row"
	case skippedNull:
		x.Why = "a value is NULL in " + e.describe(st) + ": no such " + st.target.kind.String()
	case skippedReserved:
		x.Why = "the key would be one of Freshet's own"
	case covered:
		x.Kind, x.Target = st.kind.String(), st.text
		x.Why = article(op) + " does not say which rows: every placeholder is *"
	case widened:
		x.Kind, x.Target = st.kind.String(), st.text
		x.Why = "from " + e.describe(st) + ", widened: " + strings.Join(st.why, "; ")
	default:
		x.Kind, x.Target = st.kind.String(), st.text
		x.Why = "from " + e.describe(st)
	}
	if st.kind == TagPattern {
		x.Why += "; the epoch of all tags is raised"
	}
	return x
}

// describe says which image a target was rendered from.
func (e *Evaluator) describe(st step) string {
	switch {
	case !st.target.columns:
		return "the change itself: it names no column"
	case !st.target.floating && st.target.pinOld && st.target.pinNew:
		return "the old and the new row"
	case !st.target.floating && st.target.pinOld, st.image == oldImage:
		return "the old row"
	case e.change.Op == cdc.Update && st.target.floating && e.sameImages(st.target):
		return "the new row, as from the old one"
	default:
		return "the new row"
	}
}

// whyUnknown says why a placeholder was widened.
func (e *Evaluator) whyUnknown(p *part, s state, img image) string {
	if p.image != anyImage {
		img = p.image
	}
	switch s {
	case unknownOld:
		return "the old value of " + p.name + " is not in the table's replica identity"
	case unknownToast:
		return p.name + " is stored out of line, did not change and was not sent"
	case missing:
		return "the message has no column " + p.name
	case unknownLookup:
		if why := e.answers[img-oldImage].why; why != "" {
			return why
		}
		return "the lookup's result has no column " + p.name
	default:
		return "a filter of " + p.hole + " cannot read its value"
	}
}

func (e *Evaluator) columnNames(slots []int) []string {
	names := make([]string, len(slots))
	for i, slot := range slots {
		names[i] = e.plan.columns[slot]
	}
	return names
}

func joinOps(ops []cdc.Op) string {
	words := make([]string, len(ops))
	for i, op := range ops {
		words[i] = string(op)
	}
	return strings.Join(words, ", ")
}

func article(op cdc.Op) string {
	if op == cdc.Insert || op == cdc.Update {
		return "an " + string(op)
	}
	if op == cdc.Bulk {
		return "a bulk change"
	}
	return "a " + string(op)
}
