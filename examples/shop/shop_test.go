package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const patience = 60 * time.Second

// output is what a process writes, to look at while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// find waits for the output to match, and returns the first group.
func (o *output) find(t *testing.T, expression string) string {
	t.Helper()
	re, found := regexp.MustCompile(expression), ""
	servertest.Eventually(t, patience, func() (bool, string) {
		text := o.String()
		if m := re.FindStringSubmatch(text); m != nil {
			found = m[1]
			return true, ""
		}
		return false, text
	})
	return found
}

// running is a shop with a database of its own.
type running struct {
	t     *testing.T
	db    *pgxpool.Pool
	url   string
	log   *output
	stop  context.CancelFunc
	ended chan error
}

func start(t *testing.T, postgres *servers.Postgres, args ...string) *running {
	t.Helper()
	r := &running{t: t, log: &output{}, ended: make(chan error, 1)}
	db, err := pgxpool.New(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	r.db = db
	t.Cleanup(db.Close)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r.stop = stop
	go func() {
		r.ended <- run(ctx, append([]string{"-listen", "127.0.0.1:0", "-database", postgres.URL()}, args...), noEnv, r.log)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-r.ended; err != nil {
			t.Errorf("the shop ended: %v", err)
		}
		if t.Failed() {
			t.Logf("its log:\n%s", r.log)
		}
	})
	r.url = "http://" + r.log.find(t, `shop listens" address=(\S+)`)
	return r
}

func noEnv(string) string { return "" }

// database starts a Postgres with the shop's tables.
func database(t *testing.T) *servers.Postgres {
	t.Helper()
	postgres := servertest.Postgres(t)
	schema, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := postgres.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), string(schema)); err != nil {
		t.Fatal(err)
	}
	return postgres
}

// ask sends a request and returns status and body without white space at its end.
func (r *running) ask(c *http.Client, method, path, body string) (*http.Response, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response, strings.TrimSpace(string(text))
}

// want asks and compares.
func (r *running) want(c *http.Client, method, path, body string, status int, want string) *http.Response {
	r.t.Helper()
	response, text := r.ask(c, method, path, body)
	if response.StatusCode != status || text != want {
		r.t.Errorf("%s %s: got %d %s, want %d %s", method, path, response.StatusCode, text, status, want)
	}
	return response
}

// eventually asks until the answer is what it should be.
func (r *running) eventually(c *http.Client, path, want string) {
	r.t.Helper()
	servertest.Eventually(r.t, patience, func() (bool, string) {
		_, text := r.ask(c, http.MethodGet, path, "")
		return text == want, path + " is " + text + ", want " + want
	})
}

func (r *running) exec(sql string) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), sql); err != nil {
		r.t.Fatal(err)
	}
}

// browser keeps cookies, as others do not.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// freshet runs the real thing with the example's own configuration.
func freshet(t *testing.T, postgres *servers.Postgres, redis *servers.Redis) *os.Process {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "freshet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	log := &output{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "run", "-c", "freshet.yaml")
	cmd.Env = append(os.Environ(),
		"DATABASE_URL="+postgres.URL(), "REDIS_URL="+redis.URL(),
		"FRESHET_NATS=127.0.0.1:0", "FRESHET_HTTP=127.0.0.1:0", "FRESHET_DATA="+filepath.Join(folder, "data"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("freshet ended: %v; its log:\n%s", err, log)
		}
	})
	log.find(t, `(freshet runs)`)
	return cmd.Process
}

// cached waits until Freshet has applied all that is committed by now and the
// value of a path is in the cache all the same.
func (r *running) cached(c *cache.Cache, path, key string) {
	r.t.Helper()
	token, err := cache.TokenFrom(r.t.Context(), r.db)
	if err != nil {
		r.t.Fatal(err)
	}
	servertest.Eventually(r.t, patience, func() (bool, string) {
		_, _ = r.ask(http.DefaultClient, http.MethodGet, path, "")
		_, err := cache.Get[json.RawMessage](r.t.Context(), c, key, cache.AtLeast(token))
		return err == nil, fmt.Sprint(key, ": ", err)
	})
}

