package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error is one mistake in a configuration file.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 for the file as a whole
	Path         string // of the value, such as rules[0].invalidate[2]
	Message      string
	Remedy       string // what to do; "" when the message says it
	SQL          string // the statement that fixes it, when it is fixed in the database

	source string // the line, secrets blotted out
	width  int    // of what is wrong in it, in characters
}

// Error returns place and message, and below them the line with the mistake
// marked.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	if e.source != "" {
		line, column, width := window([]rune(e.source), e.Column-1, e.width)
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s%s", e.Line, line, strings.Repeat(" ", column), strings.Repeat("^", width))
	}
	return b.String()
}

// window cuts a long line to what surrounds the mistake.
func window(line []rune, column, width int) (cut string, at, marked int) {
	const longest, before = 110, 40
	for i, r := range line {
		if r == '\t' || !validRune(r) {
			line[i] = ' '
		}
	}
	column = min(max(column, 0), len(line))
	width = max(1, min(width, len(line)-column))
	if len(line) <= longest {
		return string(line), column, width
	}
	from := min(max(0, column-before), len(line)-longest)
	to := from + longest
	text := string(line[from:to])
	at = column - from
	if from > 0 {
		text, at = "…"+text, at+1
	}
	if to < len(line) {
		text += "…"
	}
	return text, at, max(1, min(width, to-column))
}

func validRune(r rune) bool { return r >= ' ' && r != 0x7f && r != utf8.RuneError }

// Errors is every mistake found in a file, in its order.
type Errors []*Error

// Error returns every mistake with its line.
func (e Errors) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap returns the mistakes one by one, for errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

func (e Errors) sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
