package rule

import "github.com/freshet-dev/freshet/internal/cdc"

// noRow stands for the row of a lookup that could not tell.
var noRow = []cdc.Row{nil}

// combine renders a target for one image: once, or once for every row that
// the lookup found.
func (e *Evaluator) combine(t *target, w *warm, img image) {
	if !t.lookup {
		e.render(t, w, img, nil, nil)
		return
	}
	olds, news := noRow, noRow
	needed := e.lookedUp(t.parts, img)
	if w != nil {
		args := e.lookedUp(w.args, img)
		needed[0], needed[1] = needed[0] || args[0], needed[1] || args[1]
	}
	for i, rows := range [...]*[]cdc.Row{&olds, &news} {
		switch a := &e.answers[i]; {
		case !needed[i] || a.why != "":
		case a.null:
			e.null(t, w, img)
			return
		default:
			*rows = a.rows
		}
	}
	for _, before := range olds {
		for _, after := range news {
			e.render(t, w, img, before, after)
		}
	}
}

// lookedUp reports whether parts need the lookup of the old and of the new
// image, when img is rendered.
func (e *Evaluator) lookedUp(parts []part, img image) (needed [2]bool) {
	for i := range parts {
		p := &parts[i]
		if p.name == "" || !e.fromLookup(p) {
			continue
		}
		if p.image != anyImage {
			needed[p.image-oldImage] = true
		} else {
			needed[img-oldImage] = true
		}
	}
	return needed
}

// value returns a placeholder's value in the image that it refers to.
func (e *Evaluator) value(p *part, img image, before, after cdc.Row) value {
	if p.image != anyImage {
		img = p.image
	}
	if p.lookup && e.fromLookup(p) {
		row := after
		if img == oldImage {
			row = before
		}
		if row == nil {
			return value{state: unknownLookup}
		}
		if v, ok := row.Get(p.name); ok {
			return valueOf(v)
		}
		e.fail("lookup: its result has no column " + p.name)
		return value{state: unknownLookup}
	}
	if img == newImage {
		return e.rows.new[p.column]
	}
	v := e.rows.old[p.column]
	if v.state == unknownOld && p.fixed && e.change.Op == cdc.Update {
		return e.rows.new[p.column]
	}
	return v
}

// render renders a target and records it: exactly where every value is known,
// and more broadly where one is not.
func (e *Evaluator) render(t *target, w *warm, img image, before, after cdc.Row) {
	wide := false
	e.text = e.text[:0]
	for i := range t.parts {
		p := &t.parts[i]
		if p.name == "" {
			if t.pattern {
				e.text = append(e.text, p.escaped...)
			} else {
				e.text = append(e.text, p.literal...)
			}
			continue
		}
		v := e.value(p, img, before, after)
		switch {
		case v.state == null:
			e.null(t, w, img)
			return
		case wide:
			continue // only looking for NULLs
		case v.state != known:
			wide = true
			e.lost = e.lost || v.state == unknownOld && !p.fixed && !e.rule.widen
			continue
		}
		text, ok := e.filtered(p, v.text)
		switch {
		case !ok:
			wide = true
		case t.pattern:
			e.text = appendEscaped(e.text, text)
		default:
			e.text = append(e.text, text...)
		}
	}
	if wide {
		e.wide = true
		e.widened(t, w, img, before, after)
		return
	}
	if t.guard && t.kind == KeyTarget && hasReservedPrefix(e.text) {
		e.note(step{target: t, warm: w, image: img, verdict: skippedReserved})
		return
	}
	if w != nil {
		e.task(w, img, before, after)
		return
	}
	e.note(step{target: t, image: img, verdict: exact, kind: t.kind, text: e.noted()})
	e.emit(t.kind, e.rule.index)
}

// widened renders a target with "*" for what is not known.
func (e *Evaluator) widened(t *target, w *warm, img image, before, after cdc.Row) {
	var why []string
	text := appendWide(e.text[:0], t.parts, func(dst []byte, p *part) []byte {
		v := e.value(p, img, before, after)
		if v.state == known {
			if text, ok := e.filtered(p, v.text); ok {
				return appendEscaped(dst, text)
			}
		}
		if e.trace != nil {
			why = append(why, e.whyUnknown(p, v.state, img))
		}
		return appendStar(dst)
	})
	e.text = text
	kind := PatternTarget
	if t.kind == TagTarget {
		kind = TagPattern
	}
	e.note(step{target: t, warm: w, image: img, verdict: widened, kind: kind, text: e.noted(), why: why})
	if w == nil { // a key that is not known cannot be warmed
		e.emit(kind, e.rule.index)
	}
}

func (e *Evaluator) null(t *target, w *warm, img image) {
	if w == nil {
		e.result.Nulls++
	}
	e.note(step{target: t, warm: w, image: img, verdict: skippedNull})
}

// filtered applies a placeholder's filters; false when one cannot.
func (e *Evaluator) filtered(p *part, text string) (string, bool) {
	for i := range p.filters {
		var err error
		if text, err = p.filters[i].apply(text); err != nil {
			e.fail("filter " + p.filters[i].name + " of " + p.hole + ": " + err.Error())
			return "", false
		}
	}
	return text, true
}

// task records a warm task for the key in e.text.
func (e *Evaluator) task(w *warm, img image, before, after cdc.Row) {
	var nulls []bool
	var ok bool
	if e.args, nulls, ok = e.bindArgs(e.args[:0], w.args, img, before, after); !ok {
		return
	}
	index := 0
	for i, other := range e.rule.warm {
		if other == w {
			index = i
		}
	}
	key := string(e.text)
	id := warmID{e.rule.index, index, key}
	task := WarmTask{Rule: e.rule.index, Warm: index, Key: key, Args: cloneTexts(e.args), Null: nulls}
	seen, ok := e.warms[id]
	switch {
	case !ok:
		e.warms[id] = warmSeen{len(e.result.Warm), e.serial}
		e.result.Warm = append(e.result.Warm, task)
	case seen.serial != e.serial:
		// A later change knows the row better. Within one change the new image
		// came first.
		e.warms[id] = warmSeen{seen.index, e.serial}
		e.result.Warm[seen.index] = task
	}
}

// bindArgs appends a query's parameters to dst; false when one is unknown.
func (e *Evaluator) bindArgs(dst []string, params []part, img image, before, after cdc.Row) (args []string, nulls []bool, ok bool) {
	for i := range params {
		p := &params[i]
		if p.image == oldImage && e.change.Op == cdc.Insert || p.image == newImage && e.change.Op == cdc.Delete {
			return dst, nil, false
		}
		v := e.value(p, img, before, after)
		text := v.text
		switch v.state {
		case null:
			if nulls == nil {
				nulls = make([]bool, len(params))
			}
			nulls[i] = true
		case known:
			if text, ok = e.filtered(p, v.text); !ok {
				return dst, nil, false
			}
		default:
			return dst, nil, false
		}
		dst = append(dst, text)
	}
	return dst, nulls, true
}

func hasReservedPrefix(text []byte) bool {
	return len(text) >= len(reservedPrefix) && string(text[:len(reservedPrefix)]) == reservedPrefix
}

// noted copies e.text for a trace.
func (e *Evaluator) noted() string {
	if e.trace == nil {
		return ""
	}
	return string(e.text)
}
