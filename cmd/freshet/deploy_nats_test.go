package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// natsUsers are those of deploy/nats/permissions.conf.
var natsUsers = []string{"consumer", "invalidator", "warmer", "freshet", "operator", "monitor", "library"}

func secret(user string) string { return user + "-secret" }

// guarded is a shop on a NATS server with the configuration of deploy/nats.
type guarded struct {
	t      *testing.T
	shop   *shop
	nats   *servers.NATS
	config string
}

// natsAs starts a NATS server with deploy/nats/server.conf, or a copy.
func natsAs(t *testing.T, file string) *servers.NATS {
	t.Helper()
	return servertest.NATS(t, natsOptions(t, file))
}

func natsOptions(t *testing.T, file string) servers.NATSOptions {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	options := servers.NATSOptions{ConfigFile: path, User: "freshet", Password: secret("freshet")}
	for _, user := range natsUsers {
		password := secret(user)
		if user == "monitor" {
			password = `$2a$04$S4JXiUpsPgPy3cviBvt73O/2nvg0fHcmvNfHgKgD5F1SkdFkFx3a6` // bcrypt of the same
		}
		options.Env = append(options.Env, "NATS_"+strings.ToUpper(user)+"_PASSWORD="+password)
	}
	return options
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	n := natsAs(t, deployed+"nats/server.conf")
	s := newShopOn(t, "", "{url: \"${NATS_URL}\", user: \"${NATS_USER}\", password: \"${NATS_PASSWORD}\"}")
	text := readFile(t, s.config) + `    warm:
      - {key: "order:{id}", sql: "select to_jsonb(client_id || '/' || version) from orders where id = {id}", ttl: 1h}
`
	return &guarded{t: t, shop: s, nats: n, config: writeConfig(t, text)}
}

func (g *guarded) environment(user string) []string {
	return natsEnvironment(g.nats.URL(), user)
}

func natsEnvironment(url, user string) []string {
	return []string{"NATS_URL=" + url, "NATS_USER=" + user, "NATS_PASSWORD=" + secret(user)}
}

// command runs a command as a user.
func (g *guarded) command(user string, args ...string) (output string, status int) {
	g.t.Helper()
	args = slices.Insert(args, 1, "-c", g.config)
	out, errOut, status := commandIn(g.t, g.t.TempDir(), g.environment(user), args...)
	return out + errOut, status
}

func (g *guarded) run(user, roles string) *process {
	g.t.Helper()
	return startService(g.t, command(context.Background(), g.environment(user), "run", "-c", g.config, "--roles", roles))
}

func (g *guarded) connect(user string, options ...nats.Option) *nats.Conn {
	g.t.Helper()
	conn, err := nats.Connect(g.nats.URL(), append(options, nats.UserInfo(user, secret(user)))...)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(conn.Close)
	return conn
}

// follow follows subjects as a user.
func (g *guarded) follow(user string, subjects ...string) <-chan *nats.Msg {
	g.t.Helper()
	conn, messages := g.connect(user), make(chan *nats.Msg, 4096)
	for _, subject := range subjects {
		if _, err := conn.ChanSubscribe(subject, messages); err != nil {
			g.t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil || conn.LastError() != nil {
		g.t.Fatal(err, conn.LastError())
	}
	return messages
}

// hear waits for a message of a subject that begins so.
func (g *guarded) hear(messages <-chan *nats.Msg, prefix string) {
	g.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-messages:
			if strings.HasPrefix(m.Subject, prefix) {
				return
			}
		case <-timeout:
			g.t.Fatalf("nothing was heard of %s", prefix)
		}
	}
}

// changed changes a row and expects its keys to go and one of them to come again.
func (g *guarded) changed(active *process) {
	g.t.Helper()
	s := g.shop
	s.settle(active) // what a start flushes is no longer there to be warmed
	s.plant("order:1", "orders:client:1", "orders:list:1", "other:1")
	if _, err := s.db.Exec(g.t.Context(), `update orders set version = version + 1 where id = 1`); err != nil {
		g.t.Fatal(err)
	}
	s.settle(active)
	if s.has("orders:client:1") || s.has("orders:list:1") || !s.has("other:1") {
		g.t.Error("not exactly the keys of the changed row are gone")
	}
	want, err := s.load(g.t.Context(), "order:1")
	if err != nil {
		g.t.Fatal(err)
	}
	servertest.Eventually(g.t, patience, func() (bool, string) {
		got, err := cache.Get[string](g.t.Context(), s.cache, "order:1")
		return err == nil && got == want, fmt.Sprintf("order:1 is %q, %v, want %q from a warmer", got, err, want)
	})
}

