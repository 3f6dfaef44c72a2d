package service_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
)

// awaitReady waits until /readyz answers with the status, and says the word.
func (r *running) awaitReady(want int, word string) {
	r.t.Helper()
	servertest.Eventually(r.t, patience, func() (bool, string) {
		ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.HTTP+"/readyz", http.NoBody)
		if err != nil {
			return false, err.Error()
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return err == nil && response.StatusCode == want && strings.Contains(string(body), word),
			fmt.Sprintf("want %d with %q, got %d %s %v", want, word, response.StatusCode, body, err)
	})
}

// /readyz tells which server is away, and is well again by itself.
func TestReadyWhileServersComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}"), nats: true})
	r := b.start()
	b.settle(r)
	r.awaitReady(http.StatusOK, "")
	for _, server := range []struct {
		name  string
		kill  func() error
		start func(context.Context) error
		word  string
	}{
		{"redis", b.redis.Kill, b.redis.Start, "invalidator: redis_down"},
		{"postgres", b.postgres.Kill, b.postgres.Start, "consumer: connecting"},
		{"nats", b.nats.Kill, b.nats.Start, "consumer: nats_down"},
	} {
		if err := server.kill(); err != nil {
			t.Fatal(err)
		}
		r.awaitReady(http.StatusServiceUnavailable, server.word)
		if server.name == "redis" {
			r.awaitReady(http.StatusServiceUnavailable, "start Redis")
		}
		if err := server.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.awaitReady(http.StatusOK, "")
	}
}

// Rules that only the invalidator's process was given: what the consumer drops cannot be removed, and is not passed over in silence.
func TestNotReadyWhileTheConsumerHasOtherRules(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: `create table orders (id int primary key); create table items (id int primary key)`,
		rules:  on("orders", "order:{id}"), nats: true,
	})
	c := b.start(service.RoleConsumer)
	b.rules = append(b.rules, on("items", "item:{id}")...)
	v := b.start(service.RoleInvalidator)
	v.awaitReady(http.StatusServiceUnavailable, "does not publish public.items")
	b.settle(v)
	b.plant("order:1", "item:1")
	b.exec(`insert into orders values (1)`)
	b.exec(`insert into items values (1)`)
	b.expect(v, []string{"order:1"}, []string{"item:1"}) // stale, and said to be

	c.stop()
	b.start(service.RoleConsumer) // with the rules that there are now
	v.awaitReady(http.StatusOK, "")
	servertest.Eventually(t, patience, func() (bool, string) {
		left := b.present("item:1")
		return len(left) == 0, "what was dropped is flushed, left: " + shorten(left)
	})
}
