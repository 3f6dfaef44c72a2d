package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// A running service takes new rules, on SIGHUP and when it is asked: what they need
// is published, what they cover is flushed, and a file that is wrong changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	file, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := runService(t, s.config, "")
	awaitActive(t, patience, p)
	s.settle(p)
	if _, err := s.db.Exec(t.Context(), `create table items (id bigint primary key, n int); insert into items values (1, 0), (2, 0)`); err != nil {
		t.Fatal(err)
	}
	s.plant("item:1", "order:1")

	// Wrong in itself, and wrong for this database.
	for _, tc := range []struct{ add, want string }{
		{"  - table: items\n    invalidat: [\"item:{id}\"]\n", "invalidat"},
		{"  - table: itemz\n    invalidate: [\"item:{id}\"]\n", "itemz"},
	} {
		write(string(file) + tc.add)
		out, errOut, status := freshet(t, "reload", "--nats", s.nats.URL(), "--name", "shop")
		if status == 0 || !strings.Contains(errOut, tc.want) {
			t.Errorf("got %d, %s%s, want a refusal with %q", status, out, errOut, tc.want)
		}
	}
	servertest.Eventually(t, patience, func() (bool, string) { return s.events("reload_failed") == 2, "no events of the refusals" })

	good := string(file) + "  - table: items\n    invalidate: [\"item:{id}\"]\n"
	write(good)
	if out, errOut, status := freshet(t, "reload", "-c", s.config); status != 0 {
		t.Fatalf("got %d, %s%s", status, out, errOut)
	}
	gone := func(key string) {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) { return !s.has(key), key + " is still cached" })
	}
	gone("item:1") // what the new rule covers: nothing is known of it before
	if !s.has("order:1") {
		t.Error("the coverage of a rule that did not change was flushed")
	}
	change := func(sql, key string) {
		t.Helper()
		s.plant(key)
		if _, err := s.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		gone(key)
	}
	change(`update items set n = n + 1 where id = 2`, "item:2")

	write(strings.Replace(good, `"item:{id}"`, `"thing:{id}"`, 1))
	s.plant("thing:9")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	gone("thing:9")
	change(`update items set n = n + 1 where id = 2`, "thing:2")
	if status, _ := p.terminate(); status != 0 {
		t.Errorf("ended with %d, want 0", status)
	}
}

// Whoever takes over has read the file again too: a process that stood by, and one
// with other roles, whose publication a new rule needs.
func TestReloadReachesEveryProcess(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	if _, err := s.db.Exec(t.Context(), `create table items (id bigint primary key, n int); insert into items values (1, 0)`); err != nil {
		t.Fatal(err)
	}
	runService(t, s.config, "consumer")
	workers := []*process{runService(t, s.config, "invalidator"), runService(t, s.config, "invalidator")}
	s.settle(workers...)

	config := readFile(t, s.config) + "  - table: items\n    invalidate: [\"item:{id}\"]\n"
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.plant("item:9")
	// One that starts now has the new rules alone.
	third := runService(t, s.config, "invalidator")
	differ := func(want bool) {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) {
			out, _, _ := freshet(t, "status", "-c", s.config)
			return strings.Contains(out, "have read different ones") == want, out
		})
	}
	differ(true)
	third.terminate()
	if out, errOut, status := freshet(t, "reload", "-c", s.config); status != 0 {
		t.Fatalf("got %d, %s%s", status, out, errOut)
	}
	follows := func() {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) { return !s.has("item:9"), "item:9, which a new rule covers, was not flushed" })
		s.plant("item:1")
		if _, err := s.db.Exec(t.Context(), `update items set n = n + 1 where id = 1`); err != nil {
			t.Fatal(err)
		}
		servertest.Eventually(t, patience, func() (bool, string) { return !s.has("item:1"), "item:1 is still cached" })
	}
	follows()
	differ(false)
	workers[0].kill() // which was asked: the other one stood by
	follows()
}