// Every role works with the rights of its user, and what watches and controls
// with those of its own.
func TestDeployedNATS(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	check := func(user string) {
		t.Helper()
		if out, status := g.command(user, "check"); status != exitDone {
			t.Errorf("check as %s: status %d\n%s", user, status, out)
		}
	}
	for _, user := range []string{"consumer", "invalidator", "warmer", "freshet"} {
		check(user) // before there is a stream
	}
	// Whoever starts first makes the streams.
	warmer, consumer := g.run("warmer", "warmer"), g.run("consumer", "consumer")
	invalidator := g.run("invalidator", "invalidator")
	watched := g.follow("monitor", "freshet.shop.status.*.*", "freshet.shop.events.*")
	g.changed(invalidator)
	for _, role := range []string{"consumer", "invalidator", "warmer"} {
		g.hear(watched, "freshet.shop.status."+role)
	}
	check("consumer") // with a stream

	// A process with a near cache hears the invalidator.
	layer, err := near.New(g.connect("library"), near.Config{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	servertest.Eventually(t, patience, func() (bool, string) {
		s := layer.Stats()
		return s.Sound, fmt.Sprintf("the near layer is not sound: %+v", s)
	})

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"invalidate", "order:1"}, "cached"},
		{[]string{"replay", "--since", "1h"}, "replayed"},
		{[]string{"pause"}, "paused"},
		{[]string{"resume"}, "resumed"},
	} {
		if out, status := g.command("operator", tc.args...); status != exitDone || !strings.Contains(out, tc.want) {
			t.Errorf("%v: status %d, %s", tc.args, status, out)
		}
	}
	for _, event := range []string{"control", "replay", "paused", "resumed"} {
		g.hear(watched, "freshet.shop.events."+event)
	}
	for _, user := range []string{"operator", "monitor"} {
		servertest.Eventually(t, patience, func() (bool, string) {
			out, status := g.command(user, "status")
			return status == exitDone && strings.Contains(out, "warmer"), user + " status: " + out
		})
	}
	g.changed(invalidator) // after resume

	// Another process takes over with what the first one left.
	for _, p := range []*process{warmer, consumer, invalidator} {
		if status, _ := p.terminate(); status != exitDone {
			t.Errorf("a role ended with status %d:\n%s", status, p.tail())
		}
	}
	all := g.run("freshet", "consumer,invalidator,warmer")
	g.changed(all)
	if status, _ := all.terminate(); status != exitDone {
		t.Errorf("the service ended with status %d:\n%s", status, all.tail())
	}
}

