package monitor_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/monitor"
)

type part struct{ role, reason string }

func (p *part) Role() string  { return p.role }
func (p *part) Ready() string { return p.reason }
func (p *part) Snapshot() any { return map[string]string{"state": "streaming"} }

func start(t *testing.T, sources ...monitor.Source) string {
	t.Helper()
	server, err := monitor.Listen(t.Context(), monitor.Config{Listen: "127.0.0.1:0"}, sources...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return server.URL()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestReadyTellsTheTruth(t *testing.T) {
	t.Parallel()
	good := &part{role: "consumer"}
	bad := &part{role: "invalidator", reason: "redis does not answer; start it"}
	if code, body := get(t, start(t, good)+"/readyz"); code != http.StatusOK {
		t.Errorf("all parts ready: got %d %q, want 200", code, body)
	}
	code, body := get(t, start(t, good, bad)+"/readyz")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "invalidator: redis does not answer; start it") {
		t.Errorf("one part not ready: got %d %q, want 503 with the reason", code, body)
	}
}

func TestHealthAndStatus(t *testing.T) {
	t.Parallel()
	url := start(t, &part{role: "consumer", reason: "not ready"})
	if code, _ := get(t, url+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: got %d, want 200 also while not ready", code)
	}
	_, body := get(t, url+"/status")
	var reports []monitor.Report
	if err := json.Unmarshal([]byte(body), &reports); err != nil {
		t.Fatalf("/status is not JSON: %v", err)
	}
	if len(reports) != 1 || reports[0].Role != "consumer" || reports[0].Reason != "not ready" || string(reports[0].Status) != `{"state":"streaming"}` {
		t.Errorf("/status: got %s, want the report of the consumer", body)
	}
}

func TestTakenPortNamesTheSetting(t *testing.T) {
	t.Parallel()
	url := start(t, &part{role: "consumer"})
	_, err := monitor.Listen(t.Context(), monitor.Config{Listen: strings.TrimPrefix(url, "http://")})
	if err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("taken port: got %v, want an error that names http.listen", err)
	}
}
