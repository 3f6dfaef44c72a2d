package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cache reads and fills a store that Freshet, or whoever calls Delete, keeps
// fresh. It is safe for concurrent use.
type Cache struct {
	cfg      Config
	store    store
	loads    chan struct{} // one slot for every loader that runs
	counters prefixCounters
	packer   compressor
	deaf     func() // ends what the near layer tells

	base    context.Context //nolint:containedctx // the cache's own: it ends when the cache is closed
	stop    context.CancelCauseFunc
	closed  atomic.Bool
	flights flights
	bounded boundedFlights
	recent  recent
	blind   atomic.Bool // reads with a bound have found no position; it was logged
	once    sync.Once
	done    error
}

// Open opens the cache at a URL: redis://, rediss:// or unix:// as go-redis
// parses them. Several addr= parameters make it a Redis Cluster, master_name=
// a Sentinel group. With rediss:// the parameters ca_file, cert_file and key_file
// name PEM files: the authorities to trust instead of the system's, and the
// client's certificate. With memory:// the entries are kept in this process, which
// is for development and tests: what others change in the database is not removed
// from there. An empty URL does that too and logs a warning. Open does not connect,
// and returns an error only for a URL that cannot be used; see Ping.
func Open(_ context.Context, url string, cfg Config) (*Cache, error) {
	cfg.setDefaults()
	switch {
	case url == "" && cfg.Source != "":
		cfg.Logger.Warn("no cache URL: entries are kept in this process only, where Freshet cannot remove them", "source", cfg.Source)
	case url == "":
		cfg.Logger.Warn("no cache URL: entries are kept in this process only")
	}
	if url == "" || isMemory(url) {
		return newCache(newMemoryStore(cfg.MemoryEntries), cfg), nil
	}
	rdb, err := Dial(url, openTimeout)
	if err != nil {
		return nil, err
	}
	return newCache(guard(newRedisStore(rdb, true), newBreaker(cfg.Logger)), cfg), nil
}

// New returns a cache over rdb. Close leaves rdb open. A client that reads from
// replicas (ReadOnly, RouteByLatency, RouteRandomly) must not be used: they may
// lack an invalidation that has been applied. A warning is logged for such a one.
func New(rdb redis.UniversalClient, cfg Config) *Cache {
	cfg.setDefaults()
	if cluster, ok := rdb.(*redis.ClusterClient); ok && readsReplicas(cluster.Options()) {
		cfg.Logger.Warn("the client reads from replicas, which may lack an invalidation: what it reads may be stale")
	}
	return newCache(guard(newRedisStore(rdb, false), newBreaker(cfg.Logger)), cfg)
}

func newCache(s store, cfg Config) *Cache {
	c := &Cache{cfg: cfg, store: s, loads: make(chan struct{}, cfg.MaxLoads)}
	c.base, c.stop = context.WithCancelCause(context.Background())
	c.flights.init()
	c.recent.init()
	if cfg.Near != nil {
		c.deaf = cfg.Near.Listen(c.heard)
	}
	return c
}

// Close ends the contexts of loads that are under way, waits for their loaders to
// return, and closes what Open opened. Callers that wait for a load, and all calls
// from then on, get ErrClosed. Close may be called again.
func (c *Cache) Close() error {
	c.once.Do(func() {
		c.closed.Store(true)
		if c.deaf != nil {
			c.deaf()
		}
		c.stop(ErrClosed)
		c.flights.wait()
		c.done = c.store.close()
	})
	return c.done
}

// key checks a key and puts the prefix before it.
func (c *Cache) key(key string) (string, error) {
	if c.closed.Load() {
		return "", ErrClosed
	}
	full := c.cfg.Prefix + key
	if key == "" {
		return "", fmt.Errorf("%w: it is empty", ErrKey)
	}
	if strings.HasPrefix(full, reserved) {
		return "", fmt.Errorf("%w: %q is reserved", ErrKey, reserved)
	}
	return full, nil
}

func (c *Cache) keys(keys []string) ([]string, error) {
	full := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if full[i], err = c.key(key); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
	}
	return full, nil
}

func checkTTL(ttl time.Duration) error {
	if ttl < time.Millisecond {
		return fmt.Errorf("%w: got %v", ErrTTL, ttl)
	}
	return nil
}

// failed counts and wraps an error of the store.
func (c *Cache) failed(op, key string, err error) error {
	if err == nil {
		return nil
	}
	c.counters.of(key).errors.Add(1)
	if c.closed.Load() {
		return ErrClosed
	}
	if unavailable(err) {
		return fmt.Errorf("%s %q: %w: %w", op, key, ErrUnavailable, err)
	}
	return fmt.Errorf("%s %q: %w", op, key, err)
}

