package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An application runs beside Freshet and changes its tables' definitions while
// it does: not one of its statements fails, and nothing stays stale.
func TestNoStatementFailsBecauseOfFreshet(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	run := func(sql string) {
		t.Helper()
		if _, err := s.db.Exec(t.Context(), sql); err != nil {
			t.Errorf("the application's statement failed: %s: %v", sql, err)
		}
	}
	run(`create table events (id bigint, day date not null, note text, n bigint not null default 0, primary key (id, day)) partition by range (day);
		create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01');
		insert into events select n, '2026-01-05', 'x' from generate_series(1, 100) n`)
	s.config = writeConfig(t, strings.Replace(readFile(t, s.config), "rules:\n", "rules:\n  - table: events\n    invalidate: [\"event:{id}\"]\n", 1))
	p := runService(t, s.config, "")
	s.settle(p)
	s.traffic()

	script := filepath.Join(t.TempDir(), "events.sql")
	if err := os.WriteFile(script, []byte(`\set id random(1, 100)
update events set n = n + 1 where id = :id;
insert into events (id, day, note) values (1000 + :client_id * 1000000 + random() * 900000, '2026-01-07', 'pgbench') on conflict do nothing;
delete from events where id = 1000 + :id;
`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bench := pgbench(ctx, s, script, 12)
	output := make(chan string, 1)
	go func() {
		text, err := bench.CombinedOutput()
		output <- fmt.Sprintf("%s\nended: %v", text, err)
	}()
	for _, sql := range []string{
		`alter table orders replica identity default`,
		`alter table orders replica identity full`,
		`alter table orders add column note text default 'x'`,
		`alter table orders alter column version type numeric using version::numeric`,
		`alter table orders alter column version type bigint using version::bigint`,
		`alter table orders drop column note`,
		`create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01')`,
		`insert into events (id, day) select n, '2026-02-05' from generate_series(1, 50) n`,
		`update events set n = n + 1 where day = '2026-02-05'`,
		`create table events_3 (like events including all)`,
		`insert into events_3 (id, day) values (1, '2026-03-05')`,
		`alter table events attach partition events_3 for values from ('2026-03-01') to ('2026-04-01')`,
		`update events set n = n + 1 where day = '2026-03-05'`,
		`alter table events detach partition events_2`,
		`drop table events_2`,
		`alter table events add column extra int`,
		`alter table events drop column extra`,
	} {
		run(sql)
		s.awaitCommits(20)
	}
	text := <-output
	if strings.Contains(text, "ERROR") || !strings.Contains(text, "ended: <nil>") || !strings.Contains(text, "number of failed transactions: 0") {
		t.Errorf("pgbench:\n%s", text)
	}
	s.audit(p)
	if what := s.refused.Load(); what != nil {
		t.Errorf("the application's statement failed: %s", *what)
	}
}

// pgbench runs a script for some seconds.
func pgbench(ctx context.Context, s *shop, script string, seconds int) *exec.Cmd {
	program := filepath.Join(s.postgres.Bin(), "pgbench")
	if _, err := os.Stat(program); err != nil {
		program = "pgbench" // some packages of the server do without it; another version's does
	}
	return exec.CommandContext(ctx, program, "-n", "-c", "2", "-R", "200",
		"-T", strconv.Itoa(seconds), "-f", script, s.postgres.URL())
}

// A transaction of a million rows passes through a consumer whose resident
// memory stays under 100 MB and does not grow with the count. The binary is
// built without the race detector, whose shadow memory is not the service's.
func TestMemoryStaysFlatOnAMillionRows(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "freshet")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	s := newShop(t, "")
	role := func(name string) *process {
		return startService(t, exec.CommandContext(context.Background(), binary, "run", "-c", s.config, "--roles", name))
	}
	p, invalidator := role("consumer"), role("invalidator")
	s.settle(invalidator)
	peaks := make(map[int]int)
	for _, rows := range []int{100_000, 1_000_000} {
		if _, err := s.db.Exec(t.Context(), `insert into orders select 10000000 + n, n % 20, 0 from generate_series(1, $1::bigint) n on conflict (id) do update set version = orders.version + 1`, rows); err != nil {
			t.Fatal(err)
		}
		s.settleWithin(5*time.Minute, invalidator)
		peaks[rows] = peakMemory(t, p.cmd.Process.Pid)
		t.Logf("%d rows: peak resident memory %d MB", rows, peaks[rows]>>20)
	}
	if peak := peaks[1_000_000]; peak > 100<<20 {
		t.Errorf("peak resident memory %d MB, want under 100", peak>>20)
	}
	if grew := peaks[1_000_000] - peaks[100_000]; grew > 20<<20 {
		t.Errorf("peak resident memory grew by %d MB with ten times the rows", grew>>20)
	}
}

// peakMemory is the peak resident memory of a process, in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.SplitSeq(readFile(t, fmt.Sprintf("/proc/%d/status", pid)), "\n") {
		var kilobytes int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	t.Fatal("no VmHWM in /proc: this test needs Linux")
	return 0
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimRight(text, "\x00"))
}
