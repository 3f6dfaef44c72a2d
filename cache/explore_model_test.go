package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// modelTTLs are the times of what the test stores, far enough apart to be told
// from each other while the test runs.
var modelTTLs = []int{1_000_000, 2_000_000, 3_000_000}

// TestExploreModel runs commands chosen by chance on the model of Redis and on
// Redis itself, and compares every reply and what is there afterwards.
func TestExploreModel(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: servertest.Redis(t).Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	ctx := t.Context()
	m := newModelRedis()
	for _, source := range []string{
		missSource, fillSource, absentSource, releaseSource, setSource, captureSource, incrementSource,
		raiseSource, advanceSource, moveSource, restoreSource,
	} {
		if err := rdb.ScriptLoad(ctx, source).Err(); err != nil {
			t.Fatal(err)
		}
	}
	chance := rand.New(rand.NewPCG(*exploreSeedFlag, 2))
	var k keyspace
	ran := map[string]int{}
	for n := range 6000 {
		args := someCommand(m, chance)
		got := m.do(&k, args)
		if first, ok := got.(page); ok {
			args[1] = "1"
			all := append(first.names, m.do(&k, args).(page).names...)
			slices.Sort(all)
			args[1], got = "0", all
		}
		want := realReply(ctx, rdb, args)
		if diff := differ(args, got, want); diff != "" {
			t.Fatalf("command %d %q: %s", n, args, diff)
		}
		if diff := differKeyspace(ctx, t, rdb, k); diff != "" {
			t.Fatalf("after command %d %q: %s", n, args, diff)
		}
		ran[m.name(args)+" → "+fmt.Sprint(outcomeOf(got))]++
	}
	for _, s := range m.scripts {
		if !slices.ContainsFunc(slices.Collect(keysOf(ran)), func(name string) bool { return len(name) > len(s.name) && name[:len(s.name)] == s.name }) {
			t.Errorf("%s was never run", s.name)
		}
	}
	t.Logf("%v", ran)
}

