package cache_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// randomKey makes keys out of what matters to slots and to patterns.
func randomKey(r *rand.Rand) string {
	const alphabet = "{}{}{}ab0z*?[]-^\\"
	var b strings.Builder
	for range r.IntN(10) + 1 {
		switch r.IntN(12) {
		case 0:
			b.WriteByte(byte(r.IntN(256)))
		case 1: // what the third form of a lease key begins with
			b.WriteString("{" + cache.SlotTag(uint16(r.IntN(16384))) + "}")
		default:
			b.WriteByte(alphabet[r.IntN(len(alphabet))])
		}
	}
	return b.String()
}

func checkLeaseKey(t *testing.T, key string) {
	t.Helper()
	lease := cache.LeaseKey(key)
	if got, want := cache.SlotOf(lease), cache.SlotOf(key); got != want {
		t.Errorf("slot of %q, the lease key of %q: got %d, want %d", lease, key, got, want)
	}
	if got, ok := cache.LeasedKey(lease); !ok || got != key {
		t.Errorf("key of %q: got %q, %v, want %q", lease, got, ok, key)
	}
}

func TestLeaseKeyForms(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"order:42":         "freshet:lease:{order:42}",
		"{user:1}:profile": "freshet:lease:{user:1}:profile",
		"x{a}y":            "freshet:lease:x{a}y",
		"a{b":              "freshet:lease:{a{b}",
		"a}b":              "freshet:lease:{" + cache.SlotTag(cache.SlotOf("a}b")) + "}a}b",
		"{}x":              "freshet:lease:{" + cache.SlotTag(cache.SlotOf("{}x")) + "}{}x",
		// Its own tag would serve, were it not what the key "a" has.
		"{a}": "freshet:lease:{" + cache.SlotTag(cache.SlotOf("{a}")) + "}{a}",
	} {
		if got := cache.LeaseKey(key); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
	for _, key := range oddKeys() {
		checkLeaseKey(t, key)
	}
}

func TestLeaseKeysAreDistinct(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	byLease := map[string]string{}
	add := func(key string) {
		checkLeaseKey(t, key)
		lease := cache.LeaseKey(key)
		if other, ok := byLease[lease]; ok && other != key {
			t.Fatalf("%q and %q share the lease key %q", key, other, lease)
		}
		byLease[lease] = key
	}
	for range 100_000 {
		key := randomKey(r)
		add(key)
		// What looks like the lease key of another key, as a key.
		add(strings.TrimPrefix(cache.LeaseKey(key), "freshet:lease:"))
	}
}

func FuzzLeaseKey(f *testing.F) {
	for _, key := range oddKeys() {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if key == "" {
			return // no key is empty
		}
		checkLeaseKey(t, key)
		rest := strings.TrimPrefix(cache.LeaseKey(key), "freshet:lease:")
		if rest != key && cache.LeaseKey(rest) == cache.LeaseKey(key) {
			t.Errorf("%q and %q share a lease key", key, rest)
		}
	})
}

// TestSlotsAreThoseOfRedis compares our slots with CLUSTER KEYSLOT.
func TestSlotsAreThoseOfRedis(t *testing.T) {
	t.Parallel()
	rdb := clusterNode(t)
	r := rand.New(rand.NewPCG(3, 4))
	var keys []string
	for range 5000 {
		key := randomKey(r)
		keys = append(keys, key, cache.LeaseKey(key))
	}
	for slot := range uint16(16384) {
		keys = append(keys, cache.SlotTag(slot))
	}
	pipe := rdb.Pipeline()
	cmds := make([]*redis.IntCmd, len(keys))
	for i, key := range keys {
		cmds[i] = pipe.ClusterKeySlot(t.Context(), key)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		if got, want := int64(cache.SlotOf(key)), cmds[i].Val(); got != want {
			t.Errorf("slot of %q: got %d, want %d", key, got, want)
		}
	}
	for slot := range 16384 {
		if got, want := cmds[10_000+slot].Val(), int64(slot); got != want {
			t.Errorf("slot of the tag of slot %d: got %d", want, got)
		}
	}
}

// clusterNode starts a lone server in cluster mode.
func clusterNode(t *testing.T) *redis.Client {
	t.Helper()
	node := servertest.Redis(t, servers.RedisOptions{Args: []string{"--cluster-enabled", "yes"}})
	rdb := node.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// TestGlobMatchesAsRedisDoes compares the matcher with KEYS on random keys and
// patterns.
func TestGlobMatchesAsRedisDoes(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	rdb := server.Client()
	defer rdb.Close()
	r := rand.New(rand.NewPCG(5, 6))
	keys := map[string]bool{}
	for len(keys) < 400 {
		keys[randomKey(r)] = true
	}
	pipe := rdb.Pipeline()
	for key := range keys {
		pipe.Set(t.Context(), key, 1, 0)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	patterns := []string{"*", "**", "?*", "[", "[^", "[a", `[\`, `\`, `*\`, "[]a]", "[a-", "[a-z", "[z-a]*", `[\]a]*`, "[^]*", "*[*]*", "a*b*c*", "[\x00-\xff]*", "[\xf0-\x10]*"}
	for range 3000 {
		patterns = append(patterns, randomKey(r))
	}
	matches := 0
	for _, pattern := range patterns {
		found, err := rdb.Keys(t.Context(), pattern).Result()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, key := range found {
			want[key] = true
		}
		matches += len(found)
		for key := range keys {
			if got := cache.MatchGlob(pattern, key); got != want[key] {
				t.Fatalf("pattern %q, key %q: got %v, want %v", pattern, key, got, want[key])
			}
		}
	}
	if matches < len(patterns) {
		t.Errorf("only %d matches: the patterns prove little", matches)
	}
}

func TestEscapedPatternMatchesOnlyItself(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		a, b := randomKey(r), randomKey(r)
		if got, want := cache.MatchGlob(cache.EscapePattern(a), b), a == b; got != want {
			t.Fatalf("the escaped %q and %q: got %v, want %v", a, b, got, want)
		}
		if !cache.MatchGlob(cache.EscapePattern(a)+"*", a+b) {
			t.Fatalf("the escaped %q and a star do not match %q", a, a+b)
		}
	}
}

func BenchmarkLeaseKey(b *testing.B) {
	for _, key := range []string{"order:42", "{user:1}:profile", "a}b"} {
		b.Run(fmt.Sprintf("%q", key), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = cache.LeaseKey(key)
			}
		})
	}
}
