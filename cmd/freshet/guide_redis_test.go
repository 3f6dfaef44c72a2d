package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const hostedRedis = "../../docs/hosted-redis.md"

// section is the text of a page under a heading.
func section(t *testing.T, path, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(readFile(t, path), "## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", path, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// firstColumn is what stands between backticks in the first column of a text's tables.
func firstColumn(text string) (all []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cell, _, _ := strings.Cut(line[1:], "|")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
	}
	return all
}

// connects reports what `freshet check` says of the connection to a cache.
func connects(t *testing.T, cacheURL string) string {
	t.Helper()
	config := writeConfig(t, fmt.Sprintf(`
name: shop
postgres: {url: "postgres://nobody@%[1]s/none"}
nats: {url: "nats://%[1]s"}
cache: {url: %[2]q}
rules: [{table: orders, invalidate: ["order:{id}"]}]
`, nowhere, cacheURL))
	out, errOut, _ := checkCommand(t, "-c", config)
	return regexp.MustCompile(`(?m)^.* cache +connection.*$(\n +→.*$)?|\z`).FindString(out) + errOut
}

// stores puts a value into the cache, as services do, and reads it.
func stores(t *testing.T, cacheURL string) error {
	t.Helper()
	c, err := cache.Open(t.Context(), cacheURL, cache.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := cache.Set(t.Context(), c, "k", "v", time.Minute); err != nil {
		return err
	}
	_, err = cache.Get[string](t.Context(), c, "k")
	return err
}

// The URLs and parameters that hosted-redis.md has, in `freshet check` and the library.
func TestGuideRedisURLs(t *testing.T) {
	t.Parallel()
	certificate, key := servertest.SelfSigned(t)
	folder := t.TempDir()
	for name, pem := range map[string][]byte{"ca.pem": certificate, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(folder, name), pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca, tls := filepath.Join(folder, "ca.pem"), servertest.FreeAddr(t)
	_, port, _ := strings.Cut(tls, ":")
	socket := filepath.Join(folder, "redis.sock")
	server := servertest.Redis(t, servers.RedisOptions{Args: []string{
		"--unixsocket", socket, "--tls-port", port, "--tls-cert-file", ca, "--tls-key-file", filepath.Join(folder, "key.pem"), "--tls-auth-clients", "no",
	}})
	rdb := server.Client()
	defer rdb.Close()

	accepted := map[string]string{
		"rediss and ca_file": "rediss://" + tls + "/0?" + url.Values{"ca_file": {ca}}.Encode(),
		"skip_verify":        "rediss://" + tls + "/0?skip_verify=true",
		"unix":               "unix://" + socket + "?db=0",
	}
	values := map[string]string{"pool_size": "3", "min_idle_conns": "1", "max_retries": "2", "client_name": "guided", "protocol": "2"} // others take a time
	all := url.Values{}
	for _, name := range firstColumn(section(t, hostedRedis, "Time-outs and pools")) {
		value := values[name]
		if value == "" {
			value = "2s"
		}
		all.Set(name, value)
		accepted[name] = fmt.Sprintf("redis://%s/0?%s=%s", server.Addr(), name, value)
	}
	if len(all) < 9 {
		t.Fatalf("the page has the parameters %v only", all)
	}
	accepted["all at once"] = fmt.Sprintf("redis://%s/0?%s", server.Addr(), all.Encode())
	for name, u := range accepted {
		if err := stores(t, u); err != nil {
			t.Errorf("%s: the library: %v", name, err)
		}
	}
	for _, name := range []string{"rediss and ca_file", "unix", "all at once"} {
		if line := connects(t, accepted[name]); !strings.HasPrefix(line, "ok ") {
			t.Errorf("%s: %s", name, line)
		}
	}
	for u, remedy := range map[string]string{ // what is wrong with TLS most often
		"redis://" + tls:             "begin it with rediss://",
		"rediss://" + tls:            "?ca_file=",
		"rediss://" + server.Addr():  "begin it with redis://",
		"redis://" + server.Addr():   "ok ",
		"redis://u:p@" + tls + "/99": "begin it with rediss://",
	} {
		if line := connects(t, u); !strings.Contains(line, remedy) {
			t.Errorf("%s: %s, want %q", u, line, remedy)
		}
	}
	named, err := cache.Open(t.Context(), accepted["client_name"], cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	if err := named.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if clients := rdb.ClientList(t.Context()).Val(); !strings.Contains(clients, "name=guided") {
		t.Errorf("nobody is called guided:\n%s", clients)
	}

	sentence := regexp.MustCompile("(?m)^(`[^.]+) are refused, for one server as for many").FindStringSubmatch(section(t, hostedRedis, "URLs"))
	if sentence == nil {
		t.Fatal("the page does not say what is refused")
	}
	refused := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(sentence[1], -1)
	if len(refused) != 4 {
		t.Errorf("the page refuses %v", refused)
	}
	for _, m := range refused {
		for _, form := range []string{"redis://%s/0?%s=true", "redis://%[1]s/0?addr=%[1]s&%[2]s=true", "redis://%s/0?master_name=main&%s=true"} {
			u := fmt.Sprintf(form, server.Addr(), m[1])
			if err := stores(t, u); err == nil || !strings.Contains(err.Error(), m[1]) {
				t.Errorf("%s: got %v, want a refusal", u, err)
			}
		}
	}
	if line := connects(t, fmt.Sprintf("redis://%[1]s?addr=%[1]s&read_only=true", server.Addr())); !strings.Contains(line, "replicas may lack an invalidation") {
		t.Errorf("check: %s", line)
	}
}

// Any policy is correct: a small Redis evicts, and nothing that is cached is stale.
// One that is full still deletes, and a read with a bound goes to the database.
func TestGuideEviction(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	s.settle(p)
	rdb := s.redis.Client()
	defer rdb.Close()
	set := func(key, value string) {
		t.Helper()
		if err := rdb.ConfigSet(t.Context(), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	policies := append(firstColumn(section(t, hostedRedis, "maxmemory and eviction")), "allkeys-random")
	if len(policies) < 7 {
		t.Fatalf("the page has %v only", policies)
	}
	stop := s.traffic()
	for _, policy := range policies {
		set("maxmemory-policy", policy)
		set("maxmemory", strconv.Itoa(number(t, rdb, "memory", "used_memory")+1<<20))
		before, full := number(t, rdb, "stats", "evicted_keys"), false
		servertest.Eventually(t, patience, func() (bool, string) {
			_, err := rdb.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
				for i := range 500 {
					pipe.Set(t.Context(), fmt.Sprintf("filler:%s:%d:%d", policy, time.Now().UnixNano(), i), strings.Repeat("x", 200), time.Minute)
				}
				return nil
			})
			full = full || err != nil
			evicted := number(t, rdb, "stats", "evicted_keys") - before
			return full == (policy == "noeviction") && (full || evicted > 1000), fmt.Sprintf("%s: %d evicted, %v", policy, evicted, err)
		})
		s.awaitCommits(50)
		s.audit(p)
		set("maxmemory", "0")
	}
	stop()
	s.settle(p)

	c, err := cache.Open(t.Context(), s.redis.URL(), cache.Config{Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.plant("order:1", "order:2", "order:3")
	set("maxmemory-policy", "noeviction")
	set("maxmemory", "1mb") // less than the server takes by itself
	if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1 where id = 1`); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		st, err := p.status()
		return err == nil && st.Invalidator.State == "redis_full" && !s.has("order:1"), fmt.Sprintf("%+v %v, order:1 is cached: %v", st.Invalidator, err, s.has("order:1"))
	})
	token, err := cache.TokenFrom(t.Context(), s.db)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"order:2": "planted", "order:3": "loaded"} {
		var bound []cache.CallOption
		if want == "loaded" {
			bound = append(bound, cache.AtLeast(token))
		}
		got, err := cache.GetOrSet(t.Context(), c, name, time.Hour, func(context.Context) (string, error) { return "loaded", nil }, bound...)
		if err != nil || got != want {
			t.Errorf("%s with %d bounds: got %q, %v, want %q", name, len(bound), got, err, want)
		}
	}
	set("maxmemory", "0")
	if err := rdb.Del(t.Context(), "order:2", "order:3").Err(); err != nil { // nobody's values
		t.Fatal(err)
	}
	s.audit(p)
}

// number is one of Redis' own figures.
func number(t *testing.T, rdb *redis.Client, part, name string) int {
	t.Helper()
	info, err := rdb.Info(t.Context(), part).Result()
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(info, name+":")
	text, _, _ = strings.Cut(text, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v in %s", name, err, info)
	}
	return n
}
