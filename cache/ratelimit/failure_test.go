package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// buffer is a log that several goroutines write.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestRedisGone: what each way to fail decides, that few calls wait, and that
// all is well again when Redis is.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(s *servers.Redis) error{"killed": (*servers.Redis).Kill, "paused": (*servers.Redis).Pause} {
		for _, failure := range []ratelimit.Failure{ratelimit.FailLocal, ratelimit.FailOpen, ratelimit.FailClosed} {
			t.Run(fmt.Sprint(name, "/", failure), func(t *testing.T) {
				t.Parallel()
				server := servertest.Redis(t)
				log := &buffer{}
				l := open(t, server.URL(), ratelimit.Config{
					Failure: failure, Timeout: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil)),
				})
				limit := ratelimit.PerHour(100)
				awaitAnswer(t, l, limit)
				if err := leave(server); err != nil {
					t.Fatal(err)
				}
				id := fresh()
				for i := range 200 {
					r, err := l.Allow(t.Context(), id, "", limit)
					if !errors.Is(err, ratelimit.ErrUnavailable) {
						t.Fatalf("call %d: got %+v, %v", i, r, err)
					}
					want := failure == ratelimit.FailOpen || failure == ratelimit.FailLocal && i < limit.Max
					if r.Allowed != want || r.Limit != limit || !r.Allowed && r.RetryAfter <= 0 {
						t.Errorf("call %d: got %+v, want allowed %v", i, r, want)
					}
				}
				if got := l.Stats(); got.Unasked < 100 || got.Errors < 200 {
					t.Errorf("got %+v, want most calls not to wait", got)
				}
				if n := strings.Count(log.String(), "does not answer"); n != 1 {
					t.Errorf("%d log lines say so, want 1: %s", n, log)
				}
				var err error
				if name == "paused" {
					err = server.Resume()
				} else {
					err = server.Start(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				awaitAnswer(t, l, limit)
				if !strings.Contains(log.String(), "answers again") {
					t.Errorf("the log does not say so: %s", log)
				}
			})
		}
	}
}

// awaitAnswer calls until Redis answers.
func awaitAnswer(t *testing.T, l *ratelimit.Limiter, limit ratelimit.Limit) {
	t.Helper()
	servertest.Eventually(t, time.Minute, func() (bool, string) {
		_, err := l.Allow(t.Context(), fresh(), "", limit)
		return err == nil, fmt.Sprint(err)
	})
}

// TestForeignKey: a key of the same name that something else wrote is an error,
// of this key alone.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	rdb := client(t)
	cfg := generous()
	cfg.Failure = ratelimit.FailOpen
	l, id, limit := over(rdb, cfg), fresh(), ratelimit.PerHour(1)
	if err := rdb.Set(t.Context(), ratelimit.Key(id, "/x"), "17", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if r, err := l.Allow(t.Context(), id, "/x", limit); !errors.Is(err, ratelimit.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGTYPE") || !r.Allowed {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	allow(t, l, fresh(), "/x", limit)
	if got := l.Stats(); got.Unasked != 0 {
		t.Errorf("got %+v: the breaker opened", got)
	}
}

// TestLogEvicted: Redis may evict any key at any time. A log without its hash
// counts for nothing, and a hash without its log begins anew.
func TestLogEvicted(t *testing.T) {
	t.Parallel()
	rdb := client(t)
	l := over(rdb, noDenials())
	id, limit := fresh(), ratelimit.PerHour(3)
	hash := ratelimit.Key(id, "")
	for _, victim := range []string{hash, "{" + hash + "}#s:3600000000", hash} {
		for i := range 5 {
			if got, want := allow(t, l, id, "", limit).Allowed, i < 3; got != want {
				t.Errorf("before %s went, call %d: allowed %v", victim, i, got)
			}
		}
		if n, err := rdb.Del(t.Context(), victim).Result(); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
}

// TestCallerGoesAway: a caller that gives up is no sign that Redis is gone.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	l := open(t, redisURL(t), generous())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if r, err := l.Allow(ctx, fresh(), "", ratelimit.PerHour(1)); !errors.Is(err, context.Canceled) || r.Allowed {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	allow(t, l, fresh(), "", ratelimit.PerHour(1))
	if got := l.Stats(); got.Unasked != 0 {
		t.Errorf("got %+v: the breaker opened", got)
	}
}

// TestClientIsNotOurs: Close leaves it open, and its own long time-out does not
// make callers wait.
func TestClientIsNotOurs(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: time.Hour, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	l := ratelimit.New(rdb, ratelimit.Config{Timeout: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	awaitAnswer(t, l, ratelimit.PerHour(1))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Allow(t.Context(), fresh(), "", ratelimit.PerHour(1)); !errors.Is(err, ratelimit.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the client was closed: %v", err)
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	var events []ratelimit.Event
	cfg := generous()
	cfg.Observe = func(e ratelimit.Event) { events = append(events, e) }
	l := open(t, redisURL(t), cfg)
	id, limit := fresh(), ratelimit.PerHour(1)
	for range 3 {
		allow(t, l, id, "/x", limit)
	}
	if _, err := l.Peek(t.Context(), id, "/x", limit); err != nil {
		t.Fatal(err)
	}
	if len(events) != 3 {
		t.Fatalf("%d events, want 3", len(events))
	}
	for i, want := range []ratelimit.Event{{Allowed: true}, {}, {Remembered: true}} {
		got := events[i]
		if got.Endpoint != "/x" || got.Allowed != want.Allowed || got.Remembered != want.Remembered || got.Err != nil || (got.Took > 0) == want.Remembered {
			t.Errorf("event %d: got %+v", i, got)
		}
	}
}
