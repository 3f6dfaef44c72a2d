package cache

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// asked is a key whose slot is on its way to another master, where it has to
// be removed too.
type asked struct {
	key   string
	lease string // empty for a key without one
	to    string // address of the other master
}

func askedKey(key, to string) asked  { return asked{key: key, lease: LeaseKey(key), to: to} }
func askedBare(key, to string) asked { return asked{key: key, to: to} }

// askedOf returns the address that one of the errors redirects to, if every
// error is such a redirect.
func askedOf(first, second error) (string, bool) {
	addr, ok := redis.IsAskError(first)
	other, too := redis.IsAskError(second)
	switch {
	case ok && (too || second == nil):
		return addr, true
	case too && first == nil:
		return other, true
	default:
		return "", false
	}
}

// follow removes keys that a master which is giving their slot away did not
// have (any more): first the leases at the other master, then the values where
// they may be still, then the values at the other master. So for each key every
// lease that existed before is gone before its value is removed.
func (a *redisApplier) follow(ctx context.Context, topo *topology, all []asked, applied *Applied) error {
	byAddr := map[string][]asked{}
	for _, k := range all {
		byAddr[k.to] = append(byAddr[k.to], k)
	}
	for addr, keys := range byAddr {
		target := a.nodes.client(addr)
		if err := askAll(ctx, target, keys, func(k asked) string { return k.lease }, nil); err != nil {
			return err
		}
		if err := a.values(ctx, topo, keys, applied); err != nil {
			return err
		}
		if err := askAll(ctx, target, keys, func(k asked) string { return k.key }, func(key string) { count(applied, key) }); err != nil {
			return err
		}
		// The counter of the other master has to stand behind these deletes too.
		for _, m := range topo.masters {
			if m.addr == addr {
				if err := a.send(ctx, m, share{}, &result{}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// values removes the values that the giving master still has.
func (a *redisApplier) values(ctx context.Context, topo *topology, keys []asked, applied *Applied) error {
	for _, k := range keys {
		m, err := topo.of(k.key)
		if err != nil {
			return errors.Join(errRepeat, err)
		}
		n, err := m.client.Unlink(ctx, k.key).Result()
		if _, ask := redis.IsAskError(err); err != nil && !ask {
			return removalError(err)
		}
		if n > 0 {
			count(applied, k.key)
		}
	}
	return nil
}

// askAll removes one name of each key at a master that is taking over its slot.
func askAll(ctx context.Context, target *redis.Client, keys []asked, name func(asked) string, removed func(key string)) error {
	pipe := target.Pipeline()
	cmds := make([]*redis.IntCmd, len(keys))
	for i, k := range keys {
		if name(k) == "" {
			continue
		}
		pipe.Do(ctx, "ASKING")
		cmds[i] = pipe.Unlink(ctx, name(k))
	}
	if pipe.Len() == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return removalError(err)
	}
	for i, cmd := range cmds {
		if cmd != nil && cmd.Val() > 0 && removed != nil {
			removed(keys[i].key)
		}
	}
	return nil
}

func count(applied *Applied, key string) {
	applied.Removed++
	if applied.Existed != nil {
		applied.Existed[key] = struct{}{}
	}
}
