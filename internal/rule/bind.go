package rule

import (
	"slices"
	"strings"
)

// target is a template bound to the columns of its table and lookup.
type target struct {
	text    string // as written
	kind    TargetKind
	index   int // in the rule's list: the targets of invalidate, then those of tags
	parts   []part
	pattern bool
	// coverage is the target with every placeholder replaced by "*".
	coverage Target
	// guard is set when a value could complete the literal prefix to a
	// reserved name.
	guard bool
	// What the placeholders refer to.
	columns  bool // any at all
	floating bool // some follow the image that is rendered
	pinOld   bool
	pinNew   bool
	lookup   bool
}

// part is a piece of a bound template or a parameter of a query.
type part struct {
	literal string // for a key
	escaped string // for a pattern: the literal escaped, or a glob
	column  int    // index into the table's plan; -1 for none
	name    string // of a column; "" for a literal
	typ     string // of the table's column, as regtype prints it; "" where it is not known
	lookup  bool   // the lookup has the column, or (without a schema) may have it
	fixed   bool   // declared immutable by the rule
	image   image
	filters []filter
	hole    string // as a template would write it, for messages
}

// finish computes what follows from the parts.
func (t *target) finish(rule int) {
	for i := range t.parts {
		p := &t.parts[i]
		if p.name == "" {
			continue
		}
		t.columns = true
		t.lookup = t.lookup || p.lookup
		switch p.image {
		case oldImage:
			t.pinOld = true
		case newImage:
			t.pinNew = true
		default:
			t.floating = true
		}
	}
	if !t.columns && !t.pattern {
		t.coverage = Target{Kind: t.kind, Text: t.literal(), Rule: rule}
	} else {
		kind := PatternTarget
		if t.kind == TagTarget {
			kind = TagPattern
		}
		text := appendWide(nil, t.parts, func(dst []byte, _ *part) []byte { return appendStar(dst) })
		t.coverage = Target{Kind: kind, Text: string(text), Rule: rule}
	}
	if len(t.parts) > 0 && t.columns {
		prefix := t.parts[0].literal
		t.guard = strings.HasPrefix(reservedPrefix, prefix)
	}
}

// determines reports whether a key says what value a parameter had when the key was
// rendered. A task may be acted on after its row has changed again: only then does
// it still ask for what belongs under its key.
func (t *target) determines(arg *part) bool {
	return arg.fixed || slices.ContainsFunc(t.parts, func(p part) bool {
		return p.name == arg.name && p.lookup == arg.lookup && p.image == arg.image && p.tells(arg)
	})
}

// tells reports whether what the key shows of a column fits one value only of a
// parameter that is the same column.
func (p *part) tells(arg *part) bool {
	same := func(a, b filter) bool { return a.name == b.name && a.arg == b.arg }
	if slices.EqualFunc(p.filters, arg.filters, same) {
		return true
	}
	return !slices.ContainsFunc(p.filters, func(f filter) bool {
		switch f.name {
		case "urlencode", "sha1", "sha256":
			return false // another value shows as another
		}
		return true
	})
}

func (t *target) literal() string {
	var b strings.Builder
	for i := range t.parts {
		b.WriteString(t.parts[i].literal)
	}
	return b.String()
}

// appendWide renders parts as a glob, with value writing the placeholders.
func appendWide(dst []byte, parts []part, value func([]byte, *part) []byte) []byte {
	for i := range parts {
		switch p := &parts[i]; {
		case p.name != "":
			dst = value(dst, p)
		case p.escaped == "*":
			dst = appendStar(dst)
		default:
			dst = append(dst, p.escaped...)
		}
	}
	return dst
}

// appendStar appends "*", unless the glob ends in one already.
func appendStar(dst []byte) []byte {
	if n := len(dst); n > 0 && dst[n-1] == '*' {
		escapes := 0
		for i := n - 2; i >= 0 && dst[i] == '\\'; i-- {
			escapes++
		}
		if escapes%2 == 0 {
			return dst
		}
	}
	return append(dst, '*')
}

// appendEscaped appends text so that a glob matches exactly it.
func appendEscaped(dst []byte, text string) []byte {
	for i := range len(text) {
		switch c := text[i]; c {
		case '*', '?', '[', ']', '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
