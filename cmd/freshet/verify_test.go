package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestVerifyCommand(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	config := writeConfig(t, fmt.Sprintf(`
name: shop
postgres: {url: %q, heartbeat: 1s}
nats: {url: %q}
cache: {url: %q}
http: {listen: "127.0.0.1:0"}
verify: {rate: 500/s}
rules:
  - table: orders
    invalidate: ["order:{id}"]
    warm:
      - {key: "order:{id}", sql: "select to_jsonb(o) from orders o where id = {id}", ttl: 1h}
`, s.postgres.URL(), s.nats.URL(), s.redis.URL()))
	p := runService(t, config, "consumer,invalidator")
	awaitActive(t, patience, p)
	s.settle(p)

	out, errOut, status := freshet(t, "verify", "-c", config)
	if status != 0 || !strings.Contains(out, "checked 0, stale 0") {
		t.Errorf("nothing is cached: got status %d, %s%s", status, out, errOut)
	}
	rdb := s.redis.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	for key, value := range map[string]string{
		"order:1": `{"id": 1, "client_id": 999, "version": 0}`,
		"order:2": `{"version": 0, "id": 2, "client_id": 2}`,
	} {
		if err := rdb.Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// The running service finds it by itself.
	servertest.Eventually(t, patience, func() (bool, string) {
		return s.events("mismatch") > 0, "no event"
	})

	out, errOut, status = freshet(t, "verify", "-c", config, "--patience", "1m")
	if status != 1 || !strings.Contains(out, `"order:1"`) || strings.Contains(out, `"order:2"`) ||
		!strings.Contains(out, "checked 2, stale 1") || strings.Contains(out, "999") {
		t.Errorf("got status %d, %s%s", status, out, errOut)
	}
	out, errOut, status = freshet(t, "verify", "-c", config, "--patience", "1m", "--fix", "-o", "json")
	var report struct {
		Mismatches []struct {
			Key   string   `json:"key"`
			Rule  string   `json:"rule"`
			Fixed bool     `json:"fixed"`
			Age   *float64 `json:"age_seconds"`
		} `json:"mismatches"`
		Bound float64 `json:"bound_95"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 1 || len(report.Mismatches) != 1 ||
		report.Mismatches[0].Key != "order:1" || !report.Mismatches[0].Fixed || report.Mismatches[0].Age != nil || report.Bound <= 0.5 {
		t.Errorf("got status %d, %v, %s%s", status, err, out, errOut)
	}
	if out, errOut, status = freshet(t, "verify", "-c", config, "--patience", "1m", "--sample", "10", "--rate", "1000/s"); status != 0 {
		t.Errorf("after the fix: got status %d, %s%s", status, out, errOut)
	}

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", config, "--rate", "fast"}, "--rate"},
		{[]string{"-c", config, "--sample", "-1"}, "--sample"},
		{[]string{"-c", config, "-o", "xml"}, "--output"},
		{[]string{"-c", s.config}, "no rule has a warm query"},
	} {
		_, errOut, status := freshet(t, append([]string{"verify"}, tc.args...)...)
		if status != 2 || !strings.Contains(errOut, tc.want) {
			t.Errorf("%v: got status %d, %s, want 2 and %q", tc.args, status, errOut, tc.want)
		}
	}
}
