package rule_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

// TestGolden compiles the rules of every testdata/*.txtar and explains its
// changes. Sections: rules.yaml; schema.json, if they are to be checked
// against tables; lookups.json, the rows that every lookup gives, by its
// arguments; changes, one message a line; want.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			given, want, _ := strings.Cut(string(data), "-- want --\n")
			got := goldenRun(t, given)
			if *update {
				want = got
				if err := os.WriteFile(file, []byte(given+"-- want --\n"+want), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s\n(go test ./internal/rule -update, if it should be so)", got, want)
			}
		})
	}
}

// section returns what stands under "-- name --".
func section(archive, name string) string {
	_, text, _ := strings.Cut("\n"+archive, "\n-- "+name+" --\n")
	if end := strings.Index("\n"+text, "\n-- "); end >= 0 {
		text = text[:end]
	}
	return text
}

func goldenRun(t *testing.T, archive string) string {
	t.Helper()
	var rules []rule.Config
	if err := yaml.UnmarshalWithOptions([]byte(section(archive, "rules.yaml")), &rules, yaml.Strict()); err != nil {
		t.Fatalf("rules.yaml: %v", err)
	}
	var out strings.Builder
	set, err := rule.Compile(rules, goldenSchema(t, section(archive, "schema.json")))
	var mistakes rule.Errors
	if errors.As(err, &mistakes) {
		for _, e := range mistakes {
			printMistake(&out, "error", e)
		}
		return out.String()
	}
	for _, w := range set.Warnings() {
		printMistake(&out, "warning", w)
	}
	for _, need := range set.Needs() {
		fmt.Fprintf(&out, "need %s columns=%v all=%v ops=%v bulk=%d\n", need.Table, need.Columns, need.All, need.Ops, need.Bulk)
	}
	for _, target := range set.CoverageAll() {
		fmt.Fprintf(&out, "coverage %s %s\n", target.Kind, target.Text)
	}
	lookups := goldenLookups(t, section(archive, "lookups.json"))
	for line := range strings.Lines(section(archive, "changes")) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		fmt.Fprintf(&out, "\n%s", line)
		goldenChange(t, &out, set, line, lookups)
	}
	return out.String()
}

func printMistake(out *strings.Builder, kind string, e *rule.Error) {
	fmt.Fprintf(out, "%s %s", kind, e.Path)
	if e.Length > 0 {
		fmt.Fprintf(out, "@%d+%d", e.Offset, e.Length)
	}
	fmt.Fprintf(out, ": %s\n", e.Message)
	if e.Remedy != "" {
		fmt.Fprintf(out, "  %s\n", e.Remedy)
	}
}

// goldenChange prints the explanation of a message and checks that it names
// exactly what an evaluator gives.
func goldenChange(t *testing.T, out *strings.Builder, set *rule.Set, line string, lookups lookupRows) {
	t.Helper()
	m := decode(t, line)
	explained := set.Explain(m, lookups)
	for _, x := range explained {
		fmt.Fprintf(out, "  %-7s %s", x.Kind, x.Target)
		if x.Template != "" {
			fmt.Fprintf(out, "  <- %s", x.Template)
		}
		fmt.Fprintf(out, "  (%s: %s)\n", x.Rule, x.Why)
	}

	e := set.Evaluator()
	for _, l := range e.Lookups(m, nil) {
		fmt.Fprintf(out, "  lookup  %s %q %v\n", l.SQL, l.Args, l.Null)
	}
	e.Add(m, lookups)
	r := e.Result()
	for _, task := range r.Warm {
		w, _ := set.Warm(task.Rule, task.Warm)
		fmt.Fprintf(out, "  task    %s: %s %q %v ttl=%s %s missing=%s\n", task.Key, w.SQL, task.Args, task.Null, w.TTL, w.Only, w.Missing)
	}
	for _, rowError := range r.RowErrors {
		fmt.Fprintf(out, "  error   %+v\n", rowError)
	}
	if r.Nulls > 0 || r.Widened > 0 {
		fmt.Fprintf(out, "  nulls=%d widened=%d\n", r.Nulls, r.Widened)
	}

	// What is explained is what is done.
	said := map[string][]string{}
	allTags := false
	for _, x := range explained {
		if x.Kind == "tag" && strings.Contains(x.Why, "the epoch of all tags") {
			allTags = true
			continue
		}
		if !slices.Contains(said[x.Kind], x.Target) {
			said[x.Kind] = append(said[x.Kind], x.Target)
		}
	}
	for kind, done := range map[string][]string{"key": r.Keys, "pattern": r.Patterns, "tag": r.Tags} {
		if !slices.Equal(said[kind], done) {
			t.Errorf("%s: explained %s %q, evaluated %q", line, kind, said[kind], done)
		}
	}
	if allTags != r.AllTags {
		t.Errorf("%s: explained all tags %v, evaluated %v", line, allTags, r.AllTags)
	}
}

