package deploytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
)

// stack is compose.yaml at work without containers: its servers with what it mounts
// into them, its commands, and its environment and no other. Only paths and addresses
// are the test's.
type stack struct {
	t         *testing.T
	project   *types.Project
	postgres  *servers.Postgres
	addresses []string          // pairs of what compose.yaml has and where that is here
	listens   map[string]string // by service
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, project: composed(t), listens: map[string]string{}}
	s.startPostgres()
	s.startNATS()
	s.startRedis()
	return s
}

// environment is a service's, beside the variables that are given.
func (s *stack) environment(name string, more ...string) []string {
	s.t.Helper()
	where := strings.NewReplacer(s.addresses...)
	for variable, value := range s.project.Services[name].Environment {
		more = append(more, variable+"="+where.Replace(*value))
	}
	return more
}

// value is one variable of it.
func (s *stack) value(name, variable string) string {
	s.t.Helper()
	for _, v := range s.environment(name) {
		if value, found := strings.CutPrefix(v, variable+"="); found {
			return value
		}
	}
	s.t.Fatalf("%s has no %s", name, variable)
	return ""
}

// mounted is where a path of a container is here.
func (s *stack) mounted(name, path string) string {
	s.t.Helper()
	for _, v := range s.project.Services[name].Volumes {
		if rest, found := strings.CutPrefix(path, v.Target); found && v.Type == types.VolumeTypeBind && (rest == "" || rest[0] == '/') {
			return v.Source + rest
		}
	}
	s.t.Fatalf("nothing is mounted into %s for %s", name, path)
	return ""
}

// startPostgres starts a server that asks of everybody what the image asks of other
// containers, and runs the files of its folder as the image does.
func (s *stack) startPostgres() {
	s.t.Helper()
	of := s.project.Services["postgres"]
	options := servers.PostgresOptions{
		Settings: map[string]string{"wal_level": "replica"}, // the image's
		HBA: []string{
			"host all postgres 127.0.0.1/32 trust",
			"host all all 127.0.0.1/32 scram-sha-256",
			"host replication all 127.0.0.1/32 reject", // physical replication
		},
	}
	for i, word := range of.Command {
		if setting, value, found := strings.Cut(word, "="); found && of.Command[i-1] == "-c" {
			options.Settings[setting] = value
		}
	}
	s.postgres = servertest.Postgres(s.t, options)
	s.addresses = append(s.addresses, "postgres:5432", s.postgres.Addr())
	s.sql(s.postgres.URL(), "CREATE DATABASE "+*of.Environment["POSTGRES_DB"])
	psql, err := exec.LookPath("psql")
	if err != nil {
		s.t.Fatal("there is no psql: apt-get install postgresql-client")
	}
	scripts := map[string]string{}
	for _, v := range of.Volumes {
		if filepath.Dir(v.Target) == "/docker-entrypoint-initdb.d" {
			scripts[v.Target] = v.Source
		}
	}
	for _, target := range slices.Sorted(maps.Keys(scripts)) {
		cmd := exec.CommandContext(s.t.Context(), psql, "-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc",
			"-d", s.postgres.DatabaseURL(*of.Environment["POSTGRES_DB"]), "-f", scripts[target])
		cmd.Env = s.environment("postgres")
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v\n%s", target, err, out)
		}
	}
}

func (s *stack) startNATS() {
	s.t.Helper()
	of := s.project.Services["nats"]
	at := slices.Index(of.Command, "-c")
	if at < 0 {
		s.t.Fatalf("nats-server is started with %v", of.Command)
	}
	n := servertest.NATS(s.t, servers.NATSOptions{
		ConfigFile: s.mounted("nats", of.Command[at+1]), Env: s.environment("nats"),
		User: "monitor", Password: s.value("nats", "NATS_MONITOR_PASSWORD"),
	})
	s.addresses = append(s.addresses, "nats:4222", n.Addr())
}

