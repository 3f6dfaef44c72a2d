package service_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// A running service has the metrics that are documented, and no others, in the
// form that Prometheus asks for.
func TestMetrics(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: `create table orders (id bigint primary key, n int); insert into orders values (1, 0), (2, 0)`,
		rules: []rule.Config{{
			Table: "orders", Invalidate: []string{"order:{id}", "orders:*"},
			Warm: []rule.Warm{{Key: "order:{id}", SQL: "select n from orders where id = {id}", TTL: 1e12}},
		}},
		verifyRate: 1000,
	})
	r := b.start()
	b.settle(r)
	b.plant("order:1", "orders:list")
	b.exec(`update orders set n = 1 where id = 1`)
	b.expect(r, []string{"orders:list"}, nil)

	var text []byte
	servertest.Eventually(t, patience, func() (bool, string) {
		text = scrape(t, r.HTTP)
		for _, want := range []string{
			`freshet_published_changes_total{op="update",schema="public",table="orders"} 1`,
			`freshet_invalidated_total{kind="key",rule="orders"} 1`,
			`freshet_warmed_total{result="filled"} 1`,
			`freshet_active{role="consumer"} 1`, `freshet_active{role="invalidator"} 1`, `freshet_active{role="warmer"} 1`,
			`freshet_ready{role="invalidator"} 1`, `freshet_commit_to_applied_seconds_count 1`,
			`freshet_state{role="consumer",state="streaming"} 1`, `freshet_state{role="invalidator",state="redis_down"} 0`,
			`freshet_stream_pending `, `freshet_heartbeat_late 0`, `freshet_slot_max_bytes 8.5`, `freshet_pending_gaps 0`,
			`freshet_gaps_total{reason="slot_created"} 1`, `freshet_gaps_total{reason="crash"} 0`, `freshet_pattern_pass_seconds_count`,
		} {
			if !strings.Contains(string(text), want) {
				return false, "no " + want
			}
		}
		return regexp.MustCompile(`freshet_verified_total{result="fresh"} [1-9]`).Match(text), "nothing verified"
	})
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("the linter says %v, %v", problems, err)
	}

	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := names(`(?m)^\| .(freshet_[a-z_]+). \|`, page)
	served := names(`(?m)^# TYPE (freshet_[a-z_]+) `, text)
	if !slices.Equal(documented, served) {
		t.Errorf("docs/metrics.md has %v, the service %v", documented, served)
	}
}

func names(pattern string, text []byte) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
		found = append(found, string(m[1]))
	}
	slices.Sort(found)
	return found
}

func scrape(t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(fmt.Sprint(response.Status, err))
	}
	return text
}
