package check

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
)

// redisCheck checks the cache: its servers, and how many keys the rules cover.
type redisCheck struct {
	cfg Config
	set *rule.Set
	section
}

func (c *redisCheck) run(ctx context.Context) {
	if strings.HasPrefix(c.cfg.CacheURL, "memory://") {
		c.warn("connection", "memory:// keeps the cache in one process, where no other sees it", "set cache.url to a redis:// URL for anything but a trial")
		return
	}
	rdb, err := openRedis(c.cfg.CacheURL)
	if err != nil {
		c.fail("connection", err.Error(), "mend cache.url")
		return
	}
	defer func() { _ = rdb.Close() }() // nothing is buffered
	if !c.masters(ctx, rdb) {
		return
	}
	c.ok("rights", "the user may run scripts, delete and scan")
	c.encryption()
	c.coverage(ctx, rdb)
}

// openRedis makes a client as the service does, with all that its URL may say. It
// does not connect, and never repeats a command.
func openRedis(raw string) (redis.UniversalClient, error) {
	parsed, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("cache.url: %w", withoutURL(err))
	}
	if query := parsed.Query(); !query.Has("addr") { // a Cluster's client follows redirects by it
		query.Set("max_retries", "-1")
		parsed.RawQuery = query.Encode()
	}
	rdb, err := cache.Dial(parsed.String(), connectTimeout)
	if err != nil {
		return nil, fmt.Errorf("cache.url: %w", err)
	}
	return rdb, nil
}

// withoutURL drops the URL, which may hold a password, from an error of package
// net/url.
func withoutURL(err error) error {
	if where := (*url.Error)(nil); errors.As(err, &where) {
		return where.Err
	}
	return err
}

// masters checks every server that holds keys.
func (c *redisCheck) masters(ctx context.Context, rdb redis.UniversalClient) bool {
	var mu sync.Mutex // guards c's lines and lacking: a cluster is asked in parallel
	lacking := false
	each := func(ctx context.Context, master *redis.Client) error {
		before := time.Now()
		info, err := master.Info(ctx).Result()
		if err != nil {
			return err
		}
		there, err := master.Time(ctx).Result()
		if err != nil {
			return err
		}
		after := time.Now()
		said := fields(info)
		cluster, err := clusterInfo(ctx, master, said)
		if err != nil {
			return err
		}
		missing, err := c.missing(ctx, master)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		c.master(master.Options().Addr, said)
		aboutClock(&c.section, there, before, after)
		_, asCluster := rdb.(*redis.ClusterClient)
		if !c.cluster(master.Options().Addr, cluster, asCluster) {
			return nil // it answers no command with a key
		}
		if len(missing) > 0 {
			c.refuse(master.Options().Addr, missing)
			lacking = true
		}
		return nil
	}
	var err error
	switch client := rdb.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, each)
	case *redis.Client:
		err = each(ctx, client)
	}
	if err == nil {
		return !lacking
	}
	text := oneLine(err)
	switch {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "NOAUTH"), strings.Contains(text, "invalid password"):
		c.fail("connection", text, "mend user and password in cache.url, or give the password by cache.password_file")
	case strings.HasPrefix(text, "NOPERM"):
		c.fail("rights", text, "ACL SETUSER <user> +info +time, and on a Cluster +cluster|info +cluster|nodes +cluster|slots; deploy/redis/users.acl has a user with what Freshet needs")
	default:
		c.fail("connection", text, unreachableRemedy(c.cfg.CacheURL, err))
	}
	return false
}

