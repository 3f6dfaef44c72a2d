package deploytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// Every metric, label and label value that an alert or the dashboard names is one
// that a running Freshet serves.
func TestExpressionsNameWhatIsServed(t *testing.T) {
	t.Parallel()
	served := scrapedSeries(t)
	for where, expr := range maps.All(expressions(t)) {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		for _, problem := range unserved(parsed, served) {
			t.Errorf("%s: %s: %s", where, expr, problem)
		}
	}
	for expr, want := range map[string]string{
		`freshet_watermark_age > 1`:                         "no metric freshet_watermark_age",
		`freshet_state{rule="consumer"}`:                    "has no label rule",
		`freshet_state{state="stream"} == 1`:                `no series {state="stream"}`,
		`sum by (tables) (freshet_published_changes_total)`: "no label tables",
	} {
		parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(unserved(parsed, served), "; "); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

// unserved says what an expression names that there is not.
func unserved(expr parser.Expr, served map[string][]labels.Labels) []string {
	var problems []string
	known := map[string]bool{"job": true, "instance": true} // Prometheus adds these
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		series := served[selector.Name]
		if len(series) == 0 {
			problems = append(problems, "no metric "+selector.Name)
			return nil
		}
		for _, s := range series {
			s.Range(func(l labels.Label) { known[l.Name] = true })
		}
		for _, matcher := range selector.LabelMatchers {
			name := matcher.Name
			if name == model.MetricNameLabel || name == "job" {
				continue
			}
			if !slices.ContainsFunc(series, func(s labels.Labels) bool { return s.Has(name) }) {
				problems = append(problems, fmt.Sprintf("%s has no label %s", selector.Name, name))
				continue
			}
			// Each alternative of a pattern is a value of its own.
			for value := range strings.SplitSeq(matcher.Value, "|") {
				if !slices.ContainsFunc(series, func(s labels.Labels) bool { return s.Get(name) == value }) {
					problems = append(problems, fmt.Sprintf("no series {%s=%q} of %s", name, value, selector.Name))
				}
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if aggregate, ok := node.(*parser.AggregateExpr); ok {
			for _, name := range aggregate.Grouping {
				if !known[name] {
					problems = append(problems, "no label "+name)
				}
			}
		}
		return nil
	})
	return problems
}

// expressions are those of the alerts and the dashboard, by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, a := range alerts(t) {
		all["alert "+a.Alert] = a.Expr
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$job", "freshet").Replace(target.Expr)
			all["panel "+p.Title+" "+target.RefID] = expr
		}
	}
	if len(all) < 40 {
		t.Fatalf("%d expressions; the test would prove little", len(all))
	}
	return all
}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal(read(t, "prometheus/alerts.yml"), &file); err != nil || len(file.Groups) != 1 {
		t.Fatalf("alerts.yml: %d groups, %v", len(file.Groups), err)
	}
	return file.Groups[0].Rules
}

type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ RefID, Expr, LegendFormat string }
	}
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal(read(t, "grafana/freshet.json"), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The dashboard's panels do not lie on each other, and each legend names a label
// that its expression keeps.
func TestDashboard(t *testing.T) {
	t.Parallel()
	cells := map[[2]int]string{}
	ids := map[int]bool{}
	legend := regexp.MustCompile(`{{(\w+)}}`)
	for _, p := range readDashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("panel %q has the id of another", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Fatalf("panel %q lies on %q or beyond the edge", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			for _, name := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if name[1] != "instance" && !regexp.MustCompile(`by \([^)]*\b`+name[1]+`\b`).MatchString(target.Expr) {
					t.Errorf("panel %q: the legend has %s, %s drops it", p.Title, name[1], target.Expr)
				}
			}
		}
	}
}

// The alerts are those of docs/metrics.md, each says what there is to say, and its
// link leads to a section of the runbook.
func TestAlertsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // by expression: the section
	for _, m := range regexp.MustCompile("(?m)^\\| [^|]+ \\| `(.*)` \\| (?:\\[.*\\]\\(runbook.md(#[a-z-]+)\\)|by its state) \\|$").FindAllStringSubmatch(string(page), -1) {
		section := m[2]
		if section == "" {
			section = "#runbook"
		}
		documented[strings.ReplaceAll(m[1], `\|`, "|")] = section
	}
	runbook, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(runbook), -1) {
		anchors["#"+strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	const base = "https://github.com/freshet-dev/freshet/blob/main/docs/runbook.md"
	for _, a := range alerts(t) {
		section, found := documented[a.Expr]
		if !found {
			t.Errorf("%s: docs/metrics.md has no %s", a.Alert, a.Expr)
		}
		delete(documented, a.Expr)
		if url := a.Annotations["runbook_url"]; url != base+section || !anchors[section] {
			t.Errorf("%s: runbook_url is %q, docs/metrics.md says %q", a.Alert, url, section)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" || a.Labels["severity"] == "" {
			t.Errorf("%s lacks a summary, a description or a severity", a.Alert)
		}
		tested := strings.Count(string(read(t, "prometheus/alerts_test.yml")), fmt.Sprintf(`ALERTS{alertname=%q,alertstate="firing"}`+"\n", a.Alert))
		if tested < 2 {
			t.Errorf("%s has no rule tests", a.Alert)
		}
	}
	if len(documented) > 0 {
		t.Errorf("no alert has %v of docs/metrics.md", documented)
	}
}

// scrapedSeries is what a process with every role and feature serves after a change
// of a row, by metric name.
func scrapedSeries(t *testing.T) map[string][]labels.Labels {
	t.Helper()
	postgres, listen := servertest.Postgres(t), servertest.FreeAddr(t)
	db, err := pgx.Connect(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(t.Context()) }) // the server ends too
	if _, err := db.Exec(t.Context(), `create table orders (id int primary key, n int); insert into orders values (1, 0)`); err != nil {
		t.Fatal(err)
	}
	config := write(t, "freshet.yaml", `
name: shop
postgres: {url: "`+postgres.URL()+`"}
nats: {url: "`+servertest.NATS(t).URL()+`"}
cache: {url: "`+servertest.Redis(t).URL()+`"}
http: {listen: "`+listen+`"}
verify: {rate: 100/s}
rules:
  - table: orders
    invalidate: ["order:{id}"]
    warm: [{key: "order:{id}", sql: "select to_jsonb(o) from orders o where o.id = {id}", ttl: 10m, only: always}]
`)
	start(t, exec.CommandContext(context.WithoutCancel(t.Context()), program(t), "run", "-c", config), runs)
	ready(t, listen) // the slot is there
	if _, err := db.Exec(t.Context(), `update orders set n = 1`); err != nil {
		t.Fatal(err)
	}
	var series map[string][]labels.Labels
	servertest.Eventually(t, patience, func() (bool, string) {
		text, err := get(t, "http://"+listen+"/metrics")
		if err != nil {
			return false, err.Error()
		}
		series = parseMetrics(t, text)
		for _, want := range []string{"freshet_published_changes_total", "freshet_invalidated_total", "freshet_watermark_age_seconds", "freshet_stream_pending", "freshet_verified_total"} {
			if len(series[want]) == 0 {
				return false, "no " + want
			}
		}
		return true, ""
	})
	return series
}

func parseMetrics(t *testing.T, text []byte) map[string][]labels.Labels {
	t.Helper()
	series := map[string][]labels.Labels{}
	p, err := textparse.New(text, "text/plain", labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return series
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry == textparse.EntrySeries {
			var l labels.Labels
			p.Labels(&l)
			series[l.Get(model.MetricNameLabel)] = append(series[l.Get(model.MetricNameLabel)], l)
		}
	}
}
