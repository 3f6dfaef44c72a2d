package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// The command says what the process at http.listen says, and fails when it is not
// well, away, or nowhere to be asked.
func TestHealthCommand(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "consumer: connecting: start Postgres")
			return
		}
		fmt.Fprintln(w, "alive")
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// The servers of the other sections are not asked for, nor their secrets.
	config := func(listen string) string {
		return writeConfig(t, fmt.Sprintf("name: shop\npostgres: {url: \"${NOWHERE}\"}\nhttp: {listen: %q}\n", listen))
	}
	for _, tc := range []struct {
		name, listen string
		args         []string
		status       int
		want         string
	}{
		{"alive", "127.0.0.1:" + port, nil, exitDone, "alive\n"},
		{"listens on every address", "0.0.0.0:" + port, nil, exitDone, "alive\n"},
		{"listens on every address, without a host", ":" + port, nil, exitDone, "alive\n"},
		{"not ready", "127.0.0.1:" + port, []string{"--ready"}, exitFailed, "503 Service Unavailable: consumer: connecting: start Postgres"},
		{"away", servertest.FreeAddr(t), nil, exitFailed, "is the service running"},
		{"off", "", nil, exitUsage, "http.listen is empty"},
	} {
		out, errOut, status := freshet(t, append([]string{"health", "-c", config(tc.listen)}, tc.args...)...)
		if status != tc.status || !strings.Contains(out+errOut, tc.want) {
			t.Errorf("%s: status %d, want %d and %q\n%s%s", tc.name, status, tc.status, tc.want, out, errOut)
		}
	}
	if out, _, status := freshet(t, "health", "--help"); status != exitDone || !strings.Contains(out, "Examples:") {
		t.Errorf("--help: status %d\n%s", status, out)
	}
}
