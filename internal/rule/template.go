package rule

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// image is a row before or after its change.
type image uint8

const (
	anyImage image = iota // the image that the target is rendered from
	oldImage
	newImage
)

type nodeKind uint8

const (
	literalNode nodeKind = iota
	globNode             // *, ? or a class, as Redis reads it
	columnNode
)

// node is a piece of a parsed template.
type node struct {
	kind nodeKind
	text string // literal text, or glob
	hole placeholder
}

// placeholder is {column}, {old.column|filter:argument}, ….
type placeholder struct {
	column         string
	image          image
	filters        []filter
	offset, length int // of the whole placeholder in its template
}

// mistake is an Error without its path.
type mistake struct {
	offset, length  int
	message, remedy string
}

// reservedPrefix begins the names of Freshet's own bookkeeping.
const reservedPrefix = "freshet:"

// parseTemplate reads a target's template:
//
//	{column}  {"quoted column"}  {old.column}  {new.column}  {column|filter|filter:argument}
//	{{ }}     literal braces
//	* ? […]   glob characters, which make the target a pattern
//	\* \? \[ \] \\   the same characters literally; any other backslash is literal
func parseTemplate(text string) (nodes []node, pattern bool, mistakes []mistake) {
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			nodes = append(nodes, node{kind: literalNode, text: literal.String()})
			literal.Reset()
		}
	}
	glob := func(text string) {
		flush()
		pattern = true
		nodes = append(nodes, node{kind: globNode, text: text})
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`*?[]\`, text[i+1]) >= 0:
			literal.WriteByte(text[i+1])
			i += 2
		case c == '{' && strings.HasPrefix(text[i+1:], "{"), c == '}' && strings.HasPrefix(text[i+1:], "}"):
			literal.WriteByte(c)
			i += 2
		case c == '}':
			mistakes = append(mistakes, mistake{i, 1, "a closing brace without an opening one", "write }} for a literal brace"})
			i++
		case c == '{':
			flush()
			hole, n, wrong := parsePlaceholder(text, i)
			if len(wrong) > 0 {
				mistakes = append(mistakes, wrong...)
			} else {
				nodes = append(nodes, node{kind: columnNode, hole: hole})
			}
			i += n
		case c == '*' || c == '?':
			glob(text[i : i+1])
			i++
		case c == '[':
			class, n, wrong := parseClass(text, i)
			if wrong != nil {
				mistakes = append(mistakes, *wrong)
			}
			glob(class)
			i += n
		default:
			literal.WriteByte(c)
			i++
		}
	}
	flush()
	return nodes, pattern, mistakes
}

// checkPrefix reports a target without a literal prefix, or with a reserved
// one. A flush of a target without a prefix would remove everything.
func checkPrefix(text string, nodes []node) *mistake {
	if len(nodes) == 0 || nodes[0].kind != literalNode {
		return &mistake{0, len(text), "a target needs a literal prefix before its first placeholder or glob character", "for example order:{id}"}
	}
	if strings.HasPrefix(nodes[0].text, reservedPrefix) {
		return &mistake{0, len(reservedPrefix), "names that begin with " + reservedPrefix + " are Freshet's own", "choose another prefix"}
	}
	return nil
}

// parseClass reads a glob's […] at text[start].
func parseClass(text string, start int) (class string, n int, wrong *mistake) {
	var b strings.Builder
	b.WriteByte('[')
	i := start + 1
	if i < len(text) && text[i] == '^' {
		b.WriteByte('^')
		i++
	}
	for first := i; i < len(text); {
		c := text[i]
		switch {
		case c == ']' && i == first:
			return "", i + 1 - start, &mistake{start, i + 1 - start, "an empty character class matches nothing", `write \[ for a literal bracket`}
		case c == ']':
			b.WriteByte(']')
			return b.String(), i + 1 - start, nil
		case (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c:
			b.WriteByte(c)
			i += 2
		case c == '{':
			_, n, _ := parsePlaceholder(text, i)
			wrong = &mistake{i, n, "a placeholder cannot stand in a character class", `write \[ for a literal bracket`}
			return "", i + n - start, wrong
		case c == '\\' && i+1 < len(text):
			b.WriteString(text[i : i+2])
			i += 2
		default:
			b.WriteByte(c)
			i++
		}
	}
	return "", len(text) - start, &mistake{start, len(text) - start, "a character class is not closed", `write \[ for a literal bracket`}
}

// parsePlaceholder reads the placeholder whose opening brace is text[start]
// and returns how many bytes it takes. Its filters are already built.
func parsePlaceholder(text string, start int) (hole placeholder, n int, mistakes []mistake) {
	hole.offset = start
	end := placeholderEnd(text, start)
	if end < 0 {
		return hole, len(text) - start, []mistake{{start, len(text) - start, "a placeholder is not closed", "write {{ for a literal brace"}}
	}
	n = end + 1 - start
	hole.length = n
	wrong := func(offset, length int, message, remedy string) {
		mistakes = append(mistakes, mistake{offset, length, message, remedy})
	}

	name, at, next, quoted, ok := placeholderName(text, start+1, end)
	if ok && !quoted && next < end && text[next] == '.' {
		switch name {
		case "old":
			hole.image = oldImage
		case "new":
			hole.image = newImage
		default:
			wrong(at, len(name), "unknown row "+quoteText(name), `write old. or new.; quote a column whose name contains a dot: {"`+text[at:end]+`"}`)
		}
		name, at, next, _, ok = placeholderName(text, next+1, end)
	} else if ok && !quoted && (name == "old" || name == "new") {
		wrong(at, len(name), "{"+name+"} names no column", `write {`+name+`.column}, or {"`+name+`"} for a column of that name`)
	}
	switch {
	case !ok:
		wrong(at, end-at, "a quoted column name is not closed", "")
		return hole, n, mistakes
	case name == "":
		wrong(start, n, "a placeholder names no column", "write {column}, or {{ for a literal brace")
	case next < end && text[next] != '|':
		stop := end
		if bar := strings.IndexByte(text[next:end], '|'); bar >= 0 {
			stop = next + bar
		}
		wrong(at, stop-at, "bad column name "+quoteText(text[at:stop]), `quote a name with unusual characters: {"`+strings.ReplaceAll(text[at:stop], `"`, `""`)+`"}`)
		next = stop
	}
	hole.column = name

	for next < end { // text[next] is a bar
		stop := end
		if bar := strings.IndexByte(text[next+1:end], '|'); bar >= 0 {
			stop = next + 1 + bar
		}
		spec := text[next+1 : stop]
		filterName, arg, hasArg := strings.Cut(spec, ":")
		f, message, remedy := newFilter(filterName, arg, hasArg)
		if message != "" {
			wrong(next+1, len(spec), message, remedy)
		}
		hole.filters = append(hole.filters, f)
		next = stop
	}
	return hole, n, mistakes
}

// placeholderEnd finds the closing brace, passing over quoted names.
func placeholderEnd(text string, start int) int {
	quoted := false
	for i := start + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '}' && !quoted:
			return i
		case c == '{' && !quoted:
			return -1 // the next placeholder begins before this one ends
		}
	}
	return -1
}

// placeholderName reads a bare or quoted name at text[at:end].
func placeholderName(text string, at, end int) (name string, from, next int, quoted, ok bool) {
	if at < end && text[at] == '"' {
		name, n, ok := unquote(text[at:end])
		return name, at, at + n, true, ok
	}
	next = at
	for next < end {
		r, size := utf8.DecodeRuneInString(text[next:end])
		if r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		next += size
	}
	return text[at:next], at, next, false, true
}

// quoteText quotes text for a message, shortened when it is long.
func quoteText(text string) string {
	if len(text) > 60 {
		cut := 57
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strconv.Quote(text)
}

// FormatPlaceholder writes the placeholder of a column, quoted where its name
// needs that.
func FormatPlaceholder(column string) string { return formatHole(placeholder{column: column}) }

// formatHole writes a placeholder's column as a template would, for messages.
func formatHole(h placeholder) string {
	column := h.column
	if name, _, next, _, _ := placeholderName(column, 0, len(column)); name != column || next != len(column) || column == "old" || column == "new" {
		column = quoteIdent(column)
	}
	switch h.image {
	case oldImage:
		return fmt.Sprintf("{old.%s}", column)
	case newImage:
		return fmt.Sprintf("{new.%s}", column)
	default:
		return fmt.Sprintf("{%s}", column)
	}
}
