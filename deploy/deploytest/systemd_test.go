package deploytest

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// systemd itself finds nothing wrong with the unit, and what it grants is little.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("there is no systemd-analyze: apt-get install systemd")
	}
	// The program must be there to be verified.
	unit := strings.ReplaceAll(string(read(t, "systemd/freshet.service")), "/usr/local/bin/freshet", program(t))
	path := write(t, "freshet.service", unit)
	// --man=no: the pages of other units are not ours.
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "freshet.service") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	// Of 100; an unconfined service has 96.
	if out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=20", path).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// The unit's command line, with its environment file and in an empty state folder,
// keeps the source application's cache fresh. Only paths and addresses are the test's.
func TestSystemdCommand(t *testing.T) {
	t.Parallel()
	command := strings.Fields(assignments(t, "systemd/freshet.service")["ExecStart"])
	environment := assignments(t, "systemd/freshet.env")

	postgres, cache, listen := servertest.Postgres(t), servertest.Redis(t), servertest.FreeAddr(t)
	db, err := pgx.Connect(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) }) // the server ends too
	for _, sql := range []string{
		string(read(t, "sql/source-application.sql")), string(read(t, "sql/replica-identity.sql")),
		`INSERT INTO workspaces (name) VALUES ('first')`, `INSERT INTO clients (workspace_id, name) VALUES (1, 'One')`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	config := strings.NewReplacer("127.0.0.1:8080", listen, "127.0.0.1:4222", servertest.FreeAddr(t)).Replace(string(read(t, "freshet.yaml")))
	for i, word := range command {
		switch word {
		case "/usr/local/bin/freshet":
			command[i] = program(t)
		case "/etc/freshet/freshet.yaml":
			command[i] = write(t, "freshet.yaml", config)
		}
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
	cmd.Dir = t.TempDir()
	for name, value := range environment {
		switch {
		case name == "DATABASE_URL":
			value = postgres.URL()
		case name == "REDIS_URL":
			value = cache.URL()
		case strings.Contains(value, "example"):
			t.Errorf("no server of the test is %s=%s", name, value)
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	start(t, cmd, runs)
	ready(t, listen)

	rdb := cache.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	if err := rdb.Set(t.Context(), "client:1", "{}", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `UPDATE clients SET city = 'Graz'`); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		n, err := rdb.Exists(t.Context(), "client:1").Result()
		return err == nil && n == 0, "client:1 is still there"
	})
	// The store of the embedded server is in the state folder.
	if _, err := os.Stat(filepath.Join(cmd.Dir, "freshet-data")); err != nil {
		t.Error(err)
	}
	// As the image's health check does.
	health := exec.CommandContext(t.Context(), command[0], "health", "--ready", "-c", command[len(command)-1])
	if out, err := health.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ready\n") {
		t.Errorf("health: %v: %s", err, out)
	}
}

// assignments are the lines NAME=value of a unit or an environment file; of a name
// that comes twice, the last.
func assignments(t *testing.T, name string) map[string]string {
	t.Helper()
	found := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(read(t, name)))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(key, "#") {
			found[key] = value
		}
	}
	return found
}
