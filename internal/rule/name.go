package rule

import (
	"errors"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

var (
	errNameEmpty = errors.New("a table name is empty")
	errNameParts = errors.New("a table is written schema.table; quote a name that contains a dot: \"my.schema\".\"Order\"")
	errNameQuote = errors.New("a quotation mark in a table name is not closed or stands in the middle; write \"\" for one inside a quoted name")
)

// ParseTable reads a table's name: table, schema.table, or either part in
// double quotes. Names are taken exactly as written, case included; the schema
// defaults to public.
func ParseTable(text string) (cdc.TableName, error) {
	var parts []string
	for rest := text; ; {
		part, tail, err := tablePart(rest)
		if err != nil {
			return cdc.TableName{}, err
		}
		parts = append(parts, part)
		if tail == "" {
			break
		}
		rest = tail[1:] // tail begins with the dot
	}
	switch len(parts) {
	case 1:
		return cdc.TableName{Schema: "public", Table: parts[0]}, nil
	case 2:
		return cdc.TableName{Schema: parts[0], Table: parts[1]}, nil
	default:
		return cdc.TableName{}, errNameParts
	}
}

func tablePart(text string) (part, tail string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text, '.')
		if end < 0 {
			end = len(text)
		}
		switch part = text[:end]; {
		case part == "":
			return "", "", errNameEmpty
		case strings.Contains(part, `"`):
			return "", "", errNameQuote
		}
		return part, text[end:], nil
	}
	name, n, ok := unquote(text)
	switch tail = text[n:]; {
	case !ok || tail != "" && tail[0] != '.':
		return "", "", errNameQuote
	case name == "":
		return "", "", errNameEmpty
	}
	return name, tail, nil
}

// unquote reads a double-quoted name at the beginning of text, in which ""
// stands for one quotation mark, and returns how many bytes it took.
func unquote(text string) (name string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), i + 1, true
	}
	return "", len(text), false
}

// FormatTable writes a name so that ParseTable reads it back, as briefly as
// possible.
func FormatTable(t cdc.TableName) string { return formatTable(t) }

func formatTable(t cdc.TableName) string {
	quote := func(s string) string {
		if s == "" || strings.ContainsAny(s, `."`) {
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
		return s
	}
	if t.Schema == "public" {
		return quote(t.Table)
	}
	return quote(t.Schema) + "." + quote(t.Table)
}

// quoteIdent quotes an identifier for SQL.
func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func quoteTable(t cdc.TableName) string { return quoteIdent(t.Schema) + "." + quoteIdent(t.Table) }