func (s *stack) startRedis() {
	s.t.Helper()
	if _, err := servers.FindRedis(""); err != nil {
		s.t.Fatal(err)
	}
	of := s.project.Services["redis"]
	folder, address := s.t.TempDir(), servertest.FreeAddr(s.t)
	_, port, _ := net.SplitHostPort(address)
	words := func(command []string, more string) []string {
		here := strings.NewReplacer("/etc/redis/users.acl", s.mounted("redis", "/etc/redis/users.acl"), "/tmp", folder, "redis-cli", "redis-cli -p "+port)
		command = slices.Clone(command)
		last := len(command) - 1
		command[last] = strings.TrimSpace(here.Replace(command[last])) + more
		return command
	}
	command := words(of.Command, fmt.Sprintf(" --bind 127.0.0.1 --port %s --dir %s", port, folder))
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), command[0], command[1:]...)
	cmd.Env = s.environment("redis", "PATH="+os.Getenv("PATH"))
	start(s.t, cmd, "Ready to accept connections")
	s.addresses = append(s.addresses, "redis:6379", address)

	// Its health check says who is there, and does not say so of a stranger.
	healthy := func(environment []string) error {
		test := words(of.HealthCheck.Test, "")
		cmd := exec.CommandContext(s.t.Context(), "sh", "-c", test[1])
		cmd.Env = environment
		return cmd.Run()
	}
	if err := healthy(cmd.Env); err != nil {
		s.t.Errorf("the health check of Redis: %v", err)
	}
	if err := healthy([]string{"PATH=" + os.Getenv("PATH")}); err == nil {
		s.t.Error("the health check of Redis needs no password")
	}
}

// command is a service of Freshet's.
func (s *stack) command(name string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), program(s.t), s.project.Services[name].Command...)
	cmd.Env = s.environment(name, "FRESHET_CONFIG="+s.mounted(name, "/etc/freshet/freshet.yaml")) // which the image sets
	cmd.Dir = s.t.TempDir()
	return cmd
}

