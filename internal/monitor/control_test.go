package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const patience = 90 * time.Second

// served is a Control that runs, and a client of it.
type served struct {
	t      *testing.T
	client *nats.Conn
	stop   func()

	mu        sync.Mutex
	announced []string // guarded by mu
}

func serve(t *testing.T, active func() bool, verbs ...monitor.Verb) *served {
	t.Helper()
	server := servertest.NATS(t)
	s := &served{t: t, client: connect(t, server.URL())}
	control := monitor.NewControl(connect(t, server.URL()), monitor.ControlConfig{
		Instance: "shop", ID: "one", Version: "dev", Active: active,
		Subject: func(verb string) string { return "freshet.shop.ctl." + verb },
		Announce: func(verb, by string, request []byte, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.announced = append(s.announced, fmt.Sprintf("%s|%s|%s|%v", verb, by, request, err))
		},
	}, verbs...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// answers waits until somebody listens to the verb, or nobody does.
func (s *served) answers(verb string, want bool) {
	s.t.Helper()
	servertest.Eventually(s.t, patience, func() (bool, string) {
		_, err := s.client.Request("freshet.shop.ctl."+verb, nil, patience)
		return errors.Is(err, nats.ErrNoResponders) != want && (err == nil) == want, fmt.Sprintf("%s: %v", verb, err)
	})
}

func (s *served) ask(verb, by, request string) (answer monitor.Answer, code string) {
	s.t.Helper()
	msg := nats.NewMsg("freshet.shop.ctl." + verb)
	msg.Data = []byte(request)
	msg.Header.Set(monitor.ClientHeader, by)
	reply, err := s.client.RequestMsg(msg, patience)
	if err != nil {
		s.t.Fatalf("%s: %v", verb, err)
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		s.t.Fatalf("%s: %v: %s", verb, err, reply.Data)
	}
	return answer, reply.Header.Get(micro.ErrorCodeHeader)
}

func echo(name string) monitor.Verb {
	return monitor.Verb{Name: name, Serve: func(_ context.Context, request []byte, _ string) (any, error) {
		return monitor.Decode[struct{ Word string }](request)
	}}
}

// A verb of the active worker is answered while this process has it, by nobody
// otherwise: whoever asks hears so at once.
func TestControlFollowsTheActiveWorker(t *testing.T) {
	t.Parallel()
	var active atomic.Bool
	work := echo("work")
	work.Active = true
	s := serve(t, active.Load, echo("any"), work)
	s.answers("any", true)
	s.answers("work", false)
	active.Store(true)
	s.answers("work", true)
	roles := map[string]string{}
	servertest.Eventually(t, patience, func() (bool, string) {
		reply, err := s.client.Request("$SRV.INFO.freshet", nil, patience) // of either member
		if err != nil {
			return false, err.Error()
		}
		var info micro.Info
		if err := json.Unmarshal(reply.Data, &info); err != nil {
			return false, err.Error()
		}
		if info.Version != "0.0.0-dev" || info.Metadata["instance"] != "shop" || info.Metadata["id"] != "one" {
			t.Fatalf("got %+v", info)
		}
		for _, e := range info.Endpoints {
			roles[info.Metadata["role"]] = e.Subject
		}
		return len(roles) == 2, fmt.Sprint(roles)
	})
	if roles["any"] != "freshet.shop.ctl.any" || roles["active"] != "freshet.shop.ctl.work" {
		t.Errorf("got %v", roles)
	}
	active.Store(false)
	s.answers("work", false)
	s.answers("any", true)
	s.stop()
	s.answers("any", false)
}

// A request is refused with what is wrong and the remedy; what was asked, and by
// whom, is told; the service's own statistics count it.
func TestControlRefuses(t *testing.T) {
	t.Parallel()
	quiet := echo("quiet")
	quiet.Quiet = true
	long := echo("long")
	long.Long = true
	long.Check = func(request []byte) error {
		if string(request) == "{}" {
			return monitor.BadRequest("say a word", "no word")
		}
		return nil
	}
	s := serve(t, nil, quiet, long, monitor.Verb{Name: "fail", Serve: func(context.Context, []byte, string) (any, error) {
		return nil, fmt.Errorf("it rains: %w", &monitor.RefusedError{Message: "no sun", Remedy: "wait"})
	}})
	s.answers("quiet", true)
	for _, tc := range []struct {
		verb, request       string
		result, err, remedy string
		code                string
	}{
		{"quiet", `{"word":"a"}`, `{"Word":"a"}`, "", "", ""},
		{"quiet", ``, `{"Word":""}`, "", "", ""},
		{"quiet", `{"wrod":"a"}`, "", `unknown field "wrod"`, "monitoring.md", "400"},
		{"quiet", `{} {}`, "", "one JSON object only", "monitoring.md", "400"},
		{"quiet", `[]`, "", "cannot unmarshal array", "monitoring.md", "400"},
		{"long", `{"word":"b"}`, `{"Word":"b"}`, "", "", ""},
		{"long", `{}`, "", "no word", "say a word", "400"},
		{"long", `{"wrod":"a"}`, "", `unknown field "wrod"`, "monitoring.md", "400"},
		{"fail", ``, "", "no sun", "wait", "500"},
	} {
		answer, code := s.ask(tc.verb, "ann\x1b[31m\n", tc.request)
		if answer.OK != (tc.err == "") || string(answer.Result) != tc.result || !strings.Contains(answer.Error, tc.err) ||
			!strings.Contains(answer.Remedy, tc.remedy) || (answer.Remedy == "") != (tc.remedy == "") || code != tc.code {
			t.Errorf("%s %s: got %+v, code %q, want %+v", tc.verb, tc.request, answer, code, tc)
		}
	}
	servertest.Eventually(t, patience, func() (bool, string) { // micro counts after the answer
		reply, err := s.client.Request("$SRV.STATS.freshet", nil, patience)
		if err != nil {
			return false, err.Error()
		}
		var stats micro.Stats
		if err := json.Unmarshal(reply.Data, &stats); err != nil {
			return false, err.Error()
		}
		counts := map[string]int{}
		for _, e := range stats.Endpoints {
			counts[e.Name] = e.NumErrors
		}
		return counts["quiet"] == 3 && counts["long"] == 1 && counts["fail"] == 1, fmt.Sprint(counts)
	})
	s.stop() // answers come before what is announced of them is looked at
	want := []string{`long|ann?[31m|{"word":"b"}|<nil>`, `long|ann?[31m|{}|no word; say a word`, `long|ann?[31m|{"wrod":"a"}|`, `fail|ann?[31m||it rains`}
	for i, line := range s.announced {
		if i >= len(want) || !strings.HasPrefix(line, want[i]) {
			t.Errorf("announced %q", line)
		}
	}
	if len(s.announced) != len(want) {
		t.Errorf("got %d announcements, want %d: %q", len(s.announced), len(want), s.announced)
	}
}

// Requests that take long are served beside one another, and those in hand are
// answered before Run returns.
func TestControlServesLongRequestsSideBySide(t *testing.T) {
	t.Parallel()
	begun := make(chan string, 2)
	release := make(chan struct{})
	s := serve(t, nil, echo("any"), monitor.Verb{Name: "long", Long: true, Serve: func(_ context.Context, _ []byte, by string) (any, error) {
		begun <- by
		<-release
		return by, nil
	}})
	s.answers("any", true)
	var asking sync.WaitGroup
	for _, by := range []string{"ann", "bob"} {
		asking.Go(func() {
			if answer, _ := s.ask("long", by, ""); string(answer.Result) != `"`+by+`"` {
				t.Errorf("%s: got %+v", by, answer)
			}
		})
	}
	for range 2 {
		select {
		case <-begun:
		case <-time.After(patience):
			t.Fatal("the second waits for the first")
		}
	}
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	s.answers("any", false)
	select {
	case <-stopped:
		t.Error("Run has returned with requests in hand")
	default:
	}
	close(release)
	asking.Wait()
	<-stopped
}

// Each part's status is published under its own subject, with what is wrong.
func TestBeacon(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	client := connect(t, server.URL())
	sub, err := client.SubscribeSync("freshet.shop.status.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Flush(); err != nil {
		t.Fatal(err)
	}
	b := &monitor.Beacon{
		Instance: "shop", ID: "one", Version: "1.2.3", Started: time.Now(),
		Subject: func(role, id string) string { return "freshet.shop.status." + role + "." + id },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Run(ctx, connect(t, server.URL()), &part{role: "consumer"}, &part{"invalidator", "redis_down: wait"})
	}()
	for i := range 4 { // twice each
		msg, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		var r monitor.Report
		if err := json.Unmarshal(msg.Data, &r); err != nil {
			t.Fatal(err)
		}
		role, reason := "consumer", ""
		if i%2 == 1 {
			role, reason = "invalidator", "redis_down: wait"
		}
		if msg.Subject != "freshet.shop.status."+role+".one" || r.V != 1 || r.Instance != "shop" || r.Role != role || r.ID != "one" ||
			r.Version != "1.2.3" || r.Started.IsZero() || r.Time.IsZero() || r.Ready != (reason == "") || r.Reason != reason ||
			string(r.Status) != `{"state":"streaming"}` {
			t.Errorf("%s: got %+v", msg.Subject, r)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
