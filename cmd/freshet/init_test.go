package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// commandIn runs a command in a folder and environment of the test's own.
func commandIn(t *testing.T, dir string, environment []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := command(t.Context(), append([]string{"FRESHET_CONFIG=", "DATABASE_URL="}, environment...), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// statementLine is a statement in a draft's first comment.
var statementLine = regexp.MustCompile(`(?m)^#   (ALTER TABLE .*;)$`)

// The draft of a schema passes `freshet check` as it is, once its own
// statements have been run.
func TestInitThenCheck(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"demo":    "../../internal/demo/shop.sql",
		"pgbench": "../../internal/scaffold/testdata/pgbench.sql",
		"prisma":  "../../internal/scaffold/testdata/prisma.sql",
		"odd":     "../../internal/scaffold/testdata/odd.sql",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			postgres := servertest.Postgres(t)
			environment := []string{
				"DATABASE_URL=" + postgres.URL(), "REDIS_URL=" + servertest.Redis(t).URL(), "NATS_URL=" + servertest.NATS(t).URL(),
			}
			runFile(t, postgres, schema)
			dir := t.TempDir()
			out, errOut, status := commandIn(t, dir, environment, "init", "-f", "freshet.yaml")
			if status != exitDone || out != "" || !strings.Contains(errOut, "freshet check -c freshet.yaml") {
				t.Fatalf("init: status %d\n%s%s", status, out, errOut)
			}
			path := filepath.Join(dir, "freshet.yaml")
			draft, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			statements := statementLine.FindAllStringSubmatch(string(draft), -1)
			if (len(statements) == 0) != (name == "pgbench") {
				t.Errorf("statements: got %q", statements)
			}
			if len(statements) > 0 {
				if _, _, status = commandIn(t, dir, environment, "check"); status != exitFailed {
					t.Errorf("check before the statements: status %d, want %d", status, exitFailed)
				}
			}
			var script strings.Builder
			for _, s := range statements {
				script.WriteString(s[1] + "\n")
				if !strings.Contains(errOut, s[1]) {
					t.Errorf("the command does not say %s:\n%s", s[1], errOut)
				}
			}
			execute(t, postgres, script.String())
			if out, errOut, status = commandIn(t, dir, environment, "check"); status != exitDone {
				t.Errorf("check: status %d\n%s%s\n%s", status, out, errOut, draft)
			}
			guesses(t, path, environment)
		})
	}
}

// guesses takes the # from a draft's guesses: they must be valid.
func guesses(t *testing.T, path string, environment []string) {
	t.Helper()
	draft, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bold := strings.NewReplacer("      # - ", "      - ", "    # immutable:", "    immutable:").Replace(string(draft))
	if bold == string(draft) {
		t.Fatal("no guesses in the draft")
	}
	_, err = config.Load(writeConfig(t, bold), func(name string) (string, bool) {
		for _, pair := range environment {
			if value, found := strings.CutPrefix(pair, name+"="); found {
				return value, true
			}
		}
		return "", false
	})
	if err != nil {
		t.Errorf("the guesses: %v", err)
	}
}

func runFile(t *testing.T, postgres *servers.Postgres, file string) {
	t.Helper()
	sql, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, postgres, string(sql))
}

func execute(t *testing.T, postgres *servers.Postgres, sql string) {
	t.Helper()
	db, err := postgres.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	if _, err := db.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

func TestInitCommand(t *testing.T) {
	t.Parallel()
	postgres := servertest.Postgres(t)
	execute(t, postgres, `create role "o'neil" login password 'se/cret'; create table orders (id int primary key); create table notes (text text)`)
	url := postgres.UserURL("o'neil", "se/cret", "app")
	environment := []string{"DATABASE_URL=" + url}
	dir := t.TempDir()

	out, errOut, status := commandIn(t, dir, environment, "init")
	if status != exitDone || errOut != "" || !strings.Contains(out, "order:{id}") || !strings.Contains(out, "#   notes: no primary key") {
		t.Errorf("to standard output: status %d\n%s%s", status, out, errOut)
	}
	if strings.Contains(out, "cret") {
		t.Errorf("the password is in the draft:\n%s", out)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files: got %v, %v, want none", files, err)
	}
	flagged, _, status := commandIn(t, dir, nil, "init", "--postgres", url, "--tables", "orders, public.orders")
	if status != exitDone || strings.Contains(flagged, "notes") || !strings.Contains(flagged, "order:{id}") {
		t.Errorf("--postgres and --tables: status %d\n%s", status, flagged)
	}

	mine := filepath.Join(dir, "mine.yaml")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut, status = commandIn(t, dir, environment, "init", "-f", "mine.yaml")
	if content, err := os.ReadFile(mine); status != exitUsage || !strings.Contains(errOut, "--force") || err != nil || string(content) != "mine" {
		t.Errorf("a file that is there: status %d, %q\n%s", status, content, errOut)
	}
	_, errOut, status = commandIn(t, dir, environment, "init", "-f", "mine.yaml", "--force")
	if content, err := os.ReadFile(mine); status != exitDone || err != nil || string(content) != out {
		t.Errorf("--force: status %d, %q\n%s", status, content, errOut)
	}

	for name, tc := range map[string]struct {
		environment, args []string
		status            int
		want              string
	}{
		"no database":    {nil, nil, exitUsage, "set DATABASE_URL"},
		"a bad URL":      {nil, []string{"--postgres", "postgres://a b@"}, exitUsage, "--postgres"},
		"a wrong table":  {environment, []string{"--tables", "order"}, exitUsage, "did you mean orders?"},
		"an argument":    {environment, []string{"orders"}, exitUsage, "Usage: freshet init"},
		"nobody at home": {nil, []string{"--postgres", "postgres://u:hunter2@" + servertest.FreeAddr(t) + "/app"}, exitFailed, "connect to postgres"},
		"no table":       {environment, []string{"--tables", "notes"}, exitFailed, "no table can have a rule"},
	} {
		out, errOut, status := commandIn(t, dir, tc.environment, append([]string{"init"}, tc.args...)...)
		if status != tc.status || !strings.Contains(errOut, tc.want) || out != "" || strings.Contains(errOut, "hunter2") {
			t.Errorf("%s: status %d, want %d, and %q on standard error\n%s%s", name, status, tc.status, tc.want, out, errOut)
		}
	}
	if help, _, status := commandIn(t, dir, environment, "init", "--help"); status != exitDone || strings.Contains(help, "cret") || !strings.Contains(help, "Examples:") {
		t.Errorf("--help: status %d\n%s", status, help)
	}
}
