package rule

import (
	"regexp"
	"strconv"
	"strings"
)

// query is a parsed lookup or warm query: its placeholders are bound
// parameters, numbered by first use.
type query struct {
	sql   string
	holes []placeholder
	// strict is true when every placeholder is compared by "=", so that a
	// parameter that is NULL can match no row.
	strict bool
}

var queryStart = regexp.MustCompile(`(?i)^(select|with|values|table)\b`)

// parseQuery turns {column} into $n. Braces are written {{ and }}, also inside
// quoted text; a placeholder inside quoted text or a comment is a mistake,
// because a parameter cannot stand there.
func parseQuery(text string) (q query, mistakes []mistake) {
	var out strings.Builder
	wrong := func(offset, length int, message, remedy string) {
		mistakes = append(mistakes, mistake{offset, length, message, remedy})
	}
	numbers := map[string]int{}
	q.strict = true
	first, last := -1, -1 // first byte of the query proper; a semicolon at its end
	for i := 0; i < len(text); {
		c := text[i]
		if end, what := skipQuoted(text, i); end > i {
			if what != "comment" && first < 0 {
				first = i
			}
			if end > len(text) {
				wrong(i, len(text)-i, "a "+what+" is not closed", "")
				end = len(text)
			}
			unbraced, inside := unbrace(text[i:end], i, what)
			mistakes = append(mistakes, inside...)
			out.WriteString(unbraced)
			i = end
			continue
		}
		if last >= 0 && !isSpace(c) && c != ';' {
			wrong(last, 1, "one statement only", "")
			last = -1
		}
		if first < 0 && !isSpace(c) {
			first = i
		}
		switch {
		case c == '{' && strings.HasPrefix(text[i+1:], "{"), c == '}' && strings.HasPrefix(text[i+1:], "}"):
			out.WriteByte(c)
			i += 2
		case c == '}':
			wrong(i, 1, "a closing brace without an opening one", "write }} for a literal brace")
			i++
		case c == '{':
			hole, n, inside := parsePlaceholder(text, i)
			if len(inside) > 0 {
				mistakes = append(mistakes, inside...)
				i += n
				continue
			}
			if before := strings.TrimRight(out.String(), " \t\r\n"); !strings.HasSuffix(before, "=") || endsWithAny(before, "<=", ">=", "!=") {
				q.strict = false
			}
			source := text[i : i+n]
			number, seen := numbers[source]
			if !seen {
				q.holes = append(q.holes, hole)
				number = len(q.holes)
				numbers[source] = number
			}
			out.WriteString("$" + strconv.Itoa(number))
			i += n
		case c == '$' && i+1 < len(text) && '0' <= text[i+1] && text[i+1] <= '9':
			wrong(i, 2, "parameters are not numbered by hand", "write {column} where the value belongs")
			i += 2
		case c == ';':
			last = i
			i++
		default:
			out.WriteByte(c)
			i++
		}
	}
	q.sql = strings.TrimSpace(out.String())
	if first < 0 {
		wrong(0, len(text), "the query is empty", "")
	} else if !queryStart.MatchString(text[first:]) {
		wrong(first, 0, "a query begins with select, with, values or table", "")
	}
	return q, mistakes
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func endsWithAny(s string, suffixes ...string) bool {
	for _, suffix := range suffixes {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

var dollarQuote = regexp.MustCompile(`^\$([\p{L}_][\p{L}\p{N}_]*)?\$`)

// skipQuoted returns the end of the quoted text or comment that begins at
// text[i] and what it is; end is i when none begins there and beyond the text
// when it is not closed.
func skipQuoted(text string, i int) (end int, what string) {
	rest := text[i:]
	switch {
	case rest[0] == '\'':
		// E'…' knows backslashes; the E belongs to no longer word.
		escapes := i > 0 && (text[i-1] == 'e' || text[i-1] == 'E') && (i < 2 || !isWord(text[i-2]))
		return closing(text, i, '\'', escapes), "quoted literal"
	case rest[0] == '"':
		return closing(text, i, '"', false), "quoted identifier"
	case strings.HasPrefix(rest, "--"):
		if n := strings.IndexByte(rest, '\n'); n >= 0 {
			return i + n, "comment"
		}
		return len(text), "comment"
	case strings.HasPrefix(rest, "/*"):
		return closingComment(text, i), "comment"
	case rest[0] == '$' && (i == 0 || !isWord(text[i-1])):
		if tag := dollarQuote.FindString(rest); tag != "" {
			if n := strings.Index(rest[len(tag):], tag); n >= 0 {
				return i + len(tag) + n + len(tag), "quoted literal"
			}
			return len(text) + 1, "quoted literal"
		}
	}
	return i, ""
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func closing(text string, i int, quote byte, escapes bool) int {
	for j := i + 1; j < len(text); j++ {
		switch {
		case escapes && text[j] == '\\':
			j++
		case text[j] == quote && j+1 < len(text) && text[j+1] == quote:
			j++
		case text[j] == quote:
			return j + 1
		}
	}
	return len(text) + 1
}

// closingComment finds the end of a block comment; they nest.
func closingComment(text string, i int) int {
	depth := 0
	for j := i; j+1 < len(text); j++ {
		switch text[j : j+2] {
		case "/*":
			depth++
			j++
		case "*/":
			depth--
			j++
			if depth == 0 {
				return j + 1
			}
		}
	}
	return len(text) + 1
}

// unbrace turns {{ and }} in quoted text into braces and reports any others.
func unbrace(quoted string, offset int, what string) (string, []mistake) {
	if !strings.ContainsAny(quoted, "{}") {
		return quoted, nil
	}
	var mistakes []mistake
	var out strings.Builder
	for i := 0; i < len(quoted); i++ {
		c := quoted[i]
		if c == '{' || c == '}' {
			if i+1 < len(quoted) && quoted[i+1] == c {
				i++
			} else if c == '{' || len(mistakes) == 0 {
				length := 1
				if n := strings.IndexByte(quoted[i:], '}'); n > 0 {
					length = n + 1
				}
				mistakes = append(mistakes, mistake{
					offset + i, length, "a brace inside a " + what + ": a value cannot be put there",
					"write the placeholder outside, with || or concat, or {{ and }} for literal braces",
				})
			}
		}
		out.WriteByte(c)
	}
	return out.String(), mistakes
}