// No user may do what is another's, and whoever tries with the command is told.
func TestDeployedNATSForbids(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.run("freshet", "consumer,invalidator,warmer")
	for _, tc := range []struct{ user, verb, subject string }{
		{"consumer", "publish", "freshet.shop.invalidated.x"},
		{"consumer", "publish", "$KV.freshet-shop.lease.invalidator"},
		{"consumer", "publish", "$JS.API.CONSUMER.MSG.NEXT.freshet-shop-warm.warmer"},
		{"invalidator", "publish", "freshet.shop.changes.public.orders"},
		{"invalidator", "publish", "freshet.shop.progress.mark"},
		{"invalidator", "publish", "$KV.freshet-shop.evidence"},
		{"warmer", "publish", "freshet.shop.changes.public.orders"},
		{"warmer", "publish", "$JS.API.CONSUMER.CREATE.freshet-shop.x"},
		{"warmer", "publish", "$KV.freshet-shop.watermark"},
		{"warmer", "subscribe", "freshet.shop.changes.>"},
		{"freshet", "publish", "$JS.API.STREAM.DELETE.freshet-shop"},
		{"freshet", "publish", "$JS.API.STREAM.PURGE.freshet-shop"},
		{"freshet", "publish", "$JS.API.STREAM.INFO.another"},
		{"freshet", "subscribe", "another.>"},
		{"operator", "publish", "freshet.shop.changes.public.orders"},
		{"operator", "publish", "$JS.API.STREAM.DELETE.freshet-shop"},
		{"operator", "publish", "$KV.freshet-shop.paused"},
		{"monitor", "publish", "freshet.shop.ctl.pause"},
		{"monitor", "publish", "$JS.API.STREAM.DELETE.freshet-shop"},
		{"monitor", "publish", "freshet.shop.events.x"},
		{"monitor", "subscribe", "freshet.shop.changes.>"},
		{"monitor", "subscribe", "_INBOX.>"},
		{"library", "publish", "freshet.shop.watermark"},
		{"library", "publish", "freshet.shop.ctl.invalidate"},
		{"library", "subscribe", "freshet.shop.changes.>"},
	} {
		refused := make(chan error, 16)
		conn := g.connect(tc.user, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		var err error
		if tc.verb == "publish" {
			err = conn.Publish(tc.subject, nil)
		} else {
			_, err = conn.SubscribeSync(tc.subject)
		}
		if err != nil || conn.Flush() != nil {
			t.Fatal(err)
		}
		if err := conn.LastError(); err == nil || !strings.Contains(err.Error(), tc.subject) {
			t.Errorf("%s may %s %s: %v", tc.user, tc.verb, tc.subject, err)
		}
		conn.Close()
	}
	for _, tc := range []struct {
		user string
		args []string
		want string
	}{
		{"monitor", []string{"pause"}, `may not`},
		{"monitor", []string{"tail", "--events", "--since", "1h"}, `may not`},
		{"monitor", []string{"tail", "--changes"}, `may not subscribe "freshet.shop.changes.>"`},
		{"library", []string{"status"}, `may not subscribe "freshet.shop.status.*.*"`},
		{"operator", []string{"check"}, `may not publish "$JS.API.INFO"`},
	} {
		if out, status := g.command(tc.user, tc.args...); status != exitFailed || !strings.Contains(out, tc.want) {
			t.Errorf("%s: %v: status %d, want %q in\n%s", tc.user, tc.args, status, tc.want, out)
		}
	}
}

// With one line of a user's permissions taken away, its role ends and says which.
func TestDeployedNATSMissing(t *testing.T) {
	t.Parallel()
	s := newGuarded(t)
	for _, tc := range []struct{ user, line string }{
		{"consumer", "$JS.API.STREAM.INFO.freshet-shop"},
		{"consumer", "$JS.API.STREAM.CREATE.KV_freshet-shop"},
		{"consumer", "$JS.API.DIRECT.GET.KV_freshet-shop.>"},
		{"consumer", "freshet.shop.progress.*"},
		{"consumer", "_INBOX.>"},
		{"consumer", "freshet.shop.watermark"},
		{"invalidator", "$KV.freshet-shop.lease.invalidator"},
		{"invalidator", "$JS.API.CONSUMER.CREATE.freshet-shop.*"},
		{"invalidator", "freshet.shop.status.invalidator.*"},
		{"warmer", "$JS.API.CONSUMER.MSG.NEXT.freshet-shop-warm.warmer"},
	} {
		t.Run(tc.user+" without "+tc.line, func(t *testing.T) {
			t.Parallel()
			n := natsAs(t, withoutLine(t, tc.user, tc.line))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := command(ctx, natsEnvironment(n.URL(), tc.user), "run", "-c", s.config, "--roles", tc.user)
			cmd.WaitDelay = time.Second
			out, err := cmd.CombinedOutput()
			want := strings.TrimRight(tc.line, "*>") // the subject of which it is the pattern
			if ctx.Err() != nil || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), `the nats user may not`) || !strings.Contains(string(out), want) {
				t.Errorf("%v, want status %d and %q in\n%s", err, exitFailed, want, out)
			}
		})
	}
}

// withoutLine copies deploy/nats without one line of a user's permissions, and
// returns the path of server.conf.
func withoutLine(t *testing.T, user, line string) string {
	t.Helper()
	folder := t.TempDir()
	before, users, found := strings.Cut(readFile(t, deployed+"nats/permissions.conf"), "user: "+user+",")
	before2, after, found2 := strings.Cut(users, "            \""+line+"\"\n")
	if !found || !found2 || strings.Contains(before2, "user: ") {
		t.Fatalf("permissions.conf does not give %s %q", user, line)
	}
	for name, text := range map[string]string{
		"permissions.conf": before + "user: " + user + "," + before2 + after,
		"server.conf":      readFile(t, deployed+"nats/server.conf"),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "server.conf")
}
