package servers_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestPostgresKeepsDataAcrossKillAndStop(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := servertest.Postgres(t)
	exec(t, p, "CREATE TABLE t (id int PRIMARY KEY)")
	exec(t, p, "INSERT INTO t VALUES (1)")
	port, first := p.Port(), p.PID()

	children := childrenOf(t, first)
	if len(children) == 0 {
		t.Fatal("postmaster has no children; the test would prove nothing")
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(children, first) {
		if existing(t, pid) {
			t.Errorf("process %d outlived Kill", pid)
		}
	}
	if got := p.PID(); got != 0 {
		t.Errorf("PID after Kill: got %d, want 0", got)
	}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := p.Port(), port; got != want {
		t.Errorf("port after Start: got %d, want %d", got, want)
	}
	if !strings.Contains(p.Log(), "database system was not properly shut down") {
		t.Error("Kill was not a crash to the server: no recovery in its log")
	}
	exec(t, p, "INSERT INTO t VALUES (2)")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := query[int](t, p, "SELECT count(*) FROM t"), 2; got != want {
		t.Errorf("rows: got %d, want %d", got, want)
	}
}

func TestPostgresKillEndsBusyBackends(t *testing.T) {
	t.Parallel()
	p := servertest.Postgres(t)
	conn, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	backend := int(conn.PgConn().PID())
	// Busy without ever waiting, so it would not notice the postmaster's death.
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "DO $$ BEGIN LOOP NULL; END LOOP; END $$")
		failed <- err
	}()
	servertest.Eventually(t, patience, func() (bool, string) {
		state := query[string](t, p, "SELECT coalesce((SELECT state FROM pg_stat_activity WHERE query LIKE 'DO %'), 'none')")
		return state == "active", state
	})
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if existing(t, backend) {
		t.Errorf("backend %d outlived Kill", backend)
	}
	if err := <-failed; err == nil {
		t.Error("endless statement ended without an error")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestPostgresCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"running", "killed", "stopped", "paused"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			parent := enterableDir(t)
			p := servertest.Postgres(t, servers.PostgresOptions{Dir: parent})
			pids := append(childrenOf(t, p.PID()), p.PID())
			id := segmentOf(t, p.DataDir())
			var err error
			switch how {
			case "killed":
				err = p.Kill()
			case "stopped":
				err = p.Stop()
			case "paused":
				err = p.Pause()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(p.Close(), p.Close()); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				servertest.Eventually(t, patience, func() (bool, string) { return !existing(t, pid), "process outlived Close" })
			}
			assertEmpty(t, parent)
			if segmentExists(t, id) {
				t.Errorf("shared memory segment %s outlived Close", id)
			}
			if err := p.Start(t.Context()); err == nil {
				t.Error("Start after Close: got no error")
			}
		})
	}
}

func TestPostgresClustersHaveTheirOwnIdentity(t *testing.T) {
	t.Parallel()
	const q = "SELECT system_identifier::text FROM pg_control_system()"
	a, b := query[string](t, servertest.Postgres(t), q), query[string](t, servertest.Postgres(t), q)
	if a == b {
		t.Errorf("two clusters share the system identifier %s", a)
	}
}