// TestKeptFresh: what others change is seen, and what a client changes is seen by
// that client at once.
func TestKeptFresh(t *testing.T) {
	t.Parallel()
	postgres, redis := database(t), servertest.Redis(t)
	process := freshet(t, postgres, redis)
	r := start(t, postgres, "-redis", redis.URL(), "-source", "shop")
	rdb := redis.Client()
	defer rdb.Close()
	c, err := cache.Open(t.Context(), redis.URL(), cache.Config{Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	anybody, author := http.DefaultClient, browser(t)

	// Somebody else changes what is cached.
	r.cached(c, "/orders/1", "order:1")
	r.want(anybody, "GET", "/orders/1", "", 200, `{"id":1,"client_id":1,"status":"open","cents":1200}`)
	if got := rdb.Get(t.Context(), "order:1").Val(); got != `{"id":1,"client_id":1,"status":"open","cents":1200}` {
		t.Errorf("in Redis: %s", got)
	}
	r.want(anybody, "GET", "/clients/2/orders", "", 200, `[{"id":3,"client_id":2,"status":"open","cents":4200}]`)
	r.want(anybody, "GET", "/clients/1", "", 200, `{"id":1,"name":"Ada"}`)
	r.exec("UPDATE orders SET client_id = 2, status = 'paid' WHERE id = 1")
	r.exec("UPDATE clients SET name = 'Ada L.' WHERE id = 1")
	r.eventually(anybody, "/orders/1", `{"id":1,"client_id":2,"status":"paid","cents":1200}`)
	r.eventually(anybody, "/clients/2/orders", `[{"id":3,"client_id":2,"status":"open","cents":4200},{"id":1,"client_id":2,"status":"paid","cents":1200}]`)
	r.eventually(anybody, "/clients/1/orders", `[{"id":2,"client_id":1,"status":"open","cents":800}]`)
	r.eventually(anybody, "/clients/1", `{"id":1,"name":"Ada L."}`)

	// Responses are cached too.
	const before = `[{"status":"open","orders":2,"cents":5000},{"status":"paid","orders":1,"cents":1200}]`
	r.eventually(anybody, "/summary", before)
	servertest.Eventually(t, patience, func() (bool, string) {
		response, _ := r.ask(anybody, "GET", "/summary", "")
		return response.Header.Get("X-Cache") == "HIT", response.Header.Get("X-Cache")
	})
	r.exec("UPDATE orders SET status = 'paid' WHERE id = 2")
	r.eventually(anybody, "/summary", `[{"status":"open","orders":1,"cents":4200},{"status":"paid","orders":2,"cents":2000}]`)

	// An order that was not there is there.
	r.want(anybody, "GET", "/orders/4", "", 404, "not found")
	r.want(author, "POST", "/orders", `{"client_id":1,"cents":100}`, 200, `{"id":4,"client_id":1,"status":"open","cents":100}`)
	r.want(author, "GET", "/orders/4", "", 200, `{"id":4,"client_id":1,"status":"open","cents":100}`)
	r.eventually(anybody, "/orders/4", `{"id":4,"client_id":1,"status":"open","cents":100}`)

	// With Freshet stopped others get the old value, and the author does not.
	r.cached(c, "/orders/4", "order:4")
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	response := r.want(author, "PATCH", "/orders/4", `{"status":"shipped"}`, 200, `{"id":4,"client_id":1,"status":"shipped","cents":100}`)
	r.want(anybody, "GET", "/orders/4", "", 200, `{"id":4,"client_id":1,"status":"open","cents":100}`)
	r.want(author, "GET", "/orders/4", "", 200, `{"id":4,"client_id":1,"status":"shipped","cents":100}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/clients/1/orders", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(tokenHeader, response.Header.Get(tokenHeader)) // as programs do
	list, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Body.Close()
	var orders []order
	if err := json.NewDecoder(list.Body).Decode(&orders); err != nil || len(orders) != 2 || orders[0].Status != "shipped" {
		t.Errorf("got %+v, %v", orders, err)
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.eventually(anybody, "/orders/4", `{"id":4,"client_id":1,"status":"shipped","cents":100}`)
}

// TestWithoutRedisAndFreshet: the shop warns, and invalidates what it changes.
func TestWithoutRedisAndFreshet(t *testing.T) {
	t.Parallel()
	r := start(t, database(t), "-source", "shop")
	c := browser(t)
	if !strings.Contains(r.log.String(), "level=WARN") {
		t.Errorf("no warning in %s", r.log)
	}
	r.want(c, "GET", "/orders/1", "", 200, `{"id":1,"client_id":1,"status":"open","cents":1200}`)
	r.want(c, "GET", "/clients/2/orders", "", 200, `[{"id":3,"client_id":2,"status":"open","cents":4200}]`)
	if got := r.want(c, "GET", "/summary", "", 200, `[{"status":"open","orders":3,"cents":6200}]`).Header.Get("X-Cache"); got != "MISS" {
		t.Errorf("X-Cache: %s", got)
	}
	if got := r.want(c, "GET", "/summary", "", 200, `[{"status":"open","orders":3,"cents":6200}]`).Header.Get("X-Cache"); got != "HIT" {
		t.Errorf("X-Cache: %s", got)
	}
	r.want(c, "PATCH", "/orders/1", `{"status":"paid"}`, 200, `{"id":1,"client_id":1,"status":"paid","cents":1200}`)
	r.want(c, "POST", "/orders", `{"client_id":2,"cents":5}`, 200, `{"id":4,"client_id":2,"status":"open","cents":5}`)
	r.want(c, "GET", "/orders/1", "", 200, `{"id":1,"client_id":1,"status":"paid","cents":1200}`)
	r.want(c, "GET", "/clients/2/orders", "", 200, `[{"id":4,"client_id":2,"status":"open","cents":5},{"id":3,"client_id":2,"status":"open","cents":4200}]`)
	r.want(c, "GET", "/summary", "", 200, `[{"status":"open","orders":3,"cents":5005},{"status":"paid","orders":1,"cents":1200}]`)

	for _, bad := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/orders/x", "", 400},
		{"GET", "/orders/99", "", 404},
		{"PATCH", "/orders/99", `{"status":"paid"}`, 404},
		{"PATCH", "/orders/1", `{"status":"lost"}`, 400},
		{"POST", "/orders", `{"client_id":99,"cents":5}`, 400},
		{"POST", "/orders", `{"client":2}`, 400},
		{"DELETE", "/orders/1", "", 405},
	} {
		if response, text := r.ask(c, bad.method, bad.path, bad.body); response.StatusCode != bad.status {
			t.Errorf("%s %s: got %d %s, want %d", bad.method, bad.path, response.StatusCode, text, bad.status)
		}
	}
	r.want(c, "GET", "/healthz", "", 200, "ok")
	if _, text := r.ask(c, "GET", "/metrics", ""); !strings.Contains(text, `freshet_cache_loads_total{prefix="order"}`) {
		t.Errorf("no loads among the metrics:\n%s", text)
	}
}

// TestTooManyChanges are refused, over Redis, and reads go on.
func TestTooManyChanges(t *testing.T) {
	t.Parallel()
	r := start(t, database(t), "-redis", servertest.Redis(t).URL())
	began := time.Now()
	allowed := 0
	for range 70 {
		response, text := r.ask(http.DefaultClient, "PATCH", "/orders/1", `{"status":"paid"}`)
		switch response.StatusCode {
		case http.StatusOK:
			allowed++
		case http.StatusTooManyRequests:
			if response.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Fatalf("got %d %s", response.StatusCode, text)
		}
	}
	if allowed != 60 && time.Since(began) < time.Minute {
		t.Errorf("%d changes were allowed, want 60", allowed)
	}
	response := r.want(http.DefaultClient, "GET", "/orders/1", "", 200, `{"id":1,"client_id":1,"status":"paid","cents":1200}`)
	if response.Header.Get("RateLimit") == "" {
		t.Error("no RateLimit")
	}
}

// TestRequestsFinish: a request that is under way when the shop is stopped gets
// its answer.
func TestRequestsFinish(t *testing.T) {
	t.Parallel()
	r := start(t, database(t))
	tx, err := r.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM orders WHERE id = 1 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodPatch, r.url+"/orders/1", strings.NewReader(`{"status":"paid"}`))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		answered <- fmt.Sprint(response.StatusCode)
	}()
	servertest.Eventually(t, patience, func() (bool, string) {
		var waiting int
		err := r.db.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&waiting)
		return waiting == 1, fmt.Sprint(waiting, " wait for the row ", err)
	})
	r.stop()
	servertest.Eventually(t, patience, func() (bool, string) {
		response, err := http.Get(r.url + "/healthz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err != nil, "it takes requests still"
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != "200" {
		t.Errorf("got %s", got)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-nonsense"},
		{"-database", "nonsense://"},
		{"-redis", "nonsense://"},
		{"-listen", "nonsense"},
	} {
		if err := run(t.Context(), args, noEnv, io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
