package check

import (
	"fmt"
	"slices"
	"strings"
)

// Status is the verdict on one precondition.
type Status string

// The verdicts.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works, with a cost or a risk
	Fail Status = "fail" // does not work
)

// Line is one precondition.
type Line struct {
	Area   string `json:"area"`  // postgres, rules, nats, cache
	Check  string `json:"check"` // what was looked at
	Status Status `json:"status"`
	Text   string `json:"text"` // what was found, in one sentence
	// Details are further findings of the same kind.
	Details []string `json:"details,omitempty"`
	// Remedy says what to do besides running SQL, or where SQL does not help.
	Remedy string `json:"remedy,omitempty"`
	// SQL holds the statements that mend it, in order, without semicolons.
	SQL []string `json:"sql,omitempty"`
}

// Report is what was found.
type Report struct {
	Lines []Line `json:"lines"`
	// Invalid is true when the configuration itself is wrong: it names what
	// the database does not have.
	Invalid bool `json:"invalid"`
}

// Failed reports whether any precondition is missing.
func (r *Report) Failed() bool { return r.count(Fail) > 0 }

func (r *Report) count(status Status) int {
	n := 0
	for _, l := range r.Lines {
		if l.Status == status {
			n++
		}
	}
	return n
}

// Summary counts the verdicts.
func (r *Report) Summary() string {
	return fmt.Sprintf("%d ok, %d to look at, %d to mend", r.count(OK), r.count(Warn), r.count(Fail))
}

// Script returns every statement as something that psql runs. What only
// deserves a look is in comments, as running it is a choice.
func (r *Report) Script() string {
	var b strings.Builder
	seen := make(map[string]bool)
	for _, l := range r.Lines {
		statements := slices.DeleteFunc(slices.Clone(l.SQL), func(sql string) bool { return seen[sql] && !repeatable(sql) })
		if len(statements) == 0 || !slices.ContainsFunc(statements, func(sql string) bool { return !repeatable(sql) }) {
			continue
		}
		comment := l.Text
		if l.Remedy != "" {
			comment += "; " + l.Remedy
		}
		prefix := ""
		if l.Status != Fail {
			prefix = "-- "
		}
		fmt.Fprintf(&b, "-- %s: %s: %s\n", l.Status, l.Check, strings.Join(strings.Fields(comment), " "))
		for _, sql := range statements {
			if l.Status == Fail {
				seen[sql] = true
			}
			fmt.Fprintf(&b, "%s%s;\n", prefix, sql)
		}
	}
	return b.String()
}

// repeatable reports whether a statement belongs to those around it and does
// nothing by itself.
func repeatable(sql string) bool {
	return sql == "BEGIN" || sql == "COMMIT" || sql == reloadSQL
}

// reloadSQL makes the server read what ALTER SYSTEM has changed.
const reloadSQL = "SELECT pg_reload_conf()"

// section collects the lines of one area.
type section struct {
	area  string
	lines []Line
}

func (s *section) add(l Line) {
	l.Area = s.area
	s.lines = append(s.lines, l)
}

func (s *section) ok(check, format string, args ...any) {
	s.add(Line{Check: check, Status: OK, Text: fmt.Sprintf(format, args...)})
}

func (s *section) warn(check, text, remedy string, sql ...string) {
	s.add(Line{Check: check, Status: Warn, Text: text, Remedy: remedy, SQL: sql})
}

func (s *section) fail(check, text, remedy string, sql ...string) {
	s.add(Line{Check: check, Status: Fail, Text: text, Remedy: remedy, SQL: sql})
}
