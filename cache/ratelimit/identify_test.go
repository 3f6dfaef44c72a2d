package ratelimit_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

func request(t testing.TB, remote string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop.example/orders", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = remote
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestByIP(t *testing.T) {
	t.Parallel()
	const forwarded = "X-Forwarded-For"
	none := []netip.Prefix{}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48"), netip.MustParsePrefix("::ffff:192.168.0.0/112")}
	for _, tc := range []struct {
		name    string
		proxies []netip.Prefix
		remote  string
		headers []string
		want    string
	}{
		{"direct", none, "203.0.113.7:1234", nil, "203.0.113.7"},
		{"direct, mapped", none, "[::ffff:203.0.113.7]:1234", nil, "203.0.113.7"},
		{"direct, IPv6", none, "[2001:db8:1:2:3:4:5:6]:1234", nil, "2001:db8:1:2::/64"},
		{"direct, link-local", none, "[fe80::1%eth0]:1234", nil, "fe80::/64"},
		{"direct, without port", none, "203.0.113.7", nil, "203.0.113.7"},
		{"header without proxies", none, "203.0.113.7:1", []string{forwarded, "198.51.100.1"}, "203.0.113.7"},
		{"header of a stranger", proxies, "203.0.113.7:1", []string{forwarded, "198.51.100.1"}, "203.0.113.7"},
		{"one proxy", proxies, "10.1.2.3:1", []string{forwarded, "198.51.100.1"}, "198.51.100.1"},
		{"proxy without header", proxies, "10.1.2.3:1", nil, "10.1.2.3"},
		{"proxy, mapped", proxies, "[::ffff:10.1.2.3]:1", []string{forwarded, "198.51.100.1"}, "198.51.100.1"},
		{"proxy of a mapped prefix", proxies, "192.168.3.4:1", []string{forwarded, "198.51.100.1"}, "198.51.100.1"},
		{"IPv6 proxy and client", proxies, "[2001:db8:ffff::1]:1", []string{forwarded, "2001:db8:1:2:3::"}, "2001:db8:1:2::/64"},
		{"two proxies", proxies, "10.1.2.3:1", []string{forwarded, "198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"forged on the left", proxies, "10.1.2.3:1", []string{forwarded, "8.8.8.8, 10.6.6.6, 198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"a proxy's address forged", proxies, "10.1.2.3:1", []string{forwarded, "10.6.6.6,198.51.100.1"}, "198.51.100.1"},
		{"two headers", proxies, "10.1.2.3:1", []string{forwarded, "8.8.8.8", forwarded, "198.51.100.1 , 10.9.9.9"}, "198.51.100.1"},
		{"goes on in the first header", proxies, "10.1.2.3:1", []string{forwarded, "8.8.8.8,198.51.100.1", forwarded, "10.9.9.9"}, "198.51.100.1"},
		{"only proxies", proxies, "10.1.2.3:1", []string{forwarded, "10.7.7.7, 10.9.9.9"}, "10.7.7.7"},
		{"no address", proxies, "10.1.2.3:1", []string{forwarded, "8.8.8.8, nonsense, 10.9.9.9"}, "10.9.9.9"},
		{"empty entry", proxies, "10.1.2.3:1", []string{forwarded, "8.8.8.8,"}, "10.1.2.3"},
		{"empty header", proxies, "10.1.2.3:1", []string{forwarded, ""}, "10.1.2.3"},
		{"with ports", proxies, "10.1.2.3:1", []string{forwarded, "198.51.100.1:55, 10.9.9.9:80"}, "198.51.100.1"},
		{"IPv6 in brackets", proxies, "10.1.2.3:1", []string{forwarded, "[2001:db8:1:2::9]"}, "2001:db8:1:2::/64"},
		{"IPv6 with port", proxies, "10.1.2.3:1", []string{forwarded, "[2001:db8:1:2::9]:443"}, "2001:db8:1:2::/64"},
		{"another header", proxies, "10.1.2.3:1", []string{"X-Real-Ip", "8.8.8.8", "Forwarded", "for=8.8.8.8"}, "10.1.2.3"},
	} {
		got, err := ratelimit.ByIP(tc.proxies...)(request(t, tc.remote, tc.headers...))
		if err != nil || got != "ip:"+tc.want {
			t.Errorf("%s: got %q, %v, want ip:%s", tc.name, got, err, tc.want)
		}
	}
	for _, remote := range []string{"", "@", "/run/shop.sock", "host:80"} {
		if got, err := ratelimit.ByIP(proxies...)(request(t, remote, forwarded, "8.8.8.8")); !errors.Is(err, ratelimit.ErrIdentifier) {
			t.Errorf("%q: got %q, %v", remote, got, err)
		}
	}
}

// FuzzByIP: whatever a stranger writes into the header, behind one proxy he is
// who the proxy saw.
func FuzzByIP(f *testing.F) {
	f.Add("8.8.8.8")
	f.Add("10.0.0.1, ")
	f.Add("[::1]:80,")
	f.Fuzz(func(t *testing.T, forged string) {
		key := ratelimit.ByIP(netip.MustParsePrefix("10.0.0.0/8"))
		if got, err := key(request(t, "10.0.0.1:80", "X-Forwarded-For", forged+", 203.0.113.7")); err != nil || got != "ip:203.0.113.7" {
			t.Errorf("behind a proxy: got %q, %v", got, err)
		}
		if got, err := key(request(t, "203.0.113.7:80", "X-Forwarded-For", forged)); err != nil || got != "ip:203.0.113.7" {
			t.Errorf("alone: got %q, %v", got, err)
		}
	})
}

type userKey struct{}

func userOf(r *http.Request) string {
	user, _ := r.Context().Value(userKey{}).(string)
	return user
}

func TestByHeaderAndUser(t *testing.T) {
	t.Parallel()
	r := request(t, "203.0.113.7:1", "X-Api-Key", "secret")
	header, err := ratelimit.ByHeader("X-API-Key")(r)
	if err != nil || !strings.HasPrefix(header, "x-api-key:") || strings.Contains(header, "secret") || len(header) != len("x-api-key:")+32 {
		t.Errorf("by header: got %q, %v", header, err)
	}
	if _, err := ratelimit.ByHeader("X-Other")(r); !errors.Is(err, ratelimit.ErrIdentifier) {
		t.Errorf("no header: got %v", err)
	}
	if _, err := ratelimit.ByUser(userOf)(r); !errors.Is(err, ratelimit.ErrIdentifier) {
		t.Errorf("no user: got %v", err)
	}
	r = r.WithContext(context.WithValue(r.Context(), userKey{}, "42"))
	if got, err := ratelimit.ByUser(userOf)(r); err != nil || got != "user:42" {
		t.Errorf("by user: got %q, %v", got, err)
	}

	first := ratelimit.FirstOf(ratelimit.ByUser(userOf), ratelimit.ByHeader("X-Api-Key"), ratelimit.ByIP())
	if got, err := first(r); err != nil || got != "user:42" {
		t.Errorf("first of three: got %q, %v", got, err)
	}
	if got, err := first(request(t, "203.0.113.7:1", "X-Api-Key", "secret")); err != nil || got != header {
		t.Errorf("second of three: got %q, %v", got, err)
	}
	if got, err := first(request(t, "203.0.113.7:1")); err != nil || got != "ip:203.0.113.7" {
		t.Errorf("third of three: got %q, %v", got, err)
	}
	if got, err := first(request(t, "@")); !errors.Is(err, ratelimit.ErrIdentifier) {
		t.Errorf("none of three: got %q, %v", got, err)
	}
	if got, err := ratelimit.FirstOf()(r); !errors.Is(err, ratelimit.ErrIdentifier) {
		t.Errorf("first of none: got %q, %v", got, err)
	}
}
