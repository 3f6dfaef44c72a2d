package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/freshet-dev/freshet/internal/monitor"
)

// board is what top shows: the newest report of every part, and the one before, for
// rates.
type board struct {
	instance string
	parts    map[string]*boardPart
}

type boardPart struct {
	report monitor.Report
	heard  time.Time // by our clock
	status boardStatus
	before boardStatus
	apart  time.Duration // between the two
}

// boardStatus is what top shows of any part's own JSON.
type boardStatus struct {
	partStatus
	Tables []struct {
		Schema  string  `json:"schema"`
		Table   string  `json:"table"`
		Op      string  `json:"op"`
		Changes float64 `json:"changes"`
	} `json:"tables"`
	Rules []struct {
		Rule     string `json:"rule"`
		Keys     int64  `json:"keys"`
		Patterns int64  `json:"patterns"`
		Tags     int64  `json:"tags"`
	} `json:"rules"`
	Retained int64 `json:"retained_wal"`
}

func newBoard(instance string) *board {
	return &board{instance: instance, parts: map[string]*boardPart{}}
}

// hear takes a report.
func (b *board) hear(report monitor.Report, now time.Time) {
	var s boardStatus
	if json.Unmarshal(report.Status, &s) != nil {
		return // of another version
	}
	name := report.Role + " " + report.ID
	p := b.parts[name]
	if p == nil {
		p = &boardPart{}
		b.parts[name] = p
	}
	p.apart = report.Time.Sub(p.report.Time)
	p.before = p.status
	p.report, p.status, p.heard = report, s, now
}

// working returns the part of a role that does the work, nil when none is heard.
func (b *board) working(now time.Time, role string) *boardPart {
	for _, p := range b.sorted(now) {
		if p.report.Role == role && (role == "consumer" && p.status.State != standby || p.status.Active) {
			return p
		}
	}
	return nil
}

// sorted returns the parts that are heard.
func (b *board) sorted(now time.Time) []*boardPart {
	var parts []*boardPart
	for name, p := range b.parts {
		if now.Sub(p.heard) > 10*monitor.Silence {
			delete(b.parts, name)
			continue
		}
		if now.Sub(p.heard) <= monitor.Silence {
			parts = append(parts, p)
		}
	}
	slices.SortFunc(parts, func(a, c *boardPart) int {
		return cmp.Or(cmp.Compare(a.report.Role, c.report.Role), cmp.Compare(a.report.ID, c.report.ID))
	})
	return parts
}

