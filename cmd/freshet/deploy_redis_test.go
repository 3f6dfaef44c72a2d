package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// filled is a file of deploy/redis with passwords in place of its placeholders.
func filled(t *testing.T, file string) string {
	t.Helper()
	text := readFile(t, deployed+"redis/"+file)
	for placeholder, user := range map[string]string{"ADMINS": "admin", "SERVICES": "freshet", "LIBRARYS": "library", "REPLICAS": "replica", "SENTINELS": "sentinel"} {
		text = strings.Replace(text, "SHA256_OF_THE_"+placeholder+"_PASSWORD", fmt.Sprintf("%x", sha256.Sum256([]byte(secret(user)))), 1)
		text = strings.Replace(text, "PASSWORD_OF_"+strings.ToUpper(user), secret(user), 1)
	}
	return text
}

// redisUsers are options of a Redis server with deploy/redis/users.acl.
func redisUsers(t *testing.T) servers.RedisOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(path, []byte(filled(t, "users.acl")), 0o600); err != nil {
		t.Fatal(err)
	}
	return servers.RedisOptions{User: "admin", Password: secret("admin"), Args: []string{"--aclfile", path}}
}

func redisURL(r *servers.Redis, user string) string {
	return (&url.URL{Scheme: "redis", User: url.UserPassword(user, secret(user)), Host: r.Addr()}).String()
}

// deployOn is deploy with that Redis.
func deployOn(t *testing.T, rdb redis.UniversalClient, address string) *deployment {
	t.Helper()
	d := deploy(t)
	d.rdb = rdb
	t.Cleanup(func() { _ = rdb.Close() })
	d.environment = append(d.environment, "REDIS_URL="+address)
	d.publish()
	return d
}

// denied fails the test with what Redis has refused.
func denied(t *testing.T, r *servers.Redis) {
	t.Helper()
	rdb := r.Client()
	defer rdb.Close()
	entries, err := rdb.ACLLog(t.Context(), 100).Result()
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Object, "client|") {
			continue // how a client introduces itself, which it can do without
		}
		t.Errorf("%s was refused %s %s %s", e.Username, e.Reason, e.Object, e.Context)
	}
}

// The service works with the rights of its user, and so does the library.
func TestDeployedRedisUsers(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, redisUsers(t))
	d := deployOn(t, r.Client(), redisURL(r, "freshet"))
	const client = "      - client:{id}\n"
	text := readFile(t, d.config(false))
	if !strings.Contains(text, client) {
		t.Fatal("deploy/freshet.yaml has no rule for client:{id}")
	}
	// A key of one rule alone, which verify can read backwards.
	config := writeConfig(t, strings.Replace(text, client, client+
		"    warm: [{key: 'client:{id}', sql: 'select to_jsonb(c) from clients c where c.id = {id}', ttl: 10m}]\n", 1))
	if out, status := d.check(config); status != exitDone {
		t.Errorf("check: status %d\n%s", status, out)
	}
	p := d.run(config)
	conn, err := nats.Connect(natsOf(d))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	layer, err := near.New(conn, near.Config{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	c, err := cache.Open(t.Context(), redisURL(r, "library"), cache.Config{Source: "shop", Near: layer})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d.settle(p)
	tagged := func() (loads int) {
		t.Helper()
		if _, err := cache.GetOrSet(t.Context(), c, "orders:report", time.Hour, func(context.Context) (int, error) { loads++; return 1, nil }, cache.WithTags("client:1")); err != nil {
			t.Fatal(err)
		}
		return loads
	}
	servertest.Eventually(t, patience, func() (bool, string) { return layer.Stats().Sound, layer.Stats().Reason })
	tagged()
	if tagged() != 0 {
		t.Error("what was stored with a tag is not cached")
	}
	// A pattern, names, a tag, and a name that a warmer fills again.
	want := []string{
		"dashboard:1", "order:1", "order:1:status", "orders:client:1", "orders:list:0f", "orders:list:all",
		"orders:metrics:2026-11", "production:metrics:2026-11-23",
	}
	if got := d.removedBy(p, `UPDATE orders SET status = 'PAID' WHERE id = 1`); !slices.Equal(got, want) {
		t.Errorf("removed %v, want %v", got, want)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		value, err := d.rdb.Get(t.Context(), "order:1").Result()
		return strings.Contains(value, `"PAID"`), fmt.Sprintf("order:1 is %q, %v: not warmed", value, err)
	})
	if tagged() != 1 {
		t.Error("a changed row has left what its tag stands for")
	}
	// A value that no query gives is found, and removed.
	if out, errOut, status := commandIn(t, t.TempDir(), d.environment, "verify", "-c", config, "--fix"); status != exitFailed || !strings.Contains(out, `"client:2"`) {
		t.Errorf("verify: status %d\n%s%s", status, out, errOut)
	}
	if out, errOut, status := commandIn(t, t.TempDir(), d.environment, "invalidate", "-c", config, "user:1", "--pattern", "user:email:*"); status != exitDone {
		t.Errorf("invalidate: status %d\n%s%s", status, out, errOut)
	}
	if status, _ := p.terminate(); status != exitDone {
		t.Errorf("the service ended with status %d:\n%s", status, p.tail())
	}
	denied(t, r)
}

