package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// running is a shop whose service runs, to be asked over NATS.
func runningShop(t *testing.T) (*shop, *process) {
	t.Helper()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	awaitActive(t, patience, p)
	s.settle(p)
	return s, p
}

func (s *shop) has(key string) bool {
	s.t.Helper()
	ok, err := s.cache.Exists(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	return ok
}

func (s *shop) plant(keys ...string) {
	s.t.Helper()
	rdb := s.redis.Client()
	defer rdb.Close()
	for _, key := range keys {
		if err := rdb.Set(s.t.Context(), key, `"planted"`, 0).Err(); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestStatusCommand(t *testing.T) {
	t.Parallel()
	s, _ := runningShop(t)
	// A machine with much to do may not let every part speak in time.
	servertest.Eventually(t, patience, func() (bool, string) {
		out, errOut, status := freshet(t, "status", "-c", s.config)
		for _, want := range []string{"ROLE", "consumer", "streaming", "invalidator", "active", "warmer"} {
			if !strings.Contains(out, want) {
				return false, fmt.Sprintf("status %d, without %q:\n%s%s", status, want, out, errOut)
			}
		}
		return status == 0, fmt.Sprintf("status %d: %s%s", status, out, errOut)
	})
	var reports []monitor.Report
	servertest.Eventually(t, patience, func() (bool, string) {
		out, errOut, status := freshet(t, "status", "--nats", s.nats.URL(), "--name", "shop", "-o", "json")
		err := json.Unmarshal([]byte(out), &reports)
		return err == nil && status == 0 && len(reports) == 3, fmt.Sprintf("status %d, %v: %s%s", status, err, out, errOut)
	})
	for _, r := range reports {
		if r.V != 1 || r.Instance != "shop" || r.ID == "" || !r.Ready || r.Time.IsZero() || r.Started.IsZero() {
			t.Errorf("got %+v", r)
		}
	}

	out, errOut, status := freshet(t, "status", "--nats", s.nats.URL(), "--name", "other")
	if status != 1 || !strings.Contains(errOut, "nothing is heard of instance other") {
		t.Errorf("of an instance that there is not: got %d, %s%s", status, out, errOut)
	}
	_, errOut, status = freshet(t, "status", "--nats", "nats://127.0.0.1:1", "--name", "shop")
	if status != 1 || !strings.Contains(errOut, "is the service running") {
		t.Errorf("without a server: got %d, %s", status, errOut)
	}
}

func TestInvalidateCommand(t *testing.T) {
	t.Parallel()
	s, _ := runningShop(t)
	s.plant("order:1", "order:2", "dashboard:1", "dashboard:2")
	out, errOut, status := freshet(t, "invalidate", "-c", s.config, "order:1", "--pattern", "dashboard:*", "--tag", "none")
	if status != 0 || !strings.Contains(out, "3 values were cached") {
		t.Errorf("got %d, %s%s", status, out, errOut)
	}
	if s.has("order:1") || s.has("dashboard:2") || !s.has("order:2") {
		t.Error("not exactly what was named is gone")
	}
	// It is known who asked.
	servertest.Eventually(t, patience, func() (bool, string) { return s.events("control") == 1, "no event" })

	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "nothing is named"},
		{[]string{"--pattern", "*"}, "literal prefix"},
		{[]string{"freshet:position:shop"}, "bookkeeping"},
		{[]string{""}, "empty key"},
	} {
		_, errOut, status := freshet(t, append([]string{"invalidate", "-c", s.config}, tc.args...)...)
		if status != 2 || !strings.Contains(errOut, tc.want) {
			t.Errorf("%q: got %d, %s, want 2 and %q", tc.args, status, errOut, tc.want)
		}
	}
	_, errOut, status = freshet(t, "invalidate", "--nats", s.nats.URL(), "--name", "other", "order:1")
	if status != 1 || !strings.Contains(errOut, "no process of instance other answers") {
		t.Errorf("got %d, %s", status, errOut)
	}
}

func TestPauseAndResumeCommands(t *testing.T) {
	t.Parallel()
	s, p := runningShop(t)
	if out, errOut, status := freshet(t, "pause", "-c", s.config); status != 0 || !strings.Contains(out, "resume") {
		t.Fatalf("got %d, %s%s", status, out, errOut)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		st, err := p.status()
		return err == nil && st.Invalidator.State == "paused", fmt.Sprint(st.Invalidator.State, err)
	})
	s.plant("order:1")
	if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1 where id = 1`); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		out, _, _ := freshet(t, "status", "-c", s.config)
		return strings.Contains(out, "paused"), "status does not say so: " + out
	})
	if !s.has("order:1") {
		t.Error("a paused instance has removed a key")
	}
	if out, errOut, status := freshet(t, "resume", "-c", s.config, "-o", "json"); status != 0 || !strings.Contains(out, `"paused": false`) {
		t.Fatalf("got %d, %s%s", status, out, errOut)
	}
	s.settle(p)
	if s.has("order:1") {
		t.Error("what was changed meanwhile is still cached")
	}
	servertest.Eventually(t, patience, func() (bool, string) { return s.events("paused") == 1 && s.events("resumed") == 1, "no events" })
}

func TestReplayCommand(t *testing.T) {
	t.Parallel()
	s, p := runningShop(t)
	var lsn string
	if err := s.db.QueryRow(t.Context(), `select pg_current_wal_insert_lsn()`).Scan(&lsn); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1 where id <= 50`); err != nil {
		t.Fatal(err)
	}
	s.settle(p)
	s.plant("order:1", "order:50", "other:1")
	out, errOut, status := freshet(t, "replay", "-c", s.config, "--from", lsn)
	if status != 0 || !strings.Contains(out, "replayed 50 changes") || !strings.Contains(out, "2 values removed") {
		t.Errorf("got %d, %s%s", status, out, errOut)
	}
	if s.has("order:1") || s.has("order:50") || !s.has("other:1") {
		t.Error("not exactly what had changed is gone")
	}
	out, errOut, status = freshet(t, "replay", "-c", s.config, "--since", "1h", "-o", "json")
	var event struct {
		Done     bool `json:"done"`
		Complete bool `json:"complete"`
		Changes  int  `json:"changes"`
	}
	if err := json.Unmarshal([]byte(out), &event); err != nil || status != 0 || !event.Done || !event.Complete || event.Changes != 50 {
		t.Errorf("got %d, %v, %s%s", status, err, out, errOut)
	}
	for _, args := range [][]string{{}, {"--since", "-5m"}, {"--since", "soon"}, {"--from", "here"}, {"--since", "5m", "--from", "0/1"}} {
		if _, errOut, status := freshet(t, append([]string{"replay", "-c", s.config}, args...)...); status != 2 || errOut == "" {
			t.Errorf("%v: got %d, %s", args, status, errOut)
		}
	}
}

