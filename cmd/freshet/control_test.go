package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
)

// Of two processes only the one with the active invalidator takes what is for it,
// and the other does when that has gone. A pause outlives the process that took it.
func TestControlFollowsTheActiveInvalidator(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	both := []*process{runService(t, s.config, ""), runService(t, s.config, "")}
	active := awaitActive(t, patience, both...)
	s.settle(active)
	conn, err := nats.Connect(s.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	members := func(want string) {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) {
			roles := map[string]int{}
			for _, m := range gather(t, conn, "$SRV.INFO.freshet") {
				var info micro.Info
				if err := json.Unmarshal(m, &info); err != nil {
					return false, err.Error()
				}
				roles[info.Metadata["role"]]++
			}
			return fmt.Sprint(roles) == want, fmt.Sprintf("members: %v, want %s", roles, want)
		})
	}
	members("map[active:1 any:2]")
	invalidate := func() {
		t.Helper()
		s.plant("order:1")
		if out, errOut, status := freshet(t, "invalidate", "-c", s.config, "order:1"); status != 0 || s.has("order:1") {
			t.Fatalf("got %d: %s%s", status, out, errOut)
		}
	}
	for range 5 { // a process that waits would have its share of them
		invalidate()
	}
	if out, errOut, status := freshet(t, "pause", "-c", s.config); status != 0 {
		t.Fatalf("got %d: %s%s", status, out, errOut)
	}
	if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1 where id = 2`); err != nil {
		t.Fatal(err)
	}
	s.plant("order:2")
	active.kill()
	other := both[0]
	if active == other {
		other = both[1]
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		st, err := other.status()
		return err == nil && st.Invalidator.Active && st.Invalidator.State == "paused", fmt.Sprint(st.Invalidator.State, err)
	})
	members("map[active:1 any:1]")
	invalidate()
	if !s.has("order:2") {
		t.Error("the other process applies what is paused")
	}
	if out, errOut, status := freshet(t, "resume", "-c", s.config); status != 0 {
		t.Fatalf("got %d: %s%s", status, out, errOut)
	}
	s.settle(other)
	if s.has("order:2") {
		t.Error("what was changed while it was paused is still cached")
	}
}

// A verification that was asked for over NATS finds what was planted, announces it
// and, told so, removes it; one runs at a time.
func TestVerifyOverNATS(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	warm(t, s)
	p := runService(t, s.config, "consumer,invalidator")
	awaitActive(t, patience, p)
	s.settle(p)
	conn, err := nats.Connect(s.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	events, err := conn.SubscribeSync("freshet.shop.events.verify")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(request string) (answer monitor.Answer) {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) { // the member comes a moment after the state
			reply, err := conn.Request("freshet.shop.ctl.verify", []byte(request), patience)
			if err != nil {
				return false, err.Error()
			}
			return json.Unmarshal(reply.Data, &answer) == nil, string(reply.Data)
		})
		return answer
	}
	s.plant("order:1")
	servertest.Eventually(t, patience, func() (bool, string) { // a slow watermark leaves keys out
		if answer := ask(`{"fix":true}`); !answer.OK {
			t.Fatalf("got %+v", answer)
		}
		for {
			m, err := events.NextMsg(patience)
			if err != nil {
				t.Fatal(err)
			}
			var e struct{ Fields service.VerifyEvent }
			if err := json.Unmarshal(m.Data, &e); err != nil {
				t.Fatal(err)
			}
			if e.Fields.Done {
				f := e.Fields
				return f.Checked == 1 && f.Mismatches == 1 && f.Fixed == 1 && f.Looked == 1 && f.Error == "", string(m.Data)
			}
		}
	})
	if s.has("order:1") {
		t.Error("what is stale is still cached")
	}
	servertest.Eventually(t, patience, func() (bool, string) { return s.events("mismatch") == 1, "no event" })

	var keys []string
	for n := range 60 {
		keys = append(keys, fmt.Sprintf("order:%d", n+1))
	}
	s.plant(keys...)
	if answer := ask(`{"rate":0.5}`); !answer.OK {
		t.Errorf("got %+v", answer)
	}
	if answer := ask(`{}`); answer.OK || answer.Remedy == "" || !strings.Contains(answer.Error, "another") {
		t.Errorf("got %+v, want that another one runs", answer)
	}
}

// warm gives the shop a rule that warms.
func warm(t *testing.T, s *shop) {
	t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "    warm: [{key: \"order:{id}\", sql: \"select to_jsonb(o) from orders o where o.id = {id}\", ttl: 1m}]\n"...)
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whoever types a command needs the name and the NATS section of the configuration
// alone, and hears what is wrong with what was typed before anything is connected to.
func TestRemoteUsage(t *testing.T) {
	t.Parallel()
	away := "name: shop\nnats: {url: \"nats://127.0.0.1:1\"}\npostgres: {url: \"${FRESHET_TEST_UNSET}\"}\n"
	path := writeConfig(t, away)
	verbs := [][]string{
		{"status"},
		{"tail"},
		{"invalidate", "order:1"},
		{"replay", "--since", "10m"},
		{"pause"},
		{"resume"},
		{"reload"},
	}
	for _, verb := range verbs {
		t.Run(verb[0], func(t *testing.T) {
			t.Parallel()
			for _, tc := range []struct {
				name   string
				args   []string
				status int
				want   string
			}{
				{"nobody is there", []string{"-c", path}, exitFailed, "is the service running"},
				{"nobody is there, without a file", []string{"--nats", "nats://127.0.0.1:1", "--name", "shop"}, exitFailed, "nats://127.0.0.1:1"},
				{"a server without an instance", []string{"--nats", "nats://127.0.0.1:1"}, exitUsage, "--name"},
				{"a name that is a pattern", []string{"-c", path, "--name", "*"}, exitUsage, "letters, digits, _ and -"},
				{"no file", []string{"-c", path + ".none"}, exitUsage, ".none"},
				{"a file without a name", []string{"-c", writeConfig(t, strings.Replace(away, "name: shop", "", 1))}, exitUsage, "no name"},
				{"a key misspelt", []string{"-c", writeConfig(t, strings.Replace(away, "{url: \"nats", "{ulr: \"nats", 1))}, exitUsage, `did you mean "url"?`},
				{"another format", []string{"-c", path, "-o", "yaml"}, exitUsage, "want text or json"},
				{"a flag that there is not", []string{"--everything"}, exitUsage, "--everything"},
			} {
				out, errOut, status := freshet(t, append(verb[:len(verb):len(verb)], tc.args...)...)
				if status != tc.status || !strings.Contains(errOut, tc.want) || out != "" {
					t.Errorf("%s: status %d, want %d, and %q on standard error\n%s%s", tc.name, status, tc.status, tc.want, out, errOut)
				}
			}
			if out, _, status := freshet(t, verb[0], "--help"); status != exitDone || !strings.Contains(out, "Examples:") {
				t.Errorf("--help: status %d, without an example:\n%s", status, out)
			}
		})
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"pause", "now"}, "Usage:"},
		{[]string{"status", "orders"}, "Usage:"},
		{[]string{"replay", "10m"}, "Usage:"},
		{[]string{"tail", "--events", "--table", "orders"}, "--changes"},
		{[]string{"tail", "--changes", "--since", "1h"}, "--events"},
		{[]string{"tail", "--since", "-1h"}, "want a time"},
	} {
		if _, errOut, status := freshet(t, append(tc.args, "-c", path)...); status != exitUsage || !strings.Contains(errOut, tc.want) {
			t.Errorf("%v: status %d, %s, want %d and %q", tc.args, status, errOut, exitUsage, tc.want)
		}
	}
}

// What a row or a message holds cannot take over the terminal that it is shown on.
func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"id=3 name=Zoë 東京":        "id=3 name=Zoë 東京",
		"a\x1b]0;title\a\nb\tc\r": `a\x1b]0;title\a\nb\tc\r`,
		"\u202egnp.exe \x9b1m":    `\u202egnp.exe \ufffd1m`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