func TestPostgresConfig(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p := servertest.Postgres(t, servers.PostgresOptions{
		Settings: map[string]string{"wal_sender_timeout": "7s"},
		HBA:      []string{"host app stranger 127.0.0.1/32 reject"},
		Files:    map[string][]byte{"extra.txt": []byte("x")},
	})
	for name, want := range map[string]string{
		"wal_level": "logical", "wal_sender_timeout": "7s", "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
	} {
		if got := query[string](t, p, "SHOW "+name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := query[string](t, p, "SELECT pg_read_file('extra.txt')"); got != "x" {
		t.Errorf("extra file: got %q, want %q", got, "x")
	}
	for _, want := range []string{"ghost", `it's "odd" \ name`} {
		if err := p.SetConfig(ctx, "application_name", want); err != nil {
			t.Fatal(err)
		}
		if got := query[string](t, p, "SHOW application_name"); got != want {
			t.Errorf("application_name after SetConfig: got %q, want %q", got, want)
		}
	}
	if err := p.ResetConfig(ctx, "application_name"); err != nil {
		t.Fatal(err)
	}
	if got := query[string](t, p, "SHOW application_name"); got != "" {
		t.Errorf("application_name after ResetConfig: got %q, want none", got)
	}

	exec(t, p, "CREATE ROLE stranger LOGIN PASSWORD 'secret'")
	if conn, err := pgx.Connect(ctx, p.UserURL("stranger", "secret", "app")); err == nil {
		conn.Close(ctx)
		t.Error("a role that the access rules reject was let in")
	}
	if err := p.SetHBA(ctx, "host app stranger 127.0.0.1/32 scram-sha-256"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, p.UserURL("stranger", "secret", "app"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(ctx)
	if conn, err := pgx.Connect(ctx, p.UserURL("stranger", "wrong", "app")); err == nil {
		conn.Close(ctx)
		t.Error("a wrong password was let in")
	}
}

func TestPostgresPauseAndResume(t *testing.T) {
	t.Parallel()
	p := servertest.Postgres(t)
	conn, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- conn.Ping(context.Background()) }()
	servertest.Never(t, 100*time.Millisecond, func() (bool, string) {
		return len(answered) > 0, "a paused server answered"
	})
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("ping over a pause: %v", err)
	}
}

func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	primary := servertest.Postgres(t)
	exec(t, primary, "CREATE TABLE t (id int PRIMARY KEY)")
	standby := servertest.PostgresStandby(t, primary)
	exec(t, primary, "INSERT INTO t VALUES (1)")
	servertest.Eventually(t, patience, func() (bool, string) {
		n := query[int](t, standby, "SELECT count(*) FROM t")
		return n == 1, "row not replicated"
	})
	if !query[bool](t, standby, "SELECT pg_is_in_recovery()") {
		t.Fatal("standby is not in recovery")
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, standby, "INSERT INTO t VALUES (2)")
	if got, want := query[int](t, standby, "SELECT timeline_id FROM pg_control_checkpoint()"), 2; got < want {
		// The checkpoint of the new timeline may still be under way.
		exec(t, standby, "CHECKPOINT")
		if got := query[int](t, standby, "SELECT timeline_id FROM pg_control_checkpoint()"); got != want {
			t.Errorf("timeline: got %d, want %d", got, want)
		}
	}
}

func TestPostgresMissingSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	_, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{Bin: filepath.Join(t.TempDir(), "none")})
	var missing *servers.MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v, want a MissingError", err)
	}
	if !strings.Contains(err.Error(), "install postgresql") {
		t.Errorf("error names no remedy: %v", err)
	}
}

func TestPostgresBadSettingShowsTheLog(t *testing.T) {
	t.Parallel()
	parent := enterableDir(t)
	_, err := servers.StartPostgres(t.Context(), servers.PostgresOptions{
		Dir: parent, Settings: map[string]string{"no_such_setting": "1"},
	})
	if err == nil || !strings.Contains(err.Error(), `"no_such_setting"`) {
		t.Errorf("got %v, want the server's own complaint", err)
	}
	assertEmpty(t, parent)
}

func TestPostgresVersions(t *testing.T) {
	t.Parallel()
	versions := servers.PostgresVersions()
	if len(versions) == 0 {
		t.Fatal("no Postgres found; install it: apt-get install postgresql, or brew install postgresql@17")
	}
	for _, v := range versions {
		if v.Major < 10 || !strings.HasPrefix(v.Version, itoa(v.Major)) {
			t.Errorf("implausible version %+v", v)
		}
		if _, err := os.Stat(filepath.Join(v.Bin, "initdb")); err != nil {
			t.Error(err)
		}
	}
}
