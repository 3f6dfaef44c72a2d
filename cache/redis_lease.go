package cache

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"slices"
	"strconv"
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
	//go:embed capture.lua
	captureSource string
	//go:embed increment.lua
	incrementSource string
	//go:embed touch.lua
	touchSource string
)

// storeScripts are the scripts of a store in Redis.
type storeScripts struct {
	miss, fill, absent, release, set, capture, increment, touch *redis.Script
}

func newStoreScripts() storeScripts {
	return storeScripts{
		miss:      redis.NewScript(missSource),
		fill:      redis.NewScript(fillSource),
		absent:    redis.NewScript(absentSource),
		release:   redis.NewScript(releaseSource),
		set:       redis.NewScript(setSource),
		capture:   redis.NewScript(captureSource),
		increment: redis.NewScript(incrementSource),
		touch:     redis.NewScript(touchSource),
	}
}

// scriptCall is a script with its keys and arguments.
type scriptCall struct {
	script *redis.Script
	keys   []string
	args   []any
	once   bool // see the type of that name
}

// once is a command that the client must not send again by itself. When a client
// has waited in vain it repeats a command on another connection, and what it sent
// first may reach Redis after that, even after an invalidation. A lease or a
// generation that its owner still goes by would so come back to life. Whoever
// repeats such a command chooses a new name for what it creates.
type once struct{ *redis.Cmd }

// NoRetry tells the client.
func (once) NoRetry() bool { return true }

// evalSha returns the command that runs the script by its hash.
func (c scriptCall) evalSha(ctx context.Context) once {
	args := append(make([]any, 0, 3+len(c.keys)+len(c.args)), "evalsha", c.script.Hash(), len(c.keys))
	for _, key := range c.keys {
		args = append(args, key)
	}
	return once{redis.NewCmd(ctx, append(args, c.args...)...)}
}

// runOnce runs a script that the client must not send again.
func (s *redisStore) runOnce(ctx context.Context, c scriptCall) *redis.Cmd {
	cmd := c.evalSha(ctx)
	_ = s.rdb.Process(ctx, cmd) // the command has the error too
	if isNoScript(cmd.Err()) && c.script.Load(ctx, s.rdb).Err() == nil {
		cmd = c.evalSha(ctx)
		_ = s.rdb.Process(ctx, cmd)
	}
	return cmd.Cmd
}

// runScripts runs scripts in as few round trips as their number permits, each in
// its order where they go to one server. Every command of the result has a
// reply or an error.
func (s *redisStore) runScripts(ctx context.Context, calls []scriptCall) []*redis.Cmd {
	if len(calls) == 1 {
		c := calls[0]
		if c.once {
			return []*redis.Cmd{s.runOnce(ctx, c)}
		}
		return []*redis.Cmd{c.script.Run(ctx, s.rdb, c.keys, c.args...)}
	}
	cmds := make([]*redis.Cmd, 0, len(calls))
	for part := range slices.Chunk(calls, batchSize) {
		cmds = append(cmds, s.pipeScripts(ctx, part)...)
	}
	return cmds
}

func (s *redisStore) pipeScripts(ctx context.Context, calls []scriptCall) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(calls))
	for range 2 {
		pipe := s.rdb.Pipeline()
		for i, c := range calls {
			if !c.once {
				cmds[i] = c.script.EvalSha(ctx, pipe, c.keys, c.args...)
				continue
			}
			cmd := c.evalSha(ctx)
			_ = pipe.Process(ctx, cmd) // queued
			cmds[i] = cmd.Cmd
		}
		_, _ = pipe.Exec(ctx) // each reply is looked at
		unknown, lost := map[*redis.Script]bool{}, false
		for i, cmd := range cmds {
			if isNoScript(cmd.Err()) {
				unknown[calls[i].script] = true
			} else if err := cmd.Err(); err != nil && !isServerReply(err) {
				lost = true
			}
		}
		if len(unknown) == 0 || lost {
			break
		}
		// Those that were answered may run again: every script here may.
		for script := range unknown {
			if err := script.Load(ctx, s.rdb).Err(); err != nil {
				return cmds
			}
		}
	}
	return cmds
}