// sql runs statements one by one.
func (s *stack) sql(url string, statements ...string) {
	s.t.Helper()
	if err := s.try(url, statements...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) try(url string, statements ...string) error {
	db, err := pgx.Connect(s.t.Context(), url)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(s.t.Context()))
	for _, sql := range statements {
		if _, err := db.Exec(s.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// ask sends a request to the shop and returns status and body of its answer.
func (s *stack) ask(method, path, body, token string) (answer string, header http.Header) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.listens["shop"]+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Freshet-Token", token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", strings.TrimSpace(string(text))), response.Header
}

func (s *stack) eventually(path, want string) {
	s.t.Helper()
	servertest.Eventually(s.t, patience, func() (bool, string) {
		got, _ := s.ask(http.MethodGet, path, "", "")
		return got == want, fmt.Sprintf("%s is %s, want %s", path, got, want)
	})
}

// What compose.yaml starts keeps the shop fresh, each service with the rights of its
// own users, which may do nothing of the others'.
func TestComposeRuns(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	logs := map[string]*output{}
	for _, role := range service.Roles() {
		if got, want := s.project.Services[role].Command, []string{"run", "--roles", role}; !slices.Equal(got, want) {
			t.Errorf("%s runs %v, want %v", role, got, want)
		}
		s.listens[role] = servertest.FreeAddr(t)
		cmd := s.command(role)
		cmd.Env = append(cmd.Env, "FRESHET_HTTP="+s.listens[role])
		logs[role] = start(t, cmd, runs)
	}
	path, err := shop()
	if err != nil {
		t.Fatal(err)
	}
	s.listens["shop"] = servertest.FreeAddr(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "-listen", s.listens["shop"])
	cmd.Env = s.environment("shop")
	logs["shop"] = start(t, cmd, "shop listens")
	for _, role := range service.Roles() {
		ready(t, s.listens[role])
	}

	s.fresh()
	for name, want := range map[string]string{"check": " ok, 0 to look at, 0 to mend", "operator": "Every change committed"} {
		servertest.Eventually(t, patience, func() (bool, string) {
			out, err := s.command(name).CombinedOutput()
			return err == nil && strings.Contains(string(out), want), fmt.Sprintf("%s: %v\n%s", name, err, out)
		})
	}
	for name, log := range logs {
		for _, word := range []string{"NOPERM", "NOAUTH", "permission", "ERROR", `"level":"error"`} {
			if strings.Contains(log.String(), word) {
				t.Errorf("%s was refused something (%s):\n%s", name, word, log)
			}
		}
	}
	s.postgresForbids()
	s.redisForbids()
	s.natsForbids()
}

// fresh changes rows behind the shop's back and through the shop.
func (s *stack) fresh() {
	s.t.Helper()
	shop := s.redis("shop")
	defer shop.Close()
	cached := func(key, path, want string) {
		s.t.Helper()
		servertest.Eventually(s.t, patience, func() (bool, string) { // a flush may come after the first read
			got, _ := s.ask(http.MethodGet, path, "", "")
			n, err := shop.Exists(s.t.Context(), key).Result()
			return err == nil && n == 1 && got == want, fmt.Sprintf("%s is %s; %d of it in Redis, %v", path, got, n, err)
		})
	}
	database := s.postgres.DatabaseURL("shop")
	cached("order:1", "/orders/1", `200 {"id":1,"client_id":1,"status":"open","cents":1200}`)
	cached("orders:client:2", "/clients/2/orders", `200 [{"id":3,"client_id":2,"status":"open","cents":4200}]`)
	cached("client:1", "/clients/1", `200 {"id":1,"name":"Ada"}`)
	s.eventually("/summary", `200 [{"status":"open","orders":3,"cents":6200}]`)
	s.sql(database, `UPDATE orders SET client_id = 2, status = 'paid' WHERE id = 1`, `UPDATE clients SET name = 'Ada L.' WHERE id = 1`)
	s.eventually("/orders/1", `200 {"id":1,"client_id":2,"status":"paid","cents":1200}`)
	s.eventually("/clients/2/orders", `200 [{"id":3,"client_id":2,"status":"open","cents":4200},{"id":1,"client_id":2,"status":"paid","cents":1200}]`)
	s.eventually("/clients/1", `200 {"id":1,"name":"Ada L."}`)
	s.eventually("/summary", `200 [{"status":"open","orders":2,"cents":5000},{"status":"paid","orders":1,"cents":1200}]`)

	cached("order:2", "/orders/2", `200 {"id":2,"client_id":1,"status":"open","cents":800}`)
	const paid = `200 {"id":2,"client_id":1,"status":"paid","cents":800}`
	got, header := s.ask(http.MethodPatch, "/orders/2", `{"status":"paid"}`, "")
	token := header.Get("Freshet-Token")
	if got != paid || token == "" || header.Get("Ratelimit") == "" {
		s.t.Errorf("PATCH: got %s, %v", got, header)
	}
	if got, _ := s.ask(http.MethodGet, "/orders/2", "", token); got != paid {
		s.t.Errorf("who changed it reads %s", got)
	}
	s.eventually("/orders/2", paid)
	const four = `200 {"id":4,"client_id":1,"status":"open","cents":100}`
	if got, _ := s.ask(http.MethodPost, "/orders", `{"client_id":1,"cents":100}`, ""); got != four {
		s.t.Errorf("POST: got %s", got)
	}
	s.eventually("/orders/4", four)
}

// postgresForbids: nobody changes what is not its own, and only the consumer
// replicates.
func (s *stack) postgresForbids() {
	s.t.Helper()
	const slot = `SELECT pg_create_logical_replication_slot('mine', 'pgoutput')`
	for _, tc := range []struct{ service, sql string }{
		{"consumer", `UPDATE orders SET cents = 1`},
		{"consumer", `CREATE TABLE mine ()`},
		{"consumer", `ALTER PUBLICATION freshet_shop DROP TABLE orders`},
		{"invalidator", `UPDATE orders SET cents = 1`},
		{"invalidator", slot},
		{"warmer", slot},
		{"shop", slot},
		{"shop", `SELECT pg_drop_replication_slot('freshet_shop')`},
		{"shop", `UPDATE clients SET name = ''`},
		{"shop", `DELETE FROM orders`},
		{"shop", `TRUNCATE orders`},
		{"shop", `ALTER TABLE orders REPLICA IDENTITY DEFAULT`},
		{"shop", `CREATE TABLE mine ()`},
		{"shop", `COPY orders TO PROGRAM 'cat'`},
	} {
		err := s.try(s.value(tc.service, "DATABASE_URL"), tc.sql)
		if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "42501" {
			s.t.Errorf("%s: %s: got %v", tc.service, tc.sql, err)
		}
	}
	if err := s.try(strings.Replace(s.value("shop", "DATABASE_URL"), "only-for-trying", "wrong", 1)); err == nil {
		s.t.Error("a wrong password is right")
	}
}

// redis connects as a service does.
func (s *stack) redis(name string) *redis.Client {
	s.t.Helper()
	options, err := redis.ParseURL(s.value(name, "REDIS_URL"))
	if err != nil {
		s.t.Fatal(err)
	}
	return redis.NewClient(options)
}

// redisForbids: the shop does not say what is applied, nobody flushes or configures
// anything, and without a password there is nothing.
func (s *stack) redisForbids() {
	s.t.Helper()
	for _, tc := range []struct {
		service, want string
		command       []any
	}{
		{"shop", "NOPERM", []any{"FLUSHALL"}},
		{"shop", "NOPERM", []any{"FLUSHDB"}},
		{"shop", "NOPERM", []any{"SET", "freshet:position:shop", "x"}},
		{"shop", "NOPERM", []any{"DEL", "freshet:position:shop"}},
		{"shop", "NOPERM", []any{"SET", "another", "x"}},
		{"shop", "NOPERM", []any{"CONFIG", "GET", "*"}},
		{"invalidator", "NOPERM", []any{"FLUSHALL"}},
		{"warmer", "NOPERM", []any{"UNLINK", "ratelimit:x"}},
		{"warmer", "NOPERM", []any{"ACL", "LIST"}},
		{"consumer", "NOAUTH", []any{"PING"}},
	} {
		rdb := s.redis(tc.service)
		if err := rdb.Do(s.t.Context(), tc.command...).Err(); err == nil || !strings.Contains(err.Error(), tc.want) {
			s.t.Errorf("%s: %v: got %v, want %s", tc.service, tc.command, err, tc.want)
		}
		_ = rdb.Close()
	}
	// The other users of the file, which have no password here.
	_, address, _ := strings.Cut(s.value("consumer", "REDIS_URL"), "//")
	for _, user := range []string{"default", "admin", "replica", "sentinel"} {
		rdb := redis.NewClient(&redis.Options{Addr: address, Username: user, Password: "x"})
		if err := rdb.Ping(s.t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			s.t.Errorf("as %s: got %v", user, err)
		}
		_ = rdb.Close()
	}
}

// natsForbids: only the consumer publishes row changes, only the invalidator announces
// invalidations.
func (s *stack) natsForbids() {
	s.t.Helper()
	for _, tc := range []struct {
		service, subject string
		allowed          bool
	}{
		{"consumer", "freshet.shop.invalidated.x", false},
		{"consumer", "$KV.freshet-shop.watermark", false},
		{"invalidator", "freshet.shop.invalidated.x", true},
		{"invalidator", "freshet.shop.changes.public.orders", false},
		{"warmer", "freshet.shop.changes.public.orders", false},
		{"warmer", "freshet.shop.invalidated.x", false},
		{"operator", "freshet.shop.changes.public.orders", false},
		{"operator", "$JS.API.STREAM.DELETE.freshet-shop", false},
		{"check", "$JS.API.STREAM.PURGE.freshet-shop", false},
	} {
		conn, err := nats.Connect(s.value(tc.service, "NATS_URL"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := errors.Join(conn.Publish(tc.subject, nil), conn.Flush()); err != nil {
			s.t.Fatal(err)
		}
		if err := conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) == tc.allowed {
			s.t.Errorf("%s publishes to %s: got %v, allowed %v", tc.service, tc.subject, err, tc.allowed)
		}
		conn.Close()
	}
	_, address, _ := strings.Cut(s.value("consumer", "NATS_URL"), "@")
	if _, err := nats.Connect("nats://" + address); !errors.Is(err, nats.ErrAuthorization) {
		s.t.Errorf("without a user: got %v", err)
	}
}
