package cache_test

import (
	"testing"

	"github.com/freshet-dev/freshet/cache"
)

// FuzzGlob compares the matcher with Redis' own, and checks that an escaped text
// matches itself and nothing else.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][3]string{
		{"order:*", "order:42", ""},
		{"a?c", "abc", "a?c"},
		{"[a-c]*", "b", "d"},
		{"[^a]", "a", "^"},
		{`\*`, "*", "x"},
		{"[", "[", "a"},
		{"[]", "]", ""},
		{"[z-a]", "m", ""},
		{`[\]]`, "]", `\`},
		{`\`, `\`, ""},
		{"***", "", "x"},
		{"a*b*c", "abbc", "ab"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	server, err := shared.redis()
	if err != nil {
		f.Fatal(err)
	}
	rdb := server.Client()
	f.Cleanup(func() { _ = rdb.Close() })
	f.Fuzz(func(t *testing.T, pattern, key, other string) {
		if key == "" || len(pattern) > 100 || len(key) > 100 {
			return // patterns of many stars take Redis for ever
		}
		ctx := t.Context()
		// KEYS in a database of its own: nothing else is there. A script keeps
		// other runs out.
		const ask = "redis.call('SELECT', 15) redis.call('FLUSHDB') redis.call('SET', KEYS[1], 1) return #redis.call('KEYS', ARGV[1])"
		found, err := rdb.Eval(ctx, ask, []string{key}, pattern).Int()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := cache.MatchGlob(pattern, key), found == 1; got != want {
			t.Errorf("pattern %q, key %q: got %v, Redis says %v", pattern, key, got, want)
		}
		if !cache.MatchGlob(cache.EscapePattern(key), key) {
			t.Errorf("%q does not match itself escaped", key)
		}
		if other != key && cache.MatchGlob(cache.EscapePattern(key), other) {
			t.Errorf("%q escaped matches %q", key, other)
		}
	})
}
