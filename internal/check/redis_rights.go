package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/rule"
)

// probedKey stands for a key that nobody has.
const probedKey = "KEY"

// redisCommands are what the service uses, by itself and in scripts, as they can be
// tried on a key that nobody has. Within a script Redis does not always say which
// command it refuses.
var redisCommands = []struct {
	right string // as ACL SETUSER takes it
	try   []any
}{
	{"+get", []any{"GET", probedKey}},
	{"+mget", []any{"MGET", probedKey}},
	{"+getrange", []any{"GETRANGE", probedKey, 0, 1}},
	{"+exists", []any{"EXISTS", probedKey}},
	{"+pttl", []any{"PTTL", probedKey}},
	{"+scan", []any{"SCAN", 0, "MATCH", probedKey, "COUNT", 1}},
	{"+dbsize", []any{"DBSIZE"}},
	{"+set", []any{"SET", probedKey, "x", "XX"}}, // only where there is one
	{"+del", []any{"DEL", probedKey}},
	{"+pexpire", []any{"PEXPIRE", probedKey, 1}},
	{"+script|load", []any{"SCRIPT", "LOAD", "return 1"}},
	{"+eval", []any{"EVAL", "return 1", 1, probedKey}},
	{"+evalsha", []any{"EVALSHA", strings.Repeat("0", 40), 1, probedKey}},
}

// warmCommands are those of the warmers' rate limit. The last two leave a key, which
// is removed at once.
var warmCommands = map[string][]any{
	"+hmget":  {"HMGET", probedKey, "i"},
	"+append": {"APPEND", probedKey, "x"},
	"+hset":   {"HSET", probedKey, "i", "x"},
}

// refusal is what Redis refuses a user.
type refusal int

const (
	granted refusal = iota
	commandRefused
	keyRefused
)

// missing returns what a server's user may not do, as ACL SETUSER takes it.
func (c *redisCheck) missing(ctx context.Context, master *redis.Client) (rights []string, err error) {
	try := func(key string, command ...any) refusal {
		command = slices.Clone(command)
		for i := range command {
			if command[i] == probedKey {
				command[i] = key
			}
		}
		got, failed := refused(master.Do(ctx, command...).Err())
		err = errors.Join(err, failed)
		return got
	}
	for _, name := range c.names() {
		key, command := name, "EXISTS" // of a rule that names one key
		if literal, found := strings.CutSuffix(name, "*"); found {
			key, command = literal+rand.Text(), "UNLINK"
		}
		if try(key, command, probedKey) == keyRefused {
			rights = append(rights, "~"+name)
		}
	}
	key := "freshet:check:" + rand.Text()
	for _, command := range redisCommands {
		if try(key, command.try...) == commandRefused {
			rights = append(rights, command.right)
		}
	}
	if try(key, "UNLINK", probedKey) == commandRefused {
		return append(rights, "+unlink"), err
	}
	if c.set.Warms() {
		for _, right := range []string{"+hmget", "+append", "+hset"} {
			if try(key, warmCommands[right]...) == commandRefused {
				rights = append(rights, right)
			}
			try(key, "UNLINK", probedKey)
		}
	}
	return rights, err
}

// refused tells a refusal from answers, errors of a command that was allowed among
// them: the key is in another slot, the script unknown.
func refused(err error) (refusal, error) {
	var reply redis.Error
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return granted, nil
	case !errors.As(err, &reply):
		return granted, err
	case !strings.HasPrefix(err.Error(), "NOPERM"):
		return granted, nil
	case strings.Contains(err.Error(), "keys") || strings.Contains(err.Error(), "a key"):
		return keyRefused, nil
	}
	return commandRefused, nil
}

// names are the names that Freshet removes as globs, and its bookkeeping.
func (c *redisCheck) names() []string {
	names := []string{"freshet:*"}
	for _, target := range c.set.CoverageAll() {
		if target.Kind == rule.TagTarget || target.Kind == rule.TagPattern {
			continue
		}
		name := c.cfg.Applier.Prefix + target.Text
		if at := strings.IndexAny(name, `*?[\`); at >= 0 && target.Kind == rule.PatternTarget {
			name = name[:at] + "*"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// refuse says what is missing.
func (c *redisCheck) refuse(address string, missing []string) {
	c.fail("rights", fmt.Sprintf("at %s the user lacks %s", address, strings.Join(missing, " ")),
		"ACL SETUSER <user> "+strings.Join(missing, " ")+"; deploy/redis/users.acl has a user with what Freshet needs")
}
