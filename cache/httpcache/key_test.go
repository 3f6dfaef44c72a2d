package httpcache_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
)

func request(t testing.TB, target string, lines ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	r.Header = header(lines...)
	return r
}

func TestKey(t *testing.T) {
	t.Parallel()
	stripped := request(t, "/v1/orders")
	stripped.URL.Path = "/orders"
	overTLS := request(t, "/orders")
	overTLS.TLS = &tls.ConnectionState{}
	head := request(t, "/orders")
	head.Method = http.MethodHead
	sent := &http.Request{Method: http.MethodGet, Host: "example.com", URL: &url.URL{Path: "/orders"}}
	for name, tc := range map[string]struct {
		a, b *http.Request
		vary []string
		same bool
	}{
		"order of parameters":     {request(t, "/o?b=2&a=1"), request(t, "/o?a=1&b=2"), nil, true},
		"order of one's values":   {request(t, "/o?a=1&a=2"), request(t, "/o?a=2&a=1"), nil, false},
		"encoding of a parameter": {request(t, "/o?a=%41+b"), request(t, "/o?a=A%20b"), nil, true},
		"no value":                {request(t, "/o?a"), request(t, "/o?a="), nil, true},
		"name and value":          {request(t, "/o?ab=c"), request(t, "/o?a=bc"), nil, false},
		"value or parameter":      {request(t, "/o?a=1%26b=2"), request(t, "/o?a=1&b=2"), nil, false},
		"an empty query":          {request(t, "/o?"), request(t, "/o"), nil, true},
		"semicolons are no good":  {request(t, "/o?a=1;b=2"), request(t, "/o?a=1"), nil, false},
		"bad encoding":            {request(t, "/o?a=%zz"), request(t, "/o"), nil, false},
		"path and query":          {request(t, "/o%3Fa=1"), request(t, "/o?a=1"), nil, false},
		"an encoded slash":        {request(t, "/a%2Fb"), request(t, "/a/b"), nil, false},
		"dots":                    {request(t, "/a/%2e%2e/b"), request(t, "/a/../b"), nil, false},
		"hosts":                   {request(t, "http://a.test/"), request(t, "http://b.test/"), nil, false},
		"hosts' case":             {request(t, "http://a.test/"), request(t, "http://A.test/"), nil, true},
		"HEAD":                    {head, request(t, "/orders"), nil, true},
		"TLS":                     {overTLS, request(t, "/orders"), nil, false},
		"a stripped prefix":       {stripped, request(t, "/orders"), nil, false},
		"not from a server":       {sent, request(t, "/orders"), nil, true},
		"header not named":        {request(t, "/", "A: 1"), request(t, "/", "A: 2"), nil, true},
		"header":                  {request(t, "/", "A: 1"), request(t, "/", "A: 2"), []string{"a"}, false},
		"no header, empty header": {request(t, "/"), request(t, "/", "A: "), []string{"a"}, false},
		"header to the next":      {request(t, "/", "A: 1", "B: 2"), request(t, "/", "A: 12", "B: "), []string{"a", "b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := httpcache.Key(tc.a, tc.vary...), httpcache.Key(tc.b, tc.vary...)
			if (a == b) != tc.same {
				t.Errorf("got %q and %q", a, b)
			}
		})
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	c := openMemory(t)
	all := []string{"/a", "/a?x=1", "/a/b", "/a%2Fb", "/a:b", "/ab", "/%5Ba%5D", "/[a]", "/a*", "/a%2A", "/ä", "/%C3%A4"}
	for path, want := range map[string]string{
		"/a":   "/a /a?x=1",
		"/a/b": "/a/b /a%2Fb",
		"/a:b": "/a:b",
		"/[a]": "/%5Ba%5D /[a]",
		"/a*":  "/a* /a%2A",
		"/ä":   "/ä /%C3%A4",
		"/c":   "",
	} {
		keys := map[string]string{}
		for _, target := range all {
			u, err := url.Parse("http://h" + target)
			if err != nil {
				t.Fatal(err)
			}
			key := httpcache.Key(&http.Request{Method: http.MethodGet, Host: "h", URL: u})
			keys[target] = key
			if err := cache.Set(t.Context(), c, key, 1, defaultTTL); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.InvalidatePattern(t.Context(), httpcache.Pattern(path)); err != nil {
			t.Fatal(err)
		}
		var gone []string
		for _, target := range all {
			if ok, err := c.Exists(t.Context(), keys[target]); !ok && err == nil {
				gone = append(gone, target)
			}
		}
		if got := strings.Join(gone, " "); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

var keyForm = regexp.MustCompile(`^api:[A-Za-z0-9/._~%-]*:[a-z2-7]{32}$`)

// FuzzKey checks that keys have their form, that equal requests have equal keys,
// and that requests which differ in path, query or header do not.
func FuzzKey(f *testing.F) {
	f.Add("/a/b", "x=1&y=2", "de", "/a/b", "y=2&x=1", "de")
	f.Add("/a%2Fb", "x=%zz", "", "/a/b", "x=%zz", "a,b")
	f.Add("/a:b/{c}*[", "a;b", "\x00", "/", "&&==", "é")
	f.Fuzz(func(t *testing.T, path1, query1, header1, path2, query2, header2 string) {
		key := func(path, query, header string) (string, *http.Request) {
			u := &url.URL{RawQuery: query}
			var err error
			if u.Path, err = url.PathUnescape(path); err != nil {
				u.Path = path
			} else if u.EscapedPath() != path {
				u.RawPath = path
			}
			r := &http.Request{Method: http.MethodGet, Host: "h", URL: u, Header: http.Header{"A": {header}}}
			return httpcache.Key(r, "a"), r
		}
		key1, r1 := key(path1, query1, header1)
		key2, r2 := key(path2, query2, header2)
		if !keyForm.MatchString(key1) || !utf8.ValidString(key1) {
			t.Errorf("got %q", key1)
		}
		if again, _ := key(path1, query1, header1); again != key1 {
			t.Errorf("got %q, then %q", key1, again)
		}
		alike := header1 == header2 && r1.URL.Path == r2.URL.Path && r1.URL.RawPath == r2.URL.RawPath && sameQuery(query1, query2)
		if alike != (key1 == key2) {
			t.Errorf("%q %q %q and %q %q %q: got %q and %q", path1, query1, header1, path2, query2, header2, key1, key2)
		}
	})
}

// sameQuery says the same as the keys' hash in other words: url.Values.Encode
// sorts by name.
func sameQuery(a, b string) bool {
	va, errA := url.ParseQuery(a)
	vb, errB := url.ParseQuery(b)
	if errA != nil || errB != nil {
		return a == b
	}
	return va.Encode() == vb.Encode()
}
