package ratelimit_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

func TestKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 129)
	for _, tc := range []struct{ identifier, endpoint, want string }{
		{"alice", "/login", "ratelimit:alice:/login"},
		{"ip:2001:db8::/64", "GET /orders/{id}", "ratelimit:ip:2001:db8::/64:GET /orders/%7Bid%7D"},
		{"a:b", "c", "ratelimit:a:b:c"},
		{"a", "b:c", "ratelimit:a:b%3Ac"},
		{"a", "", "ratelimit:a:"},
		{"100%", "{}", "ratelimit:100%25:%7B%7D"},
		{long[:128], "", "ratelimit:" + long[:128] + ":"},
	} {
		if got := ratelimit.Key(tc.identifier, tc.endpoint); got != tc.want {
			t.Errorf("%q, %q: got %q, want %q", tc.identifier, tc.endpoint, got, tc.want)
		}
	}
	got := ratelimit.Key(long, long)
	if len(got) > 300 || strings.Count(got, "%sha256-") != 2 {
		t.Errorf("long ones give %q", got)
	}
	if got == ratelimit.Key(strings.Split(got, ":")[1], strings.Split(got, ":")[2]) {
		t.Error("who calls himself by a hash has the key of what was hashed")
	}
	if got, want := ratelimit.EscapePrefix("{a}:%"), "%7Ba%7D:%"; got != want {
		t.Errorf("prefix is %q, want %q", got, want)
	}
}

// FuzzKey: a key says what it was made of, so no two share one.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"", "a", "a:b", "%", "%25", "{x}", "}", "é", "\x00", strings.Repeat("{", 200), "%sha256-"} {
		f.Add(s, s)
		f.Add(s, "/x:y")
	}
	f.Fuzz(func(t *testing.T, identifier, endpoint string) {
		key := ratelimit.Key(identifier, endpoint)
		rest, ok := strings.CutPrefix(key, "ratelimit:")
		if !ok || strings.ContainsAny(key, "{}") || len(key) > 11+3*128*2 {
			t.Fatalf("%q, %q: got %q", identifier, endpoint, key)
		}
		colon := strings.LastIndexByte(rest, ':')
		for _, part := range []struct{ got, want string }{{rest[:colon], identifier}, {rest[colon+1:], endpoint}} {
			if hashed, ok := strings.CutPrefix(part.got, "%sha256-"); ok {
				if len(part.want) <= 128 || len(hashed) != 64 {
					t.Errorf("%q is %q", part.want, part.got)
				}
			} else if plain, err := url.PathUnescape(part.got); err != nil || plain != part.want {
				t.Errorf("%q reads %q, %v, want %q", part.got, plain, err, part.want)
			}
		}
	})
}

func TestFieldLength(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{time.Millisecond, 9999 * time.Microsecond, 10 * time.Millisecond, time.Second, time.Hour, 366 * 24 * time.Hour} {
		for _, name := range []string{"", "x", "per hour"} {
			if field, length := ratelimit.FieldOf(ratelimit.Limit{Max: 1, Window: window, Name: name}); len(field) != length {
				t.Errorf("%q is said to have %d bytes", field, length)
			}
		}
	}
}