// decode reads a message that stands for one transaction.
func decode(t *testing.T, line string) *cdc.Message {
	t.Helper()
	line = strings.Replace(line, `"changes":`, `"transactions":[{"lsn":"0/1","xid":1,"time":"2026-11-23T10:00:00Z"}],"changes":`, 1)
	m := new(cdc.Message)
	if err := cdc.Decode([]byte(line), m); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return m
}

type schema []*rule.Table

func (s schema) Table(schema, name string) (*rule.Table, bool) {
	for _, t := range s {
		if t.Schema == schema && t.Name == name {
			return t, true
		}
	}
	return nil, false
}

func (s schema) Tables() []cdc.TableName {
	var names []cdc.TableName
	for _, t := range s {
		names = append(names, cdc.TableName{Schema: t.Schema, Table: t.Name})
	}
	return names
}

// goldenSchema reads tables; columns may be given briefly as "name type".
func goldenSchema(t *testing.T, text string) rule.Schema {
	t.Helper()
	if text == "" {
		return nil
	}
	var tables []struct {
		rule.Table
		Cols string
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&tables); err != nil {
		t.Fatalf("schema.json: %v", err)
	}
	var s schema
	for i := range tables {
		table := &tables[i].Table
		for column := range strings.SplitSeq(tables[i].Cols, ",") {
			name, kind, _ := strings.Cut(strings.TrimSpace(column), " ")
			if kind == "" {
				kind = "text"
			}
			table.Columns = append(table.Columns, rule.Column{Name: name, Type: kind, Sent: kind != "generated", Generated: kind == "generated"})
		}
		if table.Schema == "" {
			table.Schema = "public"
		}
		if table.Identity == "" {
			table.Identity = rule.IdentityDefault
		}
		if table.Identity == rule.IdentityDefault && table.IdentityColumns == nil {
			table.IdentityColumns = table.PrimaryKey
		}
		s = append(s, table)
	}
	return s
}

// lookupRows answers lookups by their arguments, joined with a bar.
type lookupRows map[string][]cdc.Row

var errLookup = errors.New("lookup failed for good")

func (r lookupRows) Rows(l rule.Lookup) ([]cdc.Row, error) {
	args := slices.Clone(l.Args)
	for i := range args {
		if l.Null != nil && l.Null[i] {
			args[i] = "NULL"
		}
	}
	key := strings.Join(args, "|")
	if key == "error" {
		return nil, errLookup
	}
	return r[key], nil
}

func goldenLookups(t *testing.T, text string) lookupRows {
	t.Helper()
	if text == "" {
		return nil
	}
	var raw map[string][]map[string]*string
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("lookups.json: %v", err)
	}
	lookups := lookupRows{}
	for key, rows := range raw {
		for _, columns := range rows {
			var row cdc.Row
			for name, text := range columns {
				value := cdc.Value{}
				if text != nil {
					value = cdc.Value{Kind: cdc.String, Text: *text}
				}
				row = append(row, cdc.Column{Name: name, Value: value})
			}
			lookups[key] = append(lookups[key], row)
		}
	}
	return lookups
}
