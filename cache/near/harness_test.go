package near_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const (
	instance = "shop"
	often    = 50 * time.Millisecond  // between heartbeats
	soon     = 500 * time.Millisecond // patience that a test waits out
	never    = time.Hour              // patience that it does not
	waiting  = 30 * time.Second       // for what takes milliseconds
)

// open connects and reconnects without pause or end.
func open(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0), nats.Timeout(waiting),
		// What is expected here is not for standard error.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)
	conn, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

type change func(*near.Config)

func patience(d time.Duration) change   { return func(c *near.Config) { c.Patience = d } }
func every(d time.Duration) change      { return func(c *near.Config) { c.SetEvery(d) } }
func withoutInvalidator(c *near.Config) { c.NoInvalidator = true }

// layer returns one that beats often and is never impatient, on a connection of
// its own.
func layer(t testing.TB, server *servers.NATS, changes ...change) *near.Layer {
	t.Helper()
	return layerOn(t, open(t, server.URL()), changes...)
}

func layerOn(t testing.TB, conn *nats.Conn, changes ...change) *near.Layer {
	t.Helper()
	cfg := near.Config{Name: instance, TTL: never, Patience: never, Logger: slog.New(slog.DiscardHandler)}
	cfg.SetEvery(often)
	for _, change := range changes {
		change(&cfg)
	}
	l, err := near.New(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// speaker is a sender that beats until it is told to stop.
type speaker struct {
	*near.Announcer
	// leave ends with a goodbye, die without.
	leave, die func()
}

func speak(t *testing.T, server *servers.NATS, name, role string) speaker {
	t.Helper()
	conn := open(t, server.URL())
	a := near.NewAnnouncer(conn, instance, name, role)
	a.SetEvery(often)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = a.Run(ctx) })
	leave := func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(leave)
	return speaker{Announcer: a, leave: leave, die: func() {
		conn.Close()
		leave()
	}}
}

func invalidator(t *testing.T, server *servers.NATS, name string) speaker {
	t.Helper()
	return speak(t, server, name, near.RoleInvalidator)
}

// scene is an invalidator and a layer that is in use.
type scene struct {
	t      *testing.T
	server *servers.NATS
	inv    speaker
	layer  *near.Layer
	conn   *nats.Conn // to say something by hand
	heard  *heard     // by the layer
}

func newScene(t *testing.T, changes ...change) *scene {
	t.Helper()
	server := servertest.NATS(t)
	s := &scene{t: t, server: server, inv: invalidator(t, server, "inv"), layer: layer(t, server, changes...), conn: open(t, server.URL())}
	s.heard = listen(t, s.layer)
	sound(t, s.layer)
	return s
}

// say publishes a message as if it were a sender's.
func (s *scene) say(sender, message string) {
	s.t.Helper()
	if err := s.conn.Publish(near.Subject(instance, sender), []byte(message)); err != nil {
		s.t.Fatal(err)
	}
}

// hello makes the layer know a sender.
func (s *scene) hello(sender string) {
	s.t.Helper()
	s.say(sender, `{"kind":"heartbeat","sender":"`+sender+`","n":0,"every":1,"role":"library"}`)
	eventually(s.t, "a sender is known", func() bool { _, known := s.layer.Heard(sender); return known })
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	servertest.Eventually(t, waiting, func() (bool, string) { return condition(), what })
}

// sound waits until something may be kept.
func sound(t testing.TB, l *near.Layer) {
	t.Helper()
	servertest.Eventually(t, waiting, func() (bool, string) {
		_, ok := l.Mark()
		return ok, fmt.Sprintf("%+v", l.Stats())
	})
}

// bypassed waits until nothing may.
func bypassed(t testing.TB, l *near.Layer) {
	t.Helper()
	servertest.Eventually(t, waiting, func() (bool, string) {
		_, ok := l.Mark()
		return !ok, fmt.Sprintf("%+v", l.Stats())
	})
	if stats := l.Stats(); !stats.Sound && stats.Reason == "" {
		t.Errorf("bypassed without a reason: %+v", stats)
	}
}

// keep puts a value and checks that it is there.
func keep(t testing.TB, l *near.Layer, key string, tags ...string) {
	t.Helper()
	mark, ok := l.Mark()
	l.Put(key, cache.NearEntry{Value: "value of " + key, Tags: tags, TTL: never, Size: 100}, mark)
	if got, found := l.Get(key); !ok || !found || got != "value of "+key {
		t.Fatalf("%s: got %v, %v after it was put (%v); %+v", key, got, found, ok, l.Stats())
	}
}

func has(l *near.Layer, key string) bool {
	_, ok := l.Get(key)
	return ok
}

// heard collects what a layer hears.
type heard struct {
	mu  sync.Mutex
	all []cache.Invalidation // guarded by mu
}

func listen(t *testing.T, l *near.Layer) *heard {
	t.Helper()
	h := &heard{}
	t.Cleanup(l.Listen(func(i cache.Invalidation) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.all = append(h.all, i)
	}))
	return h
}

func (h *heard) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = nil
}

func (h *heard) list() []cache.Invalidation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]cache.Invalidation(nil), h.all...)
}

// missed reports whether the listeners were told that something was missed.
func (h *heard) missed() bool {
	for _, i := range h.list() {
		if len(i.Patterns) == 1 && i.Patterns[0] == "*" {
			return true
		}
	}
	return false
}