// unreachableRemedy tells of TLS where it may be what is wrong: a server that is
// spoken to without it hangs up, and one that knows none waits for more.
func unreachableRemedy(cacheURL string, err error) string {
	remedy := "see that the server runs and can be reached from here, or mend cache.url"
	var authority x509.UnknownAuthorityError
	secure := strings.HasPrefix(cacheURL, "rediss:")
	switch {
	case errors.As(err, &authority):
		return "name the authority that signed the server's certificate: ?ca_file=/path/ca.pem in cache.url"
	case !secure && errors.Is(err, io.EOF):
		remedy += "; if the server wants TLS, begin it with rediss://"
	case secure && errors.Is(err, context.DeadlineExceeded):
		remedy += "; if the server has no TLS, begin it with redis://"
	}
	return remedy
}

// fields reads what INFO prints.
func fields(info string) map[string]string {
	out := make(map[string]string)
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[key] = value
		}
	}
	return out
}

func (c *redisCheck) master(address string, info map[string]string) {
	product, version := "Redis", info["redis_version"]
	if v := info["valkey_version"]; v != "" {
		product, version = "Valkey", v
	}
	c.ok("connection", "%s %s at %s", product, version, address)
	if product == "Redis" && before(version, 6, 2) {
		c.fail("version", fmt.Sprintf("Redis %s is older than 6.2", version), "upgrade the server")
	}
	if info["role"] == "slave" {
		c.fail("master", address+" is a replica, which takes no writes", "name the master in cache.url, or use master_name= with Sentinel")
	}
	c.memory(info)
}

// encryption judges by the URL, since a Sentinel's client does not tell where
// it is connected.
func (c *redisCheck) encryption() {
	parsed, err := url.Parse(c.cfg.CacheURL)
	if err != nil || parsed.Scheme == "rediss" {
		c.ok("tls", "the connection is encrypted")
		return
	}
	for _, address := range append([]string{parsed.Host}, parsed.Query()["addr"]...) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		if parsed.Scheme != "unix" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			c.warn("tls", "the connection is not encrypted", "use a rediss:// URL in cache.url")
			return
		}
	}
	c.ok("tls", "not encrypted, on this machine")
}

func (c *redisCheck) memory(info map[string]string) {
	policy, limit, used := info["maxmemory_policy"], info["maxmemory"], info["used_memory_human"]
	const evict = "CONFIG SET maxmemory-policy allkeys-lru, if nothing but caches lives there"
	switch {
	case limit == "0" || limit == "":
		c.warn("maxmemory", fmt.Sprintf("not set, %s used: a cache grows until the machine has no memory left", used), "CONFIG SET maxmemory to what it may take; and "+evict)
		return
	case policy == "noeviction":
		c.warn("eviction", fmt.Sprintf("noeviction at %s: when it is full, nothing more can be cached (deletes go on)", info["maxmemory_human"]), evict)
	default:
		c.ok("eviction", "%s", policy)
	}
	c.ok("maxmemory", "%s of %s used", used, info["maxmemory_human"])
}

// coverage counts the keys that a flush of each rule's targets would delete.
func (c *redisCheck) coverage(ctx context.Context, rdb redis.UniversalClient) {
	applier, err := cache.NewApplier(rdb, c.cfg.Applier)
	if err != nil {
		c.fail("coverage", err.Error(), "")
		return
	}
	defer func() { _ = applier.Close() }() // leaves rdb open
	var patterns, shown []string
	var rules []int
	for _, target := range c.set.CoverageAll() {
		switch target.Kind {
		case rule.KeyTarget:
			patterns = append(patterns, cache.EscapePattern(target.Text))
		case rule.PatternTarget:
			patterns = append(patterns, target.Text)
		case rule.TagTarget, rule.TagPattern:
			continue // costs nothing and deletes nothing
		}
		shown, rules = append(shown, target.Text), append(rules, target.Rule)
	}
	if len(patterns) == 0 {
		return
	}
	counts, err := applier.CountMatches(ctx, patterns)
	if err != nil {
		c.fail("coverage", oneLine(err), "")
		return
	}
	names := c.set.Names()
	for i, count := range counts {
		c.ok("coverage", "%s matches %d keys now (rule %s)", shown[i], count, names[rules[i]])
	}
}
