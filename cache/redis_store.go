package cache

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed miss.lua
	missSource string
	//go:embed fill.lua
	fillSource string
	//go:embed absent.lua
	absentSource string
	//go:embed release.lua
	releaseSource string
	//go:embed set.lua
	setSource string
)

// redisStore keeps entries in Redis.
type redisStore struct {
	rdb   redis.UniversalClient
	nodes *nodes                   // nil for a client whose masters cannot be addressed
	owned bool                     // close rdb too
	topo  atomic.Pointer[topology] // for reads with a bound; nil: to be found

	missScript, fillScript, absentScript, releaseScript, setScript *redis.Script
}

var _ store = (*redisStore)(nil)

func newRedisStore(rdb redis.UniversalClient, owned bool) *redisStore {
	s := &redisStore{
		rdb: rdb, owned: owned,
		missScript:    redis.NewScript(missSource),
		fillScript:    redis.NewScript(fillSource),
		absentScript:  redis.NewScript(absentSource),
		releaseScript: redis.NewScript(releaseSource),
		setScript:     redis.NewScript(setSource),
	}
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
		value, err := cmd.Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		if err != nil {
			value = nil
		}
		values = append(values, value)
	}
	return values, nil
}

func (s *redisStore) miss(ctx context.Context, key, token string, ttl time.Duration) (missed, error) {
	reply, err := s.missScript.Run(ctx, s.rdb, []string{key, LeaseKey(key)}, token, ttl.Milliseconds()).Slice()
	if err != nil {
		return missed{}, err
	}
	code, _ := reply[0].(int64)
	m := missed{outcome: outcome(code)}
	if m.outcome == outcomePresent {
		value, _ := reply[1].(string)
		m.value = []byte(value)
	}
	return m, nil
}

func (s *redisStore) refresh(ctx context.Context, key, token string, ttl time.Duration) error {
	return s.rdb.Set(ctx, LeaseKey(key), token, ttl).Err()
}

func (s *redisStore) extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return s.releaseScript.Run(ctx, s.rdb, []string{LeaseKey(key)}, token, max(ttl.Milliseconds(), 1)).Bool()
}

func (s *redisStore) fill(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	return s.fillScript.Run(ctx, s.rdb, []string{key, LeaseKey(key)}, token, value, ttl.Milliseconds()).Bool()
}

func (s *redisStore) absent(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return s.absentScript.Run(ctx, s.rdb, []string{key, LeaseKey(key)}, token, ttl.Milliseconds()).Bool()
}

func (s *redisStore) release(ctx context.Context, key, token string) error {
	return s.releaseScript.Run(ctx, s.rdb, []string{LeaseKey(key)}, token, 0).Err()
}

func (s *redisStore) set(ctx context.Context, entries []entry) []error {
	if len(entries) == 1 {
		e := entries[0]
		if err := s.setScript.Run(ctx, s.rdb, []string{e.key, LeaseKey(e.key)}, e.value, e.ttl.Milliseconds()).Err(); err != nil {
			return []error{err}
		}
		return nil
	}
	errs := make([]error, 0, len(entries))
	for part := range slices.Chunk(entries, batchSize) {
		errs = append(errs, s.setSome(ctx, part)...)
	}
	return errs
}

func (s *redisStore) setSome(ctx context.Context, entries []entry) []error {
	errs := make([]error, len(entries))
	for range 2 {
		pipe := s.rdb.Pipeline()
		cmds := make([]*redis.Cmd, len(entries))
		for i, e := range entries {
			cmds[i] = s.setScript.EvalSha(ctx, pipe, []string{e.key, LeaseKey(e.key)}, e.value, e.ttl.Milliseconds())
		}
		_, err := pipe.Exec(ctx)
		if err == nil {
			return nil
		}
		unknown := false
		for i, cmd := range cmds {
			errs[i] = cmd.Err()
			unknown = unknown || isNoScript(cmd.Err())
		}
		if !unknown {
			break
		}
		if err := s.setScript.Load(ctx, s.rdb).Err(); err != nil {
			break
		}
	}
	return errs
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

func (s *redisStore) exists(ctx context.Context, key string) (bool, error) {
	n, err := s.rdb.Exists(ctx, key).Result()
	return n > 0, err
}

func (s *redisStore) ttl(ctx context.Context, key string) (time.Duration, error) {
	ttl, err := s.rdb.PTTL(ctx, key).Result()
	switch {
	case err != nil:
		return 0, err
	case ttl == -2:
		return -1, nil
	case ttl == -1:
		return 0, nil // stored by another client without a limit
	default:
		return ttl, nil
	}
}

func (s *redisStore) touch(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	return s.rdb.PExpire(ctx, key, ttl).Result()
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
