package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

func (r *report) print(out io.Writer, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	if err := r.table(out); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "\n%s\n", r.summary()); err != nil {
		return err
	}
	for _, p := range r.Profiles {
		if _, err := fmt.Fprintf(out, "\n%s: %s\n%s\n", p.Contest, p.Kind, p.Text); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) summary() string {
	return fmt.Sprintf("%d targets met, %d missed; ratio: median of %d rounds of %s a turn, spread: half of the rounds; load %s before, %s after",
		r.count(met), r.count(missed), r.Rounds, r.Length, r.Machine.LoadBefore, r.Machine.LoadAfter)
}

func (r *row) cells() []string {
	return []string{r.Contest, r.Metric, r.value(), r.Rival, r.rivalValue(), r.ratio(), r.spread(), r.Target, r.Verdict}
}

var headings = []string{"contest", "metric", "value", "rival", "rival's value", "ratio", "spread", "target", "verdict"}

func (r *report) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(headings, "\t"))
	last := ""
	for i := range r.Rows {
		cells := r.Rows[i].cells()
		if cells[0] == last {
			cells[0] = ""
		} else {
			last = cells[0]
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// save writes the report as a page of its own, named by date and commit.
func (r *report) save(folder string, progress io.Writer) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	path := filepath.Join(folder, r.Began.UTC().Format("2006-01-02")+"-"+r.Machine.Commit+".md")
	if err := os.WriteFile(path, []byte(r.page()), 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintf(progress, "written to %s\n", path)
	return err
}

func (r *report) page() string {
	var b strings.Builder
	m := &r.Machine
	fmt.Fprintf(&b, "# Benchmarks of %s, commit %s\n\n", r.Began.UTC().Format("2006-01-02 15:04 UTC"), m.Commit)
	fmt.Fprintf(&b, "%s, %d cores, GOMAXPROCS %d, %s, %s, Redis %s on the same machine. Load averages %s before, %s after; took %s.\n\n",
		m.CPU, m.Cores, m.GOMAXPROCS, m.Kernel, m.Go, m.Redis, m.LoadBefore, m.LoadAfter, r.Took)
	for i, path := range slices.Sorted(maps.Keys(m.Modules)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s", strings.TrimPrefix(path, "github.com/"), m.Modules[path])
	}
	fmt.Fprintf(&b, ".\n\n%s.\n\n", r.summary())
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(headings, " | "), strings.Repeat("---|", len(headings)))
	for i := range r.Rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r.Rows[i].cells(), " | "))
	}
	for _, p := range r.Profiles {
		fmt.Fprintf(&b, "\n## %s: %s\n\n```\n%s\n```\n", p.Contest, p.Kind, p.Text)
	}
	return b.String()
}