// lines gathers what a command prints while it runs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTailCommand(t *testing.T) {
	t.Parallel()
	s, _ := runningShop(t)
	follow := func(args ...string) *lines {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		var out, errOut lines
		cmd := command(ctx, []string{"FRESHET_CONFIG="}, append([]string{"tail", "-c", s.config}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cancel()
			_ = cmd.Wait() // killed
		})
		servertest.Eventually(t, patience, func() (bool, string) { return strings.Contains(errOut.String(), "following"), errOut.String() })
		return &out
	}
	all, changes, asJSON := follow(), follow("--changes", "--table", "orders"), follow("--invalidations", "-o", "json")
	other := follow("--changes", "--table", "clients")
	if _, err := s.db.Exec(t.Context(), `update orders set client_id = 77 where id = 3`); err != nil {
		t.Fatal(err)
	}
	if _, errOut, status := freshet(t, "pause", "-c", s.config); status != 0 {
		t.Fatal(errOut)
	}
	for name, tc := range map[string]struct {
		out   *lines
		wants []string
	}{
		"all":     {all, []string{"change  public.orders", "client_id=77", "order:3", "event   paused"}},
		"changes": {changes, []string{"public.orders", "update", "id=3"}},
		"json":    {asJSON, []string{`"order:3"`, `"kind":"invalidate"`}},
	} {
		for _, want := range tc.wants {
			servertest.Eventually(t, patience, func() (bool, string) {
				return strings.Contains(tc.out.String(), want), fmt.Sprintf("%s: no %q in\n%s", name, want, tc.out)
			})
		}
	}
	// What was announced before anybody followed, and each of it once.
	past := follow("--events", "--since", "1h")
	if _, errOut, status := freshet(t, "resume", "-c", s.config); status != 0 {
		t.Fatal(errOut)
	}
	for _, want := range []string{"event   slot_created", "event   paused", "event   resumed"} {
		servertest.Eventually(t, patience, func() (bool, string) {
			n := strings.Count(past.String(), want)
			return n == 1, fmt.Sprintf("%d of %q in\n%s", n, want, past)
		})
	}
	if text := changes.String() + other.String(); strings.Contains(text, "event") || strings.Contains(other.String(), "change") {
		t.Errorf("what was not asked for is shown:\n%s", text)
	}
	if _, errOut, status := freshet(t, "tail", "-c", s.config, "--table", "a.b.c"); status != 2 || !strings.Contains(errOut, "--table") {
		t.Errorf("got %d, %s", status, errOut)
	}
}

