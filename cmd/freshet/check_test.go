package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// checkCommand runs `freshet check`.
func checkCommand(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return freshet(t, append([]string{"check"}, args...)...)
}

func TestCheckCommand(t *testing.T) {
	t.Parallel()
	postgres, redis := servertest.Postgres(t), servertest.Redis(t)
	db, err := postgres.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	if _, err := db.Exec(t.Context(), `create table orders (id int primary key, client_id int)`); err != nil {
		t.Fatal(err)
	}
	write := func(target string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "freshet.yaml")
		content := fmt.Sprintf(`name: shop
postgres: {url: %q}
nats: {embedded: {listen: "127.0.0.1:0", store_dir: %q}}
cache: {url: %q}
rules:
  - table: orders
    invalidate:
      - %q
`, postgres.URL(), t.TempDir(), redis.URL(), target)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("orders:client:{client_id}")

	out, errOut, status := checkCommand(t, "-c", path)
	if status != exitFailed || !strings.Contains(out, path+":8:24") || strings.Contains(out, "\x1b") || errOut != "" {
		t.Errorf("a table without the identity that its rule needs: status %d\n%s%s", status, out, errOut)
	}
	column := strings.Index(out, "Postgres ")
	for line := range strings.Lines(out) {
		for _, word := range []string{"ok    ", "warn  ", "fail  "} {
			if strings.HasPrefix(line, word) && (line[column-2:column] != "  " || line[column] == ' ') {
				t.Errorf("column %d is not where the text begins: %s", column, line)
			}
		}
	}

	script, errOut, status := checkCommand(t, "-c", path, "--sql")
	if status != exitFailed || errOut != "" || !strings.Contains(script, "REPLICA IDENTITY FULL;") {
		t.Errorf("--sql: status %d\n%s%s", status, script, errOut)
	}
	if _, err := db.Exec(t.Context(), script, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%v\n%s", err, script)
	}
	if out, errOut, status = checkCommand(t, "-c", path); status != exitDone {
		t.Errorf("after its statements: status %d\n%s%s", status, out, errOut)
	}

	out, _, status = checkCommand(t, "-c", path, "-o", "json")
	var report struct {
		Lines []struct{ Area, Check, Status, Text string } `json:"lines"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != exitDone || len(report.Lines) < 20 {
		t.Errorf("-o json: status %d, %v\n%s", status, err, out)
	}

	for name, args := range map[string][]string{
		"unknown column": {"-c", write("orders:client:{clientid}")},
		"no such file":   {"-c", path + ".none"},
		"two formats":    {"-c", path, "--sql", "-o", "json"},
		"argument":       {"-c", path, "orders"},
	} {
		if out, errOut, status = checkCommand(t, args...); status != exitUsage {
			t.Errorf("%s: status %d, want %d\n%s%s", name, status, exitUsage, out, errOut)
		}
	}

	if err := redis.Stop(); err != nil {
		t.Fatal(err)
	}
	script, errOut, status = checkCommand(t, "-c", path, "--sql")
	if status != exitFailed || !strings.Contains(errOut, "not mended by SQL: cache: connection") {
		t.Errorf("--sql with redis down: status %d\n%s%s", status, script, errOut)
	}
}
