package cache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisStore keeps entries in Redis.
type redisStore struct {
	rdb     redis.UniversalClient
	nodes   *nodes                   // nil for a client whose masters cannot be addressed
	owned   bool                     // close rdb too
	topo    atomic.Pointer[topology] // for reads with a bound; nil: to be found
	scripts storeScripts
}

var _ store = (*redisStore)(nil)

func newRedisStore(rdb redis.UniversalClient, owned bool) *redisStore {
	s := &redisStore{rdb: rdb, owned: owned, scripts: newStoreScripts()}
	if n, err := newNodes(rdb); err == nil {
		s.nodes = n
	}
	return s
}

func (s *redisStore) clustered() bool {
	_, single := s.rdb.(*redis.Client)
	return !single
}

func (s *redisStore) get(ctx context.Context, key string) ([]byte, bool, error) {
	value, err := s.rdb.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return value, err == nil, err
}

// batchSize is how many commands go into one pipeline: few enough to be
// answered well within a time-out.
const batchSize = 500

func (s *redisStore) getMany(ctx context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, 0, len(keys))
	for part := range slices.Chunk(keys, batchSize) {
		var err error
		if values, err = s.getSome(ctx, part, values); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// getSome appends the values of some keys.
func (s *redisStore) getSome(ctx context.Context, keys []string, values [][]byte) ([][]byte, error) {
	if !s.clustered() {
		all, err := s.rdb.MGet(ctx, keys...).Result()
		for _, value := range all {
			if text, ok := value.(string); ok {
				values = append(values, []byte(text))
			} else {
				values = append(values, nil)
			}
		}
		return values, err
	}
	cmds := make([]*redis.StringCmd, len(keys))
	pipe := s.rdb.Pipeline()
	for i, key := range keys {
		cmds[i] = pipe.Get(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil && !isServerReply(err) {
		return nil, err
	}
	for _, cmd := range cmds {
		value, err := cmd.Result()
		switch {
		case errors.Is(err, redis.Nil):
			values = append(values, nil)
		case err != nil:
			return nil, err
		default:
			values = append(values, []byte(value)) // never nil, be it empty
		}
	}
	return values, nil
}

func (s *redisStore) remove(ctx context.Context, keys []string) (int, error) {
	removed := 0
	for part := range slices.Chunk(keys, batchSize/2) {
		n, err := s.removeSome(ctx, part)
		if err != nil {
			return removed, err
		}
		removed += n
	}
	return removed, nil
}

// removeSome removes the leases and then the values. A client of a Cluster
// repeats single commands of a pipeline where slots move, out of order, so
// there the second half is sent when the first is answered.
func (s *redisStore) removeSome(ctx context.Context, keys []string) (int, error) {
	pipe := s.rdb.Pipeline()
	for _, key := range keys {
		pipe.Unlink(ctx, LeaseKey(key))
	}
	if s.clustered() {
		if _, err := pipe.Exec(ctx); err != nil {
			return 0, err
		}
		pipe = s.rdb.Pipeline()
	}
	values := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		values[i] = pipe.Unlink(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	removed := 0
	for _, cmd := range values {
		removed += int(cmd.Val())
	}
	return removed, nil
}

func (s *redisStore) dropTags(ctx context.Context, names []string) error {
	for part := range slices.Chunk(names, batchSize) {
		pipe := s.rdb.Pipeline()
		for _, name := range part {
			pipe.Unlink(ctx, tagPrefix+name)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *redisStore) ttl(ctx context.Context, key string) (time.Duration, error) {
	pipe := s.rdb.Pipeline()
	head, left := pipe.GetRange(ctx, key, 0, graceEnd), pipe.PTTL(ctx, key)
	_, _ = pipe.Exec(ctx) // each reply is looked at
	if err := head.Err(); err != nil && !isServerReply(err) {
		return 0, err // another kind of value has no header
	}
	ttl, err := left.Result()
	if err != nil {
		return 0, err
	}
	return withoutGrace(timeLeft(ttl), []byte(head.Val())), nil
}

// timeLeft turns a reply to PTTL into the time left: negative where there is no
// value, 0 where another client stored it without a limit.
func timeLeft(reply time.Duration) time.Duration {
	switch reply {
	case -2:
		return -1
	case -1:
		return 0
	default:
		return max(reply, 1) // 0 ms left is not "without a limit"
	}
}

func (s *redisStore) touch(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	return s.scripts.touch.Run(ctx, s.rdb, []string{key}, max(ttl.Milliseconds(), 1)).Bool()
}

var errNoMasters = errors.New("cache: this kind of client has no masters that can be scanned")

func (s *redisStore) sweep(ctx context.Context, patterns []string) (Swept, error) {
	if s.nodes == nil {
		return Swept{}, errNoMasters
	}
	sweeper := &sweeper{nodes: s.nodes, globs: newGlobs(patterns), share: 1, count: scanCount}
	return sweeper.run(ctx)
}

func (s *redisStore) keys(ctx context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if s.nodes == nil {
			yield("", errNoMasters)
			return
		}
		topo, err := s.nodes.discover(ctx)
		if err != nil {
			yield("", err)
			return
		}
		for _, m := range topo.masters {
			if !scanKeys(ctx, m, pattern, yield) {
				return
			}
		}
	}
}

func scanKeys(ctx context.Context, m *master, pattern string, yield func(string, error) bool) bool {
	for cursor := uint64(0); ; {
		page, next, err := m.client.Scan(ctx, cursor, pattern, scanCount).Result()
		if err != nil {
			yield("", fmt.Errorf("scan %s: %w", m.addr, err))
			return false
		}
		for _, key := range page {
			if !strings.HasPrefix(key, reserved) && !yield(key, nil) {
				return false
			}
		}
		if cursor = next; cursor == 0 {
			return true
		}
	}
}

func (s *redisStore) ping(ctx context.Context) error { return s.rdb.Ping(ctx).Err() }

func (s *redisStore) close() error {
	var err error
	if s.nodes != nil {
		err = s.nodes.close()
	}
	if s.owned {
		err = errors.Join(err, s.rdb.Close())
	}
	return err
}