// Whatever speaks the micro service protocol finds the instance.
func TestMicroService(t *testing.T) {
	t.Parallel()
	s, p := runningShop(t)
	conn, err := nats.Connect(s.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	// The member that is there while the invalidator is active comes a moment after it.
	endpoints := map[string]string{}
	servertest.Eventually(t, patience, func() (bool, string) {
		for _, m := range gather(t, conn, "$SRV.INFO.freshet") {
			var info micro.Info
			if err := json.Unmarshal(m, &info); err != nil {
				return false, err.Error()
			}
			if info.Metadata["instance"] != "shop" || info.Metadata["id"] == "" || info.Metadata["role"] == "" {
				t.Fatalf("got %+v", info)
			}
			for _, e := range info.Endpoints {
				endpoints[e.Name] = e.Subject
			}
		}
		return len(endpoints) == 9, fmt.Sprint(endpoints)
	})
	for _, verb := range []string{"status", "explain", "events", "pause", "resume", "invalidate", "replay", "verify", "reload"} {
		if endpoints[verb] != "freshet.shop.ctl."+verb {
			t.Errorf("%s: got %q", verb, endpoints[verb])
		}
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		n := len(gather(t, conn, "$SRV.PING.freshet"))
		return n == 2, fmt.Sprintf("got %d pings, want one of each member", n)
	})
	for _, tc := range []struct {
		verb, request string
		ok            bool
		want          string
	}{
		{"status", "", true, `"role":"consumer"`},
		{"explain", `{"table":"orders","row":{"id":42,"client_id":7}}`, true, "orders:client:7"},
		{"explain", `{"table":"orders","row":[]}`, false, "want a JSON object"},
		{"explain", `{"tabel":"orders"}`, false, "tabel"},
		{"events", `{"since":"1h"}`, true, `"kind":"slot_created"`},
		{"events", `{"since":"1ns"}`, true, `"result":[]`},
		{"events", `{}`, false, "duration"},
		{"invalidate", `{"keys":["order:1"]} {}`, false, "one JSON object only"},
		{"invalidate", `{"keys":["order:1"]}`, true, `"removed"`},
		{"replay", `{"since":"soon"}`, false, "duration"},
		{"verify", `{"sample":-1}`, false, "number of keys"},
	} {
		reply, err := conn.Request("freshet.shop.ctl."+tc.verb, []byte(tc.request), patience)
		if err != nil {
			t.Fatalf("%s %s: %v", tc.verb, tc.request, err)
		}
		var answer monitor.Answer
		if err := json.Unmarshal(reply.Data, &answer); err != nil || answer.OK != tc.ok || !strings.Contains(string(reply.Data), tc.want) {
			t.Errorf("%s %s: got %s, %v, want ok %v and %q", tc.verb, tc.request, reply.Data, err, tc.ok, tc.want)
		}
		if code := reply.Header.Get("Nats-Service-Error-Code"); (code == "400") == tc.ok {
			t.Errorf("%s %s: error code %q", tc.verb, tc.request, code)
		}
	}
	// More than a message holds: the newest.
	for i := range 12 {
		event := fmt.Sprintf(`{"kind":"test","time":%q,"message":"%d %s"}`, time.Now().UTC().Format(time.RFC3339Nano), i, strings.Repeat("x", 100<<10))
		if err := conn.Publish("freshet.shop.events.test", []byte(event)); err != nil {
			t.Fatal(err)
		}
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		reply, err := conn.Request("freshet.shop.ctl.events", []byte(`{"since":"1h"}`), patience)
		if err != nil {
			return false, err.Error()
		}
		text := string(reply.Data)
		last, first := strings.Contains(text, `"message":"11 `), strings.Contains(text, `"message":"0 `)
		return last && !first, fmt.Sprintf("%d bytes, with the last one: %v, with the first: %v", len(text), last, first)
	})
	p.terminate()
	if _, err := conn.Request("freshet.shop.ctl.status", nil, patience); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after the end: got %v, want that nobody listens", err)
	}
}

// gather sends a request that many answer, and waits a second for them.
func gather(t *testing.T, conn *nats.Conn, subject string) (answers [][]byte) {
	t.Helper()
	sub, err := conn.SubscribeSync(conn.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := conn.PublishRequest(subject, sub.Subject, nil); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(time.Second)
		if err != nil {
			return answers
		}
		answers = append(answers, m.Data)
	}
}
