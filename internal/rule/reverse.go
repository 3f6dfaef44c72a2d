package rule

import (
	"regexp"
	"slices"
	"strings"
)

// Reverse reads the keys of one warm query backwards: from a key to the
// arguments that its query would be given, which is what a key that is found in
// the cache can be checked with.
type Reverse struct {
	WarmQuery
	// Pattern is a glob that matches every key of the query, and others.
	Pattern string
	// Obstacle says why no key can be read backwards. Empty if keys can.
	Obstacle string

	key    *target
	args   []part
	others []*target // key templates that are written otherwise
}

// Reverses returns every warm query with a way back from its keys, in the order
// of the rules.
func (s *Set) Reverses() []*Reverse {
	var all []*Reverse
	for _, r := range s.rules {
		for _, w := range r.warm {
			v := &Reverse{WarmQuery: w.WarmQuery, Pattern: w.key.coverage.Text, key: w.key, args: w.args}
			if w.key.coverage.Kind == KeyTarget {
				v.Pattern = string(appendEscaped(nil, v.Pattern))
			}
			v.Obstacle = v.obstacle()
			v.others = s.othersThan(w.Key)
			all = append(all, v)
		}
	}
	return all
}

// othersThan returns one target for each template of keys that is written
// otherwise than text.
func (s *Set) othersThan(text string) []*target {
	var others []*target
	seen := map[string]bool{text: true}
	for _, r := range s.rules {
		for _, t := range r.targets {
			if t.kind == KeyTarget && !seen[t.text] {
				seen[t.text] = true
				others = append(others, t)
			}
		}
	}
	return others
}

func (v *Reverse) obstacle() string {
	for i := range v.args {
		if !slices.ContainsFunc(v.key.parts, func(p part) bool { return p.gives(&v.args[i]) }) {
			return "the key does not show " + v.args[i].hole + ", which the query needs"
		}
	}
	for i := 1; i < len(v.key.parts); i++ {
		if v.key.parts[i-1].name != "" && v.key.parts[i].name != "" {
			return "nothing stands between " + v.key.parts[i-1].hole + " and " + v.key.parts[i].hole
		}
	}
	return ""
}

// gives reports whether what a key shows of p tells the argument's value.
func (p *part) gives(arg *part) bool {
	if p.name != arg.name || p.lookup != arg.lookup || p.image != arg.image {
		return false
	}
	return len(p.filters) == 0 || p.encoded() || p.filtersOf(arg)
}

func (p *part) filtersOf(arg *part) bool {
	return slices.EqualFunc(p.filters, arg.filters, func(a, b filter) bool { return a.name == b.name && a.arg == b.arg })
}

// encoded reports whether the value can be had back from what the key shows.
func (p *part) encoded() bool { return len(p.filters) == 1 && p.filters[0].name == "urlencode" }

// Args returns the arguments of the query for a key, in text form. Where the key
// cannot be read in one way only it returns why instead; and an empty reason and
// false for a key that the template does not give at all.
func (v *Reverse) Args(key string) (args []string, why string, ok bool) {
	if v.Obstacle != "" {
		return nil, v.Obstacle, false
	}
	texts, ways := v.key.read(key)
	switch {
	case ways == 0:
		return nil, "", false
	case ways > 1:
		return nil, "there is more than one way to read the key", false
	}
	for _, other := range v.others {
		if _, ways := other.read(key); ways > 0 {
			return nil, "the template " + other.text + " gives keys of this form too", false
		}
	}
	args = make([]string, len(v.args))
	for i := range v.args {
		arg := &v.args[i]
		at := slices.IndexFunc(v.key.parts, func(p part) bool { return p.gives(arg) })
		p := &v.key.parts[at]
		args[i] = texts[at]
		if p.filtersOf(arg) {
			continue
		}
		if p.encoded() {
			args[i], _ = urldecode(args[i]) // read has decoded it before
		}
		for _, f := range arg.filters {
			var err error
			if args[i], err = f.apply(args[i]); err != nil {
				return nil, "", false // no value of the column looks so
			}
		}
	}
	return args, "", true
}

// read finds what the parts of a key's template stand for in a key: the texts by
// part, and in how many ways it can be read, where 2 stands for any more.
func (t *target) read(key string) (texts []string, ways int) {
	if t.pattern {
		return nil, 0
	}
	current := make([]string, len(t.parts))
	var from func(i int, rest string)
	from = func(i int, rest string) {
		if ways > 1 {
			return
		}
		if i == len(t.parts) {
			if rest == "" {
				ways++
				texts = slices.Clone(current)
			}
			return
		}
		p := &t.parts[i]
		if p.name == "" {
			if after, ok := strings.CutPrefix(rest, p.literal); ok {
				from(i+1, after)
			}
			return
		}
		for n := 0; n <= len(rest); n++ {
			if i+1 == len(t.parts) {
				n = len(rest)
			} else if next := &t.parts[i+1]; next.name == "" {
				at := strings.Index(rest[n:], next.literal)
				if at < 0 {
					return
				}
				n += at
			}
			if current[i] = rest[:n]; p.shows(current[i]) && t.agrees(current, i) {
				from(i+1, rest[n:])
			}
		}
	}
	from(0, key)
	return texts, ways
}

// agrees reports whether a placeholder that stands in the template twice reads
// the same in both places.
func (t *target) agrees(texts []string, i int) bool {
	for j := range i {
		if t.parts[j].name != "" && t.parts[j].hole == t.parts[i].hole && len(t.parts[j].filters)+len(t.parts[i].filters) == 0 && texts[j] != texts[i] {
			return false
		}
	}
	return true
}

var (
	wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,18})$`)
	lowerUUID   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	lowerHex    = regexp.MustCompile(`^[0-9a-f]+$`)
)

// shows reports whether the placeholder can have been rendered as text.
func (p *part) shows(text string) bool {
	if p.encoded() {
		decoded, ok := urldecode(text)
		return ok && p.hasValue(decoded)
	}
	if len(p.filters) == 0 {
		return p.hasValue(text)
	}
	switch p.filters[len(p.filters)-1].name {
	case "sha1":
		return len(text) == 40 && lowerHex.MatchString(text)
	case "sha256":
		return len(text) == 64 && lowerHex.MatchString(text)
	case "lower":
		return text == strings.ToLower(text)
	case "upper":
		return text == strings.ToUpper(text)
	case "trim":
		return text == strings.TrimSpace(text)
	}
	return true
}

// hasValue reports whether text is how a value of the column's type is written
// in a key. Of types without a form of their own, any text is.
func (p *part) hasValue(text string) bool {
	switch p.typ {
	case "smallint", "integer", "bigint", "oid":
		return wholeNumber.MatchString(text)
	case "uuid":
		return lowerUUID.MatchString(text)
	case "boolean":
		return text == "true" || text == "false"
	}
	return true
}

// urldecode undoes urlencode; false for what it never writes.
func urldecode(text string) (string, bool) {
	decoded := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			decoded = append(decoded, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", false
		}
		high, low := strings.IndexByte(upperHex, text[i+1]), strings.IndexByte(upperHex, text[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		decoded = append(decoded, byte(high<<4|low))
		i += 2
	}
	value := string(decoded)
	return value, urlencode(value) == text
}