func keysOf(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// outcomeOf returns a reply, or the part that says how it went.
func outcomeOf(reply any) any {
	if all, ok := reply.([]any); ok && len(all) > 0 {
		return all[0]
	}
	switch reply := reply.(type) {
	case string, []string, nil:
		return fmt.Sprintf("%T", reply)
	default:
		return reply
	}
}

// someCommand returns a command as the package sends them.
func someCommand(m *modelRedis, chance *rand.Rand) []string {
	pick := func(all ...string) string { return all[chance.IntN(len(all))] }
	key := pick(exploreKeys[:]...)
	lease := LeaseKey(key)
	token := pick("a", "b", "c")
	value := pick("1", "2", "12")
	ttl := strconv.Itoa(modelTTLs[chance.IntN(len(modelTTLs))])
	tag := tagPrefix + pick("", "t")
	counter, position, ahead := counterPrefix+"main", positionPrefix+"main", aheadPrefix+"main"
	count := func() string { return "t:" + strconv.Itoa(chance.IntN(3)) + ":o" }
	script := func(name string, keys, argv []string) []string {
		for sha, s := range m.scripts {
			if s.name == name {
				return slices.Concat([]string{"evalsha", sha, strconv.Itoa(len(keys))}, keys, argv)
			}
		}
		panic(name)
	}
	both := []string{key, lease}
	switch pick("miss", "miss", "fill", "fill", "absent", "release", "extend", "store", "capture", "increment", "raise", "advance",
		"move", "restore", "get", "mget", "pttl", "exists", "unlink", "unlink", "unlink", "set", "claim", "seize", "scan") {
	case "miss":
		return script("miss", both, []string{token, ttl, pick("", "1", "2"), pick("", "1"), pick("", "a", "b")})
	case "fill":
		return script("fill", both, []string{token, value, ttl})
	case "absent":
		return script("absent", both, []string{token, pick(ttl, ttl, "0")})
	case "release":
		return script("release", []string{lease}, []string{token, "0"})
	case "extend":
		return script("release", []string{lease}, []string{token, ttl})
	case "store":
		return script("store", both, []string{value, ttl})
	case "capture":
		return script("capture", []string{tag}, []string{token, ttl})
	case "increment":
		return script("increment", both, []string{pick("1", "-1", "5"), ttl})
	case "raise":
		return script("raise", []string{ahead}, []string{pick("1:1:0", "1:2:0"), fmt.Sprintf("%016x", chance.IntN(40))})
	case "advance":
		return script("advance", []string{counter, position}, []string{count(), count()})
	case "move":
		return script("move", []string{position, counter}, []string{count(), count(), value, pick("1", "2"), pick("2", "12")})
	case "restore":
		return script("restore", []string{position, counter}, []string{value, count()})
	case "mget":
		return []string{"mget", tagPrefix, tagPrefix + "t", key}
	case "unlink":
		return []string{"unlink", pick(key, key, lease, lease, tag, counter, position, ahead)}
	case "set":
		return []string{"set", key, value, "px", ttl}
	case "claim":
		return []string{"set", lease, token, "px", ttl, "nx"}
	case "seize":
		return []string{"set", lease, token, "px", ttl}
	case "scan":
		return []string{"scan", "0", "match", pick("*", "k:*", leasePrefix+"*"), "count", "1000"}
	case "pttl":
		return []string{"pttl", pick(key, lease)}
	default:
		return []string{pick("get", "exists"), pick(key, lease)}
	}
}

// realReply returns Redis' reply in the model's terms.
func realReply(ctx context.Context, rdb *redis.Client, args []string) any {
	all := make([]any, len(args))
	for i, arg := range args {
		all[i] = arg
	}
	reply, err := rdb.Do(ctx, all...).Result()
	switch {
	case errors.Is(err, redis.Nil):
		reply = nil
	case err != nil:
		return err
	}
	if args[0] == "set" && args[len(args)-1] == "nx" {
		return reply != nil
	}
	return reply
}

// differ says how two replies differ, if they do.
func differ(args []string, got, want any) string {
	switch args[0] {
	case "scan": // one reply holds all there is; the model gives two
		var names []string
		for _, name := range want.([]any)[1].([]any) {
			names = append(names, name.(string))
		}
		if slices.Sort(names); !slices.Equal(got.([]string), names) {
			return fmt.Sprintf("the model lists %q, Redis %q", got, names)
		}
		return ""
	case "pttl":
		if got, want := got.(int64), want.(int64); !sameTTL(got, want) {
			return fmt.Sprintf("the model has %d ms left, Redis %d", got, want)
		}
		return ""
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("the model replies %v (%T), Redis %v (%T)", got, got, want, want)
	}
	return ""
}

// sameTTL reports whether two times left are the same, some time apart.
func sameTTL(a, b int64) bool { return a == b || a > 0 && b > 0 && max(a-b, b-a) < 100_000 }

// differKeyspace says in what the model and Redis differ, if they do.
func differKeyspace(ctx context.Context, t *testing.T, rdb *redis.Client, k keyspace) string {
	t.Helper()
	names := []string{tagPrefix, tagPrefix + "t", counterPrefix + "main", positionPrefix + "main", aheadPrefix + "main"}
	for _, key := range exploreKeys {
		names = append(names, key, LeaseKey(key))
	}
	pipe := rdb.Pipeline()
	values, ttls := make([]*redis.StringCmd, len(names)), make([]*redis.DurationCmd, len(names))
	for i, name := range names {
		values[i], ttls[i] = pipe.Get(ctx, name), pipe.PTTL(ctx, name)
	}
	size := pipe.DBSize(ctx)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	if size.Val() != int64(len(k)) {
		return fmt.Sprintf("the model holds %d names, Redis %d", len(k), size.Val())
	}
	for i, name := range names {
		value, ok := k.get(name)
		if there, err := values[i].Result(); ok != (err == nil) || value != there {
			return fmt.Sprintf("%s is %q (%v) in the model, %q (%v) in Redis", name, value, ok, there, err)
		}
		if at, ok := k.find(name); ok {
			left := ttls[i].Val()
			if left > 0 {
				left /= time.Millisecond
			}
			if px := k[at].px; !sameTTL(px, max(int64(left), 0)) {
				return fmt.Sprintf("%s has %d ms left in the model, %d in Redis", name, px, int64(left))
			}
		}
	}
	return ""
}
