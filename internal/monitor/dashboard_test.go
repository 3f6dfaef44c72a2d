package monitor_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/monitor"
)

// The page and what it names are embedded, and the browser is told to load nothing
// from anywhere else and to run nothing that stands in the page.
func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	_, url := startWatched(t, monitor.Config{})
	fetch := func(path string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || len(body) == 0 {
			t.Fatalf("%s: got %d, %d bytes, %v", path, response.StatusCode, len(body), err)
		}
		policy := response.Header.Get("Content-Security-Policy")
		for _, part := range strings.Split(policy, "; ") {
			if _, allowed, _ := strings.Cut(part, " "); allowed != "'none'" && allowed != "'self'" {
				t.Errorf("%s: the policy has %q, want nothing but 'self'", path, part)
			}
		}
		if !strings.HasPrefix(policy, "default-src 'none'; ") || len(response.Cookies()) > 0 {
			t.Errorf("%s: got policy %q and cookies %v", path, policy, response.Cookies())
		}
		return string(body)
	}
	page := fetch("/")
	named := regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(named) < 5 {
		t.Fatalf("the page names %v, want its styles and scripts", named)
	}
	for _, path := range named {
		fetch(path[1])
	}
	for _, module := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(fetch("/assets/dashboard.js"), -1) {
		fetch("/assets/" + module[1])
	}
}