func natsOf(d *deployment) string {
	for _, v := range d.environment {
		if address, found := strings.CutPrefix(v, "NATS_URL="); found {
			return address
		}
	}
	return ""
}

// Every call of the library works with the rights of its user, within the names that
// the user has.
func TestDeployedRedisLibrary(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, redisUsers(t))
	ctx := t.Context()
	c, err := cache.Open(ctx, redisURL(r, "library"), cache.Config{Source: "shop", Prefix: "order:"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	load := func(context.Context) (string, error) { return "loaded", nil }
	calls := map[string]func() error{
		"Ping":     func() error { return c.Ping(ctx) },
		"Info":     func() error { _, err := c.Info(ctx); return err },
		"Set":      func() error { return cache.Set(ctx, c, "set", "x", time.Minute) },
		"Set tags": func() error { return cache.Set(ctx, c, "tagged", "x", time.Minute, cache.WithTags("t")) },
		"SetMany":  func() error { return cache.SetMany(ctx, c, map[string]string{"a": "x", "b": "y"}, time.Minute) },
		"Get":      func() error { _, err := cache.Get[string](ctx, c, "none"); return unless(err, cache.ErrMiss) },
		"Get within": func() error {
			_, err := cache.Get[string](ctx, c, "set", cache.Within(time.Minute))
			return unless(err, cache.ErrMiss)
		},
		"GetMany":  func() error { _, err := cache.GetMany[string](ctx, c, []string{"a", "none"}); return err },
		"GetOrSet": func() error { _, err := cache.GetOrSet(ctx, c, "filled", time.Minute, load); return err },
		"GetOrSet tags": func() error {
			_, err := cache.GetOrSet(ctx, c, "filled with tags", time.Minute, load, cache.WithTags("t", "u"))
			return err
		},
		"GetOrSet refreshed": func() error {
			_, err := cache.GetOrSet(ctx, c, "refreshed", time.Minute, load, cache.WithRefreshAhead(1), cache.WithFailSafe(time.Hour))
			return err
		},
		"GetOrSet bounded": func() error {
			_, err := cache.GetOrSet(ctx, c, "bounded", time.Minute, load, cache.Within(time.Minute))
			return err
		},
		"GetOrSet of a replica": func() error {
			_, err := cache.GetOrSet(ctx, c, "replica", time.Minute, func(ctx context.Context) (string, error) {
				cache.LoadedAt(ctx, 1)
				return "x", nil
			})
			return err
		},
		"GetOrSet not found": func() error {
			_, err := cache.GetOrSet(ctx, c, "absent", time.Minute, func(context.Context) (string, error) { return "", cache.ErrNotFound })
			return unless(err, cache.ErrNotFound)
		},
		"GetOrSetMany": func() error {
			_, err := cache.GetOrSetMany(ctx, c, []int{1, 2}, func(id int) string { return fmt.Sprint("many:", id) }, time.Minute,
				func(context.Context, []int) (map[int]string, error) { return map[int]string{1: "x"}, nil })
			return err
		},
		"Lease": func() error {
			l, err := c.Lease(ctx, "leased")
			if err != nil {
				return err
			}
			return l.Release(ctx)
		},
		"Delete":            func() error { return c.Delete(ctx, "a", "none") },
		"Exists":            func() error { _, err := c.Exists(ctx, "b"); return err },
		"TTL":               func() error { _, err := c.TTL(ctx, "b"); return unless(err, cache.ErrMiss) },
		"Touch":             func() error { _, err := c.Touch(ctx, "b", time.Hour); return err },
		"Increment":         func() error { _, err := c.Increment(ctx, "n", 2, time.Minute); return err },
		"Decrement":         func() error { _, err := c.Decrement(ctx, "n", 1, time.Minute); return err },
		"InvalidatePattern": func() error { _, err := c.InvalidatePattern(ctx, "many:*"); return err },
		"InvalidateTags":    func() error { return c.InvalidateTags(ctx, "t") },
		"Clear":             func() error { _, err := c.Clear(ctx); return err },
		"Keys": func() error {
			for _, err := range c.Keys(ctx, "*") {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"httpcache": func() error { return cachedAnswer(ctx, r) },
		"ratelimit": func() error { return limited(ctx, r) },
	}
	for name, call := range calls {
		for range 2 { // what is there the second time is asked for otherwise
			if err := call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	denied(t, r)
}

// unless drops an error that is an answer.
func unless(err, answer error) error {
	if errors.Is(err, answer) {
		return nil
	}
	return err
}

// cachedAnswer serves a page through the middleware.
func cachedAnswer(ctx context.Context, r *servers.Redis) error {
	c, err := cache.Open(ctx, redisURL(r, "library"), cache.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	page := httpcache.Middleware(c, httpcache.Config{TTL: time.Minute})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("page")) }))
	answer := httptest.NewRecorder()
	page.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/page", http.NoBody))
	if answer.Code != http.StatusOK || answer.Header().Get("X-Cache") == "BYPASS" {
		return fmt.Errorf("got %d, %v", answer.Code, answer.Header())
	}
	return nil
}

func limited(ctx context.Context, r *servers.Redis) error {
	l, err := ratelimit.Open(ctx, redisURL(r, "library"), ratelimit.Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	_, err = l.Allow(ctx, "ann", "/login", ratelimit.Limit{Max: 100, Window: time.Minute})
	return err
}

// With one right of the service's taken away, check says which.
func TestDeployedRedisMissing(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, redisUsers(t))
	d := deployOn(t, r.Client(), redisURL(r, "freshet"))
	config := d.config(false)
	if out, status := d.check(config); status != exitDone {
		t.Fatalf("check: status %d\n%s", status, out)
	}
	set := func(rights ...any) {
		t.Helper()
		if err := d.rdb.Do(t.Context(), append([]any{"ACL", "SETUSER"}, rights...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	_, line, _ := strings.Cut(readFile(t, deployed+"redis/users.acl"), "user freshet on ")
	line, _, _ = strings.Cut(line, "\n")
	words := strings.Fields(line)[1:] // after the password
	all := []any{"freshet", "resetkeys"}
	for _, word := range words {
		all = append(all, word)
	}
	for _, right := range words {
		switch right {
		case "resetchannels", "-@all", "+hello", "+ping": // not rights, or not of use
			continue
		case "+command", "+asking", "+readonly", "+cluster|info", "+cluster|nodes", "+cluster|slots", "+cluster|shards": // in a Cluster
			continue
		}
		less := slices.DeleteFunc(slices.Clone(all), func(word any) bool { return word == right })
		set(less...)
		if out, status := d.check(config); status != exitFailed || !strings.Contains(out, "ACL SETUSER <user> ") || !strings.Contains(out, " "+strings.TrimSuffix(right, "*")) {
			t.Errorf("without %s: status %d\n%s", right, status, out)
		}
	}
	set(all...)
	if out, status := d.check(config); status != exitDone {
		t.Errorf("check with all rights again: status %d\n%s", status, out)
	}
}

// No user may do what is not its own.
func TestDeployedRedisForbids(t *testing.T) {
	t.Parallel()
	r := servertest.Redis(t, redisUsers(t))
	for _, tc := range []struct {
		user    string
		command []any
	}{
		{"freshet", []any{"FLUSHALL"}},
		{"freshet", []any{"CONFIG", "GET", "*"}},
		{"freshet", []any{"KEYS", "*"}},
		{"freshet", []any{"GET", "another"}},
		{"freshet", []any{"UNLINK", "ratelimit:ann"}},
		{"freshet", []any{"EVAL", "return redis.call('GET', KEYS[1])", "1", "another"}},
		{"freshet", []any{"EVAL", "return redis.call('FLUSHDB')", "0"}},
		{"freshet", []any{"ACL", "WHOAMI"}},
		{"freshet", []any{"CLIENT", "KILL", "TYPE", "normal"}},
		{"freshet", []any{"SUBSCRIBE", "x"}},
		{"library", []any{"FLUSHDB"}},
		{"library", []any{"CONFIG", "SET", "maxmemory", "1"}},
		{"library", []any{"SET", "another", "x"}},
		{"library", []any{"SET", "freshet:position:shop", "x"}},
		{"library", []any{"DEL", "freshet:counter:shop"}},
		{"library", []any{"SCRIPT", "FLUSH"}},
		{"library", []any{"CLIENT", "LIST"}},
		{"library", []any{"SHUTDOWN", "NOSAVE"}},
	} {
		options, err := redis.ParseURL(redisURL(r, tc.user))
		if err != nil {
			t.Fatal(err)
		}
		rdb := redis.NewClient(options)
		if err := rdb.Do(t.Context(), tc.command...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "can't run this command") && !strings.Contains(err.Error(), "ACL failure") {
			t.Errorf("%s may %v: %v", tc.user, tc.command, err)
		}
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", tc.user, err)
		}
		_ = rdb.Close()
	}
	anybody := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer anybody.Close()
	if err := anybody.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}
