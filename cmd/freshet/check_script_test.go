package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// A fresh database with a schema, and a role that may do nothing but log in:
// what --sql prints, run by psql, and a restart, and the check passes.
func TestCheckScript(t *testing.T) {
	t.Parallel()
	for name, manage := range map[string]bool{"managed": true, "by hand": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &deployment{t: t, postgres: servertest.Postgres(t, servers.PostgresOptions{Settings: map[string]string{"wal_level": "replica"}})}
			d.environment = []string{
				"DATABASE_URL=" + d.postgres.UserURL("freshet", "", "app"), "REDIS_URL=" + servertest.Redis(t).URL(), "NATS_URL=" + servertest.NATS(t).URL(),
			}
			d.file("postgres", "source-application.sql")
			d.admin(`CREATE ROLE freshet LOGIN`)
			config := d.config(manage)
			d.runScript(config)
			if err := d.postgres.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := d.postgres.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !manage {
				d.runScript(config) // a slot can only be made now, and the script says so
			}
			if out, status := d.check(config); status != exitDone {
				t.Errorf("after the script: status %d\n%s", status, out)
			}
			if script, _, status := commandIn(t, t.TempDir(), d.environment, "check", "--sql", "-c", config); status != exitDone || statements(script) != "" {
				t.Errorf("nothing to mend: status %d and the script\n%s", status, script)
			}
		})
	}
}

// runScript pipes `freshet check --sql` into psql.
func (d *deployment) runScript(config string) {
	d.t.Helper()
	script, errOut, status := commandIn(d.t, d.t.TempDir(), d.environment, "check", "--sql", "-c", config)
	if status != exitFailed || errOut != "" || statements(script) == "" {
		d.t.Fatalf("check --sql: status %d\n%s%s", status, script, errOut)
	}
	psql := exec.CommandContext(d.t.Context(), findPSQL(d.t, d.postgres), "-X", "-v", "ON_ERROR_STOP=1", d.postgres.URL())
	psql.Stdin = strings.NewReader(script)
	if out, err := psql.CombinedOutput(); err != nil {
		d.t.Fatalf("psql: %v\n%s\n%s", err, out, script)
	}
}

func findPSQL(t *testing.T, postgres *servers.Postgres) string {
	t.Helper()
	beside := filepath.Join(postgres.Bin(), "psql")
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Fatal("psql is missing; install it: apt-get install postgresql-client")
	}
	return psql
}

// statements is a script without its comments.
func statements(script string) string {
	var b strings.Builder
	for line := range strings.Lines(script) {
		if !strings.HasPrefix(line, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// The heartbeat passes through the whole of a running service, and not through
// half of one.
func TestCheckBesideAService(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	heartbeat := func() (l check.Line) {
		t.Helper()
		out, errOut, _ := checkCommand(t, "-c", s.config, "-o", "json")
		var report check.Report
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v\n%s%s", err, out, errOut)
		}
		for _, line := range report.Lines {
			if line.Check == "heartbeat" {
				l = line
			}
		}
		return l
	}
	consumer := runService(t, s.config, "consumer")
	servertest.Eventually(t, patience, func() (bool, string) {
		st, err := consumer.status()
		return st.Consumer.State == "streaming", fmt.Sprint(st, err)
	})
	if l := heartbeat(); l.Status != check.Warn || !strings.Contains(l.Text, "the watermark has not passed") {
		t.Errorf("without an invalidator: got %+v", l)
	}
	invalidator := runService(t, s.config, "invalidator")
	s.settle(invalidator)
	servertest.Eventually(t, patience, func() (bool, string) {
		l := heartbeat()
		return l.Status == check.OK && strings.Contains(l.Text, "through the running service"), fmt.Sprint(l)
	})
	// A watermark that is announced, and stands still.
	if err := consumer.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l := heartbeat()
	if err := consumer.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if l.Status != check.Warn || !strings.Contains(l.Text, "the watermark has not passed") {
		t.Errorf("with a consumer that sleeps: got %+v", l)
	}
}
