package cache

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// limits are the time-outs of a connection where the URL sets none.
type limits struct {
	dial, io time.Duration
	pool     time.Duration // for a free connection; 0: as go-redis has it
	backoff  time.Duration // the longest; 0: as go-redis has it
	retries  int           // MaxRetries
}

// openTimeout is how long the calls of Open's client wait, each for one thing.
const openTimeout = 500 * time.Millisecond

// Dial makes a client as Open does: of a Cluster where the URL names several
// addresses, of a Sentinel group where it names a master, else of one server. It
// waits no longer than timeout to connect, to read, to write and for a free
// connection, where the URL's parameters do not say otherwise, and repeats a
// command once (on a Cluster as often as max_redirects says). It heeds contexts' deadlines. Dial does not connect.
func Dial(rawURL string, timeout time.Duration) (redis.UniversalClient, error) {
	return dial(rawURL, limits{dial: timeout, io: timeout, pool: timeout, backoff: timeout / 4, retries: 1})
}

// isMemory reports whether a URL asks for a store in this process.
func isMemory(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "memory"
}

var errReplicas = errors.New("parse cache URL: replicas may lack an invalidation; " +
	"leave out read_only, replica_only, route_by_latency and route_randomly")

func readsReplicas(o *redis.ClusterOptions) bool {
	return o.ReadOnly || o.RouteByLatency || o.RouteRandomly
}

// dial is Dial with limits.
func dial(raw string, l limits) (redis.UniversalClient, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
	}
	if strings.Contains(u.Host, ",") {
		return nil, errors.New("parse cache URL: the host has a comma: write further addresses as parameters, ?addr=host:port")
	}
	query := u.Query()
	secure, raw, err := tlsFiles(u)
	if err != nil {
		return nil, fmt.Errorf("parse cache URL: %w", err)
	}
	switch {
	case query.Get("master_name") != "":
		opts, err := redis.ParseFailoverURL(raw)
		if err != nil {
			return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
		}
		if opts.ReplicaOnly || opts.RouteByLatency || opts.RouteRandomly {
			return nil, errReplicas
		}
		secure.apply(opts.TLSConfig)
		opts.DialTimeout, opts.ReadTimeout = or(opts.DialTimeout, l.dial), or(opts.ReadTimeout, l.io)
		opts.WriteTimeout, opts.MaxRetries = or(opts.WriteTimeout, l.io), or(opts.MaxRetries, l.retries)
		opts.PoolTimeout, opts.MaxRetryBackoff = or(opts.PoolTimeout, l.pool), or(opts.MaxRetryBackoff, l.backoff)
		opts.DialerRetries, opts.ContextTimeoutEnabled = or(opts.DialerRetries, 1), true
		return redis.NewFailoverClient(opts), nil
	case query.Has("addr"):
		opts, err := redis.ParseClusterURL(raw)
		if err != nil {
			return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
		}
		if readsReplicas(opts) {
			return nil, errReplicas
		}
		secure.apply(opts.TLSConfig)
		opts.DialTimeout, opts.ReadTimeout = or(opts.DialTimeout, l.dial), or(opts.ReadTimeout, l.io)
		opts.WriteTimeout, opts.PoolTimeout = or(opts.WriteTimeout, l.io), or(opts.PoolTimeout, l.pool)
		opts.MaxRetryBackoff = or(opts.MaxRetryBackoff, l.backoff)
		opts.DialerRetries, opts.ContextTimeoutEnabled = or(opts.DialerRetries, 1), true
		opts.MaintNotificationsConfig = noMaintenance()
		return redis.NewClusterClient(opts), nil
	default:
		opts, err := redis.ParseURL(raw)
		if err != nil {
			return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
		}
		secure.apply(opts.TLSConfig)
		opts.DialTimeout, opts.ReadTimeout = or(opts.DialTimeout, l.dial), or(opts.ReadTimeout, l.io)
		opts.WriteTimeout, opts.MaxRetries = or(opts.WriteTimeout, l.io), or(opts.MaxRetries, l.retries)
		opts.PoolTimeout, opts.MaxRetryBackoff = or(opts.PoolTimeout, l.pool), or(opts.MaxRetryBackoff, l.backoff)
		opts.DialerRetries, opts.ContextTimeoutEnabled = or(opts.DialerRetries, 1), true
		opts.MaintNotificationsConfig = noMaintenance()
		return redis.NewClient(opts), nil
	}
}

// noMaintenance switches a handshake off that only Redis' own cloud answers.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// withoutURL drops the URL from an error of package net/url: it may hold a
// password.
func withoutURL(err error) error {
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