// failedAll is failed for a call on several keys.
func (c *Cache) failedAll(op string, keys []string, err error) error {
	if err == nil {
		return nil
	}
	return c.failed(op, strings.Join(keys, ", "), err)
}

// bare returns a key without the prefix.
func (c *Cache) bare(full string) string { return full[len(c.cfg.Prefix):] }

// unavailable reports whether an error says that the store does not serve, as
// opposed to one about the call.
func unavailable(err error) bool {
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case !isServerReply(err), redis.IsLoadingError(err), redis.IsClusterDownError(err), redis.IsMasterDownError(err),
		redis.IsReadOnlyError(err), redis.IsTryAgainError(err), redis.IsMaxClientsError(err), redis.IsAuthError(err):
		return true
	default:
		return false
	}
}

// Delete invalidates keys: fills that are under way are voided, then the values
// are removed. A key that is not there is not an error. On an error some may
// not be removed: call it again.
func (c *Cache) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	full, err := c.keys(keys)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	ctx, end := c.observeKeys(ctx, OpDelete, keys)
	_, err = c.store.remove(ctx, full)
	c.changed(Invalidation{Keys: full})
	err = c.failedAll("delete", keys, err)
	end("", err)
	return err
}

// InvalidatePattern invalidates every key that matches one of the Redis globs, all
// in one sweep. It reads the names of all keys in Redis, so it is for rare use; a
// fill that began before it never survives it.
func (c *Cache) InvalidatePattern(ctx context.Context, patterns ...string) (Swept, error) {
	if c.closed.Load() {
		return Swept{}, ErrClosed
	}
	if len(patterns) == 0 {
		return Swept{}, nil
	}
	full := make([]string, len(patterns))
	for i, pattern := range patterns {
		full[i] = EscapePattern(c.cfg.Prefix) + pattern
	}
	ctx, end := c.observeKeys(ctx, OpInvalidatePattern, patterns)
	swept, err := c.store.sweep(ctx, full)
	c.changed(Invalidation{Patterns: full})
	err = c.failedAll("invalidate pattern", patterns, err)
	end("", err)
	return swept, err
}

// Clear invalidates every key and every tag of this cache. It needs a prefix, and
// removes nothing that does not begin with it.
func (c *Cache) Clear(ctx context.Context) (Swept, error) {
	if c.cfg.Prefix == "" {
		return Swept{}, fmt.Errorf("clear: %w", ErrNoPrefix)
	}
	if c.closed.Load() {
		return Swept{}, ErrClosed
	}
	if err := c.invalidateAllTags(ctx); err != nil {
		return Swept{}, c.failed("clear", "*", err)
	}
	return c.InvalidatePattern(ctx, "*")
}

// Exists reports whether there is a value for the key that has not expired. It
// does not ask whether the value's tags have been invalidated.
func (c *Cache) Exists(ctx context.Context, key string) (bool, error) {
	full, err := c.key(key)
	if err != nil {
		return false, err
	}
	left, err := c.store.ttl(ctx, full)
	return err == nil && left >= 0, c.failed("exists", key, err)
}

// TTL returns how long the key's value lasts, and ErrMiss if there is none.
// Zero means that another client stored it without a limit.
func (c *Cache) TTL(ctx context.Context, key string) (time.Duration, error) {
	full, err := c.key(key)
	if err != nil {
		return 0, err
	}
	ttl, err := c.store.ttl(ctx, full)
	if err != nil {
		return 0, c.failed("ttl", key, err)
	}
	if ttl < 0 {
		return 0, ErrMiss
	}
	return ttl, nil
}

// Touch sets how long the key's value lasts from now, and reports whether there
// is one that has not expired. Its fail-safe time counts from then on.
func (c *Cache) Touch(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	if err := checkTTL(ttl); err != nil {
		return false, fmt.Errorf("touch %q: %w", key, err)
	}
	full, err := c.key(key)
	if err != nil {
		return false, err
	}
	ok, err := c.store.touch(ctx, full, ttl)
	return ok, c.failed("touch", key, err)
}

// Keys lists the keys with a value that match a Redis glob, without the prefix.
// It ends with the first error. Keys that are added or removed meanwhile may be
// missed, and a key may come twice.
func (c *Cache) Keys(ctx context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if c.closed.Load() {
			yield("", ErrClosed)
			return
		}
		for key, err := range c.store.keys(ctx, EscapePattern(c.cfg.Prefix)+pattern) {
			if err != nil {
				yield("", c.failed("keys", pattern, err))
				return
			}
			if !yield(key[len(c.cfg.Prefix):], nil) {
				return
			}
		}
	}
}

// Ping asks the store for a sign of life.
func (c *Cache) Ping(ctx context.Context) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if err := c.store.ping(ctx); err != nil {
		return fmt.Errorf("ping: %w: %w", ErrUnavailable, err)
	}
	return nil
}
