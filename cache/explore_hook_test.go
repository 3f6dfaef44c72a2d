package cache

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// errLost is what a client is told that does not send again by itself.
var errLost = io.EOF

// The clients of all runs. They never dial: what they are given goes to the run
// that its context is of.
var (
	exploreClient = sharedClient(hook{repeats: true})
	exploreOnce   = sharedClient(hook{})
	exploreAlways = sharedClient(hook{repeats: true, stubborn: true})
	exploreStored = newStoreScripts()
)

func sharedClient(h hook) *redis.Client {
	opts := &redis.Options{Addr: "explored", MaxRetries: -1, MaintNotificationsConfig: noMaintenance()}
	client := redis.NewClient(opts)
	client.AddHook(h)
	return client
}

// newExploreStore returns a store in the model of Redis: the one that a program
// uses, so that the commands and their order are the real ones.
func newExploreStore() store { return newExploreStoreOver(exploreClient) }

func newExploreStoreOver(client *redis.Client) store {
	st := &redisStore{rdb: client, nodes: &nodes{single: client}, scripts: exploreStored}
	return guard(st, newBreaker(quiet))
}

// hook puts a run in Redis' place.
type hook struct {
	repeats  bool // what had no reply
	stubborn bool // also what must not be repeated
}

var _ redis.Hook = hook{}

func (hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return h.send(ctx, []redis.Cmder{cmd}) }
}

func (h hook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook { return h.send }

func (h hook) send(ctx context.Context, cmds []redis.Cmder) error {
	r, _ := ctx.Value(playKey{}).(*play)
	if r.s.reorder != nil {
		cmds = r.s.reorder(slices.Clone(cmds))
	}
	ops := make([]operation, len(cmds))
	for i, cmd := range cmds {
		args := argsOf(cmd)
		ops[i] = operation{
			name: r.model.name(args), args: args,
			call:    func(w *world) any { return w.execute(r.model, args) },
			deliver: func(reply any) { answerTo(cmd, reply) },
		}
	}
	repeats := h.repeats && (h.stubborn || !slices.ContainsFunc(cmds, redis.Cmder.NoRetry))
	if err := r.send(ctx, ops, repeats); err != nil {
		for _, cmd := range cmds {
			cmd.SetErr(err)
		}
		return err
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}

// argsOf returns a command's arguments as they are sent.
func argsOf(cmd redis.Cmder) []string {
	all := cmd.Args()
	args := make([]string, len(all))
	for i, arg := range all {
		switch arg := arg.(type) {
		case string:
			args[i] = arg
		case []byte:
			args[i] = string(arg)
		default:
			args[i] = fmt.Sprint(arg)
		}
	}
	return args
}

// answerTo gives a command its reply.
func answerTo(cmd redis.Cmder, reply any) {
	if reply == nil {
		cmd.SetErr(redis.Nil)
		return
	}
	cmd.SetErr(nil)
	switch cmd := cmd.(type) {
	case *redis.StringCmd:
		cmd.SetVal(reply.(string))
	case *redis.StatusCmd:
		cmd.SetVal(reply.(string))
	case *redis.IntCmd:
		cmd.SetVal(reply.(int64))
	case *redis.BoolCmd:
		cmd.SetVal(reply.(bool))
	case *redis.SliceCmd:
		cmd.SetVal(reply.([]any))
	case *redis.DurationCmd:
		left := reply.(int64)
		if left >= 0 {
			cmd.SetVal(time.Duration(left) * time.Millisecond)
		} else {
			cmd.SetVal(time.Duration(left)) // as go-redis has it
		}
	case *redis.ScanCmd:
		cmd.SetVal(reply.(page).names, reply.(page).next)
	case interface{ SetVal(any) }:
		cmd.SetVal(reply)
	default:
		panic(fmt.Sprintf("the model of Redis gives no reply to a %T: add it", cmd))
	}
}
