package check

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	dim    = "\x1b[2m"
	plain  = "\x1b[0m"
)

// Print writes the report for people, in columns.
func (r *Report) Print(out io.Writer, colour bool) error {
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return code + text + plain
	}
	area, check := 0, 0
	for _, l := range r.Lines {
		area, check = max(area, utf8.RuneCountInString(l.Area)), max(check, utf8.RuneCountInString(l.Check))
	}
	indent := strings.Repeat(" ", 4+2+area+2+check+2)
	var b strings.Builder
	for _, l := range r.Lines {
		code := map[Status]string{OK: green, Warn: yellow, Fail: red}[l.Status]
		fmt.Fprintf(&b, "%s  %s  %s  %s\n", paint(code, pad(string(l.Status), 4)), pad(l.Area, area), pad(l.Check, check), hang(l.Text, indent))
		for _, detail := range l.Details {
			fmt.Fprintf(&b, "%s%s\n", indent, hang(detail, indent))
		}
		for _, step := range steps(l) {
			fmt.Fprintf(&b, "%s%s\n", indent, paint(dim, hang(step, indent+"  ")))
		}
	}
	fmt.Fprintf(&b, "%s\n", r.Summary())
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// steps lists what to do: the statements, then the rest.
func steps(l Line) []string {
	var steps []string
	for _, sql := range l.SQL {
		steps = append(steps, sql+";")
	}
	if l.Remedy != "" {
		steps = append(steps, l.Remedy)
	}
	for i := range steps {
		lead := "  "
		if i == 0 {
			lead = "→ "
		}
		steps[i] = lead + steps[i]
	}
	return steps
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// hang indents all lines but the first.
func hang(text, indent string) string { return strings.ReplaceAll(text, "\n", "\n"+indent) }

// size writes bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 4 {
		value, prefix = value/unit, prefix+1
	}
	return strings.Replace(fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix]), ".0 ", " ", 1)
}