func (s *redisStore) miss(ctx context.Context, queries []missQuery) ([]missed, error) {
	var calls []scriptCall
	for _, q := range queries {
		calls = append(calls, scriptCall{
			s.scripts.miss,
			[]string{q.key, LeaseKey(q.key)},
			[]any{q.token, q.lease.Milliseconds(), q.useless, flagOf(q.keep), q.former},
			true,
		})
		calls = s.captureCalls(calls, q.names, q.namesTTL)
	}
	cmds := s.runScripts(ctx, calls)
	all := make([]missed, len(queries))
	for i, q := range queries {
		reply, err := cmds[0].Slice()
		if err != nil {
			return nil, err
		}
		code, _ := reply[0].(int64)
		m := missed{outcome: outcome(code)}
		if m.outcome == outcomePresent {
			value, _ := reply[1].(string)
			m.value = []byte(value)
		}
		if m.gens, err = texts(cmds[1 : 1+len(q.names)]); err != nil {
			return nil, err
		}
		all[i] = m
		cmds = cmds[1+len(q.names):]
	}
	return all, nil
}

func flagOf(set bool) string {
	if set {
		return "1"
	}
	return ""
}

// captureCalls appends what captures the generations of tags.
func (s *redisStore) captureCalls(calls []scriptCall, names []string, ttl time.Duration) []scriptCall {
	for _, name := range names {
		calls = append(calls, scriptCall{s.scripts.capture, []string{tagPrefix + name}, []any{newGeneration(), ttl.Milliseconds()}, true})
	}
	return calls
}

func (s *redisStore) capture(ctx context.Context, names []string, ttl time.Duration) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	return texts(s.runScripts(ctx, s.captureCalls(nil, names, ttl)))
}

func texts(cmds []*redis.Cmd) ([]string, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	all := make([]string, len(cmds))
	for i, cmd := range cmds {
		var err error
		if all[i], err = cmd.Text(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (s *redisStore) claim(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	cmd := once{redis.NewCmd(ctx, "set", LeaseKey(key), token, "px", max(ttl.Milliseconds(), 1), "nx")}
	err := s.rdb.Process(ctx, cmd)
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

func (s *redisStore) seize(ctx context.Context, key, token string, ttl time.Duration) error {
	return s.rdb.Process(ctx, once{redis.NewCmd(ctx, "set", LeaseKey(key), token, "px", max(ttl.Milliseconds(), 1))})
}

func (s *redisStore) extend(ctx context.Context, keys []string, token string, ttl time.Duration) ([]bool, error) {
	cmds := s.runScripts(ctx, s.releaseCalls(keys, token, max(ttl.Milliseconds(), 1)))
	mine := make([]bool, len(cmds))
	for i, cmd := range cmds {
		var err error
		if mine[i], err = cmd.Bool(); err != nil {
			return nil, err
		}
	}
	return mine, nil
}

func (s *redisStore) release(ctx context.Context, keys []string, token string) error {
	for _, cmd := range s.runScripts(ctx, s.releaseCalls(keys, token, 0)) {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (s *redisStore) releaseCalls(keys []string, token string, ms int64) []scriptCall {
	calls := make([]scriptCall, len(keys))
	for i, key := range keys {
		calls[i] = scriptCall{s.scripts.release, []string{LeaseKey(key)}, []any{token, ms}, false}
	}
	return calls
}

func (s *redisStore) fill(ctx context.Context, token string, entries []entry) []filled {
	calls := make([]scriptCall, len(entries))
	for i, e := range entries {
		calls[i] = scriptCall{s.scripts.fill, []string{e.key, LeaseKey(e.key)}, []any{token, e.value, e.ttl.Milliseconds()}, false}
	}
	return fills(s.runScripts(ctx, calls))
}

func (s *redisStore) absent(ctx context.Context, keys []string, token string, ttl time.Duration) []filled {
	calls := make([]scriptCall, len(keys))
	for i, key := range keys {
		calls[i] = scriptCall{s.scripts.absent, []string{key, LeaseKey(key)}, []any{token, ttl.Milliseconds()}, false}
	}
	return fills(s.runScripts(ctx, calls))
}

func fills(cmds []*redis.Cmd) []filled {
	all := make([]filled, len(cmds))
	for i, cmd := range cmds {
		all[i].stored, all[i].err = cmd.Bool()
	}
	return all
}

func (s *redisStore) set(ctx context.Context, entries []entry) []error {
	calls := make([]scriptCall, len(entries))
	for i, e := range entries {
		calls[i] = scriptCall{s.scripts.set, []string{e.key, LeaseKey(e.key)}, []any{e.value, e.ttl.Milliseconds()}, false}
	}
	errs := make([]error, len(entries))
	for i, cmd := range s.runScripts(ctx, calls) {
		errs[i] = cmd.Err()
	}
	return errs
}

func (s *redisStore) increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	return s.scripts.increment.Run(ctx, s.rdb, []string{key, LeaseKey(key)}, strconv.FormatInt(delta, 10), ttl.Milliseconds()).Int64()
}