// draw returns the screen, each line cut to the width and ended for a raw terminal.
func (b *board) draw(now time.Time, width, height int, connected, colour bool) string {
	var text strings.Builder
	parts := b.sorted(now)
	reader, worker := b.working(now, "consumer"), b.working(now, "invalidator")
	reports := make([]monitor.Report, len(parts))
	for i, p := range parts {
		reports[i] = p.report
	}
	verdict := monitor.Judge(reports, connected, now)
	mark := func(code, s string) string {
		if !colour {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	level := map[monitor.Level]string{monitor.LevelFresh: "1;32", monitor.LevelBehind: "1;33", monitor.LevelStuck: "1;31"}[verdict.Level]
	fmt.Fprintf(&text, "%s  %s  %s\n\n", mark("1", "freshet "+b.instance), now.Format("15:04:05"), mark(level, printable(verdict.Sentence)))
	b.pipeline(&text, now, reader, worker)
	for _, reason := range verdict.Reasons {
		fmt.Fprintln(&text, mark("1;31", "! "+printable(reason)))
	}
	if len(verdict.Reasons) > 0 {
		fmt.Fprintln(&text)
	}
	if reader != nil {
		tables(&text, reader)
	}
	if worker != nil {
		rules(&text, worker)
	}
	processes(&text, parts)
	fmt.Fprint(&text, "\nq quits")

	lines := strings.Split(text.String(), "\n")
	lines = lines[:min(len(lines), max(height, 1))]
	for i, line := range lines {
		lines[i] = cutLine(line, width)
	}
	return strings.Join(lines, "\x1b[K\r\n") + "\x1b[K"
}

// pipeline draws the stages with what flows through them.
func (b *board) pipeline(text *strings.Builder, now time.Time, reader, worker *boardPart) {
	lines := tabwriter.NewWriter(text, 0, 0, 1, ' ', 0)
	cells := [3][5]string{{"Postgres ─▶", "consumer ─▶", "NATS ─▶", "invalidator ─▶", "Redis"}}
	if reader != nil {
		cells[1][0] = sizeText(reader.status.Retained) + " kept"
		cells[1][1] = fmt.Sprintf("%.0f rows/s", reader.status.Rate)
		if reader.status.LagBytes != nil {
			cells[2][1] = sizeText(*reader.status.LagBytes) + ", " + secondsText(reader.status.LagSeconds) + " behind"
		}
	}
	if worker != nil {
		cells[1][3] = fmt.Sprintf("%.0f rows/s", worker.status.ChangesPerSecond)
		if l := worker.status.Latency; l.Count > 0 {
			cells[2][3] = fmt.Sprintf("p50 %s, p99 %s", l.P50.Round(10*time.Microsecond), l.P99.Round(10*time.Microsecond))
		}
		if !worker.status.Position.Time.IsZero() {
			cells[1][4] = "watermark " + max(now.Sub(worker.status.Position.Time), 0).Round(10*time.Millisecond).String()
		}
	}
	for _, row := range cells {
		fmt.Fprintln(lines, strings.Join(row[:], "\t"))
	}
	_ = lines.Flush() // a strings.Builder takes everything
	fmt.Fprintln(text)
}

// perSecond is how fast a counter grew between the last two reports.
func (p *boardPart) perSecond(now, before float64) float64 {
	if p.apart <= 0 || now < before {
		return 0
	}
	return (now - before) / p.apart.Seconds()
}

func tables(text *strings.Builder, p *boardPart) {
	if len(p.status.Tables) == 0 {
		return
	}
	before := map[string]float64{}
	for _, t := range p.before.Tables {
		before[t.Schema+"."+t.Table+" "+t.Op] = t.Changes
	}
	lines := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "TABLE\tOP\tCHANGES\tPER SECOND")
	for _, t := range p.status.Tables {
		name := t.Schema + "." + t.Table
		fmt.Fprintf(lines, "%s\t%s\t%.0f\t%.0f\n", name, t.Op, t.Changes, p.perSecond(t.Changes, before[name+" "+t.Op]))
	}
	_ = lines.Flush() // a strings.Builder takes everything
	fmt.Fprintln(text)
}

func rules(text *strings.Builder, p *boardPart) {
	lines := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "RULE\tKEYS\tPATTERNS\tTAGS")
	for _, r := range p.status.Rules {
		fmt.Fprintf(lines, "%s\t%d\t%d\t%d\n", r.Rule, r.Keys, r.Patterns, r.Tags)
	}
	_ = lines.Flush() // a strings.Builder takes everything
	fmt.Fprintln(text)
}

func processes(text *strings.Builder, parts []*boardPart) {
	lines := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "ROLE\tPROCESS\tSTATE\tVERSION\tUP")
	for _, p := range parts {
		up := p.report.Time.Sub(p.report.Started).Round(time.Second)
		fmt.Fprintf(lines, "%s\t%s\t%s\t%s\t%s\n", p.report.Role, p.report.ID, p.status.State, p.report.Version, up)
	}
	_ = lines.Flush() // a strings.Builder takes everything
}

// cutLine cuts a line to a width in characters; colours take none.
func cutLine(line string, width int) string {
	shown := 0
	for i := 0; i < len(line); {
		if line[i] == '\x1b' {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				return line[:i]
			}
			i += end + 1
			continue
		}
		if shown == width {
			if strings.Contains(line[:i], "\x1b") {
				return line[:i] + "\x1b[0m"
			}
			return line[:i]
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		i += size
		shown++
	}
	return line
}
