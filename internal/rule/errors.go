package rule

import (
	"errors"
	"strings"
)

// ErrCanonical is returned when a saved rule set cannot be read: flush the
// coverage of every rule.
var ErrCanonical = errors.New("rule: unreadable saved rule set")

// Error is one mistake in the rules, or one warning about them.
type Error struct {
	// Path names the value, such as "rules[0].invalidate[2]".
	Path string
	// Offset is the byte offset of the mistake inside that value, and Length
	// how many bytes it spans; zero for the whole value.
	Offset, Length int
	// Message says what is wrong.
	Message string
	// Remedy says what to do: the nearest valid name, the statement that
	// fixes it. Empty for none.
	Remedy string
	// SQL is the statement that fixes it, when it is fixed in the database.
	SQL string
}

// Error returns path, message and remedy in one line.
func (e *Error) Error() string {
	text := e.Path + ": " + e.Message
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Errors is every mistake found.
type Errors []*Error

// Error returns every mistake, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes one by one, for errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}
