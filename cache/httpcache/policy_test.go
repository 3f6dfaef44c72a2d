package httpcache_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/httpcache"
)

// TestStorable asks twice, and looks whether the second answer is from the cache.
func TestStorable(t *testing.T) {
	t.Parallel()
	const hit, miss, bypass = "HIT", "MISS", "BYPASS"
	for name, tc := range map[string]struct {
		cfg      httpcache.Config
		method   string
		request  string // of both requests
		response string
		status   int
		second   string // X-Cache of the second
	}{
		"plain":                      {second: hit},
		"204":                        {status: 204, second: hit},
		"public":                     {response: "Cache-Control: public, max-age=60", second: hit},
		"must-revalidate":            {response: "Cache-Control: must-revalidate, max-age=60", second: hit},
		"Pragma of a response":       {response: "Pragma: no-cache", second: hit},
		"no-store":                   {response: "Cache-Control: no-store", second: bypass},
		"private":                    {response: "Cache-Control: private", second: bypass},
		"private, with fields":       {response: `Cache-Control: private="x-foo, x-bar", max-age=60`, second: bypass},
		"no-cache":                   {response: "Cache-Control: no-cache", second: bypass},
		"no-cache, in capitals":      {response: "Cache-Control: max-age=60 ,NO-CACHE", second: bypass},
		"no-store within quotes":     {response: `Cache-Control: ext="no-store, private"`, second: hit},
		"max-age 0":                  {response: "Cache-Control: max-age=0", second: bypass},
		"max-age is no number":       {response: "Cache-Control: max-age=soon", second: bypass},
		"max-age is negative":        {response: "Cache-Control: max-age=-1", second: bypass},
		"s-maxage 0":                 {response: "Cache-Control: max-age=60, s-maxage=0", second: bypass},
		"older than it may get":      {response: "Cache-Control: max-age=60;Age: 60", second: bypass},
		"Expires in the past":        {response: "Expires: Mon, 02 Jan 2006 15:04:05 GMT", second: bypass},
		"Expires 0":                  {response: "Expires: 0", second: bypass},
		"Expires after Date":         {response: "Expires: Mon, 02 Jan 2006 15:05:05 GMT;Date: Mon, 02 Jan 2006 15:04:05 GMT", second: hit},
		"max-age before Expires":     {response: "Expires: 0;Cache-Control: max-age=60", second: hit},
		"Set-Cookie":                 {response: "Set-Cookie: a=b", second: bypass},
		"Set-Cookie and public":      {response: "Set-Cookie: a=b;Cache-Control: public", second: bypass},
		"Vary *":                     {response: "Vary: Accept, *", second: bypass},
		"Trailer":                    {response: "Trailer: X-Sum", second: bypass},
		"Content-Range":              {response: "Content-Range: bytes 0-1/2", second: bypass},
		"events":                     {response: "Content-Type: text/event-stream; charset=utf-8", second: bypass},
		"404":                        {status: 404, second: bypass},
		"404 when told":              {status: 404, cfg: httpcache.Config{StatusCodes: []int{200, 404}}, second: hit},
		"301":                        {status: 301, second: bypass},
		"500":                        {status: 500, second: miss}, // its next request waits again
		"206":                        {status: 206, second: bypass},
		"POST":                       {method: http.MethodPost, second: bypass},
		"PUT":                        {method: http.MethodPut, second: bypass},
		"OPTIONS":                    {method: http.MethodOptions, second: bypass},
		"Range":                      {request: "Range: bytes=0-1", second: bypass},
		"If-Match":                   {request: `If-Match: "a"`, second: bypass},
		"If-Unmodified-Since":        {request: "If-Unmodified-Since: Mon, 02 Jan 2006 15:04:05 GMT", second: bypass},
		"Upgrade":                    {request: "Upgrade: websocket", second: bypass},
		"request no-store":           {request: "Cache-Control: no-store", second: miss},
		"request no-cache":           {request: "Cache-Control: no-cache;Pragma: no-cache", second: hit},
		"request max-age":            {request: "Cache-Control: max-age=0", second: hit},
		"Authorization":              {request: "Authorization: Bearer a", second: bypass},
		"Authorization, public":      {request: "Authorization: Bearer a", response: "Cache-Control: public", second: hit},
		"Authorization, s-maxage":    {request: "Authorization: Bearer a", response: "Cache-Control: s-maxage=60", second: bypass},
		"Authorization in Vary":      {request: "Authorization: Bearer a", response: "Vary: Authorization", second: bypass},
		"Authorization in VaryBy":    {request: "Authorization: Bearer a", cfg: httpcache.Config{VaryBy: []string{"authorization"}}, second: hit},
		"Authorization allowed":      {request: "Authorization: Bearer a", cfg: httpcache.Config{AllowAuthorization: true}, second: hit},
		"Cookie":                     {request: "Cookie: a=b", second: bypass},
		"Cookie, public":             {request: "Cookie: a=b", response: "Cache-Control: public", second: hit},
		"Cookie in Vary":             {request: "Cookie: a=b", response: "Vary: Cookie", second: hit},
		"Cookie in VaryBy":           {request: "Cookie: a=b", cfg: httpcache.Config{VaryBy: []string{"Cookie"}}, second: hit},
		"Cookie allowed":             {request: "Cookie: a=b", cfg: httpcache.Config{AllowCookies: true}, second: hit},
		"Authorization, cookies all": {request: "Cookie: a=b;Authorization: x", cfg: httpcache.Config{AllowCookies: true}, second: bypass},
		"no key":                     {cfg: httpcache.Config{Key: func(*http.Request) string { return "" }}, second: bypass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
				for name, lines := range header(split(tc.response)...) {
					w.Header()[name] = lines
				}
				if tc.status != 0 {
					w.WriteHeader(tc.status)
				}
			}}
			if tc.method == "" {
				tc.method = http.MethodGet
			}
			h := httpcache.Middleware(openMemory(t), tc.cfg)(o)
			first := ask(t, h, tc.method, "/", split(tc.request)...)
			if got := first.Header.Get("X-Cache"); got == "HIT" {
				t.Errorf("first: got %q", got)
			}
			second := ask(t, h, tc.method, "/", split(tc.request)...)
			want(t, second, tc.second)
			if stored := strings.Contains(first.Header.Get("Cache-Status"), "stored"); stored != (tc.second == hit) {
				t.Errorf("first: got Cache-Status %q", first.Header.Get("Cache-Status"))
			}
			calls := int64(2)
			if tc.second == hit {
				calls = 1
			}
			if got := o.calls.Load(); got != calls {
				t.Errorf("calls: got %d, want %d", got, calls)
			}
		})
	}
}

func split(lines string) []string {
	if lines == "" {
		return nil
	}
	return strings.Split(lines, ";")
}

// TestFatGet sends a body with a GET: the handler may read it.
func TestFatGet(t *testing.T) {
	t.Parallel()
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(says("x"))
	for range 2 {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", strings.NewReader("a=b"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		want(t, w.Result(), "BYPASS")
	}
}

// TestCredentialsAndOthers: what is stored for others, and what is not public, is
// nothing for a request with credentials, nor the other way round.
func TestCredentialsAndOthers(t *testing.T) {
	t.Parallel()
	for _, credential := range []string{"Cookie: session=1", "Authorization: Bearer a"} {
		t.Run(strings.SplitN(credential, ":", 2)[0], func(t *testing.T) {
			t.Parallel()
			o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "for %s%s", r.Header.Get("Cookie"), r.Header.Get("Authorization"))
			}}
			h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
			get(t, h, "/", credential)
			r := get(t, h, "/")
			want(t, r, "MISS") // others may still store theirs
			if got := body(t, r); got != "for " {
				t.Errorf("got %q", got)
			}
			r = get(t, h, "/", credential)
			want(t, r, "BYPASS")
			if _, value, _ := strings.Cut(credential, ": "); body(t, r) != "for "+value {
				t.Error("the answer is for somebody else")
			}
			want(t, get(t, h, "/"), "HIT")
		})
	}
}

func TestOnlyIfCached(t *testing.T) {
	t.Parallel()
	o := says("x")
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
	if r := get(t, h, "/", "Cache-Control: only-if-cached"); r.StatusCode != http.StatusGatewayTimeout || o.calls.Load() != 0 {
		t.Errorf("got %d after %d calls, want 504", r.StatusCode, o.calls.Load())
	}
	get(t, h, "/")
	want(t, get(t, h, "/", "Cache-Control: only-if-cached"), "HIT")
}

func TestRequestNoStore(t *testing.T) {
	t.Parallel()
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(says("x"))
	want(t, get(t, h, "/", "Cache-Control: no-store"), "MISS")
	want(t, get(t, h, "/"), "MISS")
	want(t, get(t, h, "/", "Cache-Control: no-store"), "HIT")
}

func TestConditional(t *testing.T) {
	t.Parallel()
	const modified = "Mon, 02 Jan 2006 15:04:05 GMT"
	for name, tc := range map[string]struct {
		response, request string
		status            int
	}{
		"the tag":                   {`Etag: "a"`, `If-None-Match: "a"`, 304},
		"another":                   {`Etag: "a"`, `If-None-Match: "b"`, 200},
		"weak against strong":       {`Etag: "a"`, `If-None-Match: W/"a"`, 304},
		"strong against weak":       {`Etag: W/"a"`, `If-None-Match: "a"`, 304},
		"one of several":            {`Etag: "a"`, `If-None-Match: "x", W/"a"`, 304},
		"a comma in a tag":          {`Etag: "a,b"`, `If-None-Match: "x", "a,b"`, 304},
		"a part of a tag":           {`Etag: "a"`, `If-None-Match: "a,b"`, 200},
		"unquoted":                  {`Etag: "a"`, `If-None-Match: a`, 200},
		"any":                       {`Etag: "a"`, `If-None-Match: *`, 304},
		"not modified since":        {"Last-Modified: " + modified, "If-Modified-Since: " + modified, 304},
		"modified since":            {"Last-Modified: " + modified, "If-Modified-Since: Mon, 02 Jan 2006 15:04:04 GMT", 200},
		"no date":                   {"Last-Modified: " + modified, "If-Modified-Since: yesterday", 200},
		"the tag before the date":   {`Etag: "a";Last-Modified: ` + modified, `If-None-Match: "b";If-Modified-Since: ` + modified, 200},
		"no Last-Modified":          {"X: y", "If-Modified-Since: " + modified, 200},
		"not storable all the same": {`Etag: "a";Cache-Control: private`, `If-None-Match: "a"`, 304},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
				for name, lines := range header(split(tc.response)...) {
					w.Header()[name] = lines
				}
				w.Header().Set("Content-Type", "text/plain")
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader("body"))
			}}
			h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
			// The first is answered by the handler, the second from the cache.
			for i, when := range []string{"first", "second"} {
				r := get(t, h, "/", split(tc.request)...)
				if strings.Contains(tc.response, "private") && i > 0 {
					want(t, r, "BYPASS")
				} else {
					want(t, r, []string{"MISS", "HIT"}[i])
				}
				text := body(t, r)
				if r.StatusCode != tc.status || (text != "") != (tc.status == 200) {
					t.Errorf("%s: got %d %q, want %d", when, r.StatusCode, text, tc.status)
				}
				if tc.status == 304 && (r.Header.Get("Content-Length") != "" || r.Header.Get("Content-Type") != "") {
					t.Errorf("%s: got %v", when, r.Header)
				}
			}
			if r := get(t, h, "/"); !strings.Contains(tc.response, "private") && (body(t, r) != "body" || r.StatusCode != http.StatusOK) {
				t.Errorf("unconditional: got %d", r.StatusCode)
			}
		})
	}
}

func TestGeneratedTag(t *testing.T) {
	t.Parallel()
	text := "one"
	o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }}
	c := openMemory(t)
	h := httpcache.Middleware(c, plain(httpcache.Config{}))(o)
	key := get(t, h, "/").Header.Get("X-Cache-Key")
	tag := get(t, h, "/").Header.Get("Etag")
	if r := get(t, h, "/", "If-None-Match: "+tag); r.StatusCode != http.StatusNotModified || r.Header.Get("Etag") != tag {
		t.Errorf("got %d with %q, want 304 with %q", r.StatusCode, r.Header.Get("Etag"), tag)
	}
	for _, next := range []string{"one", "two"} { // the same body again, then another
		text = next
		if err := c.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		get(t, h, "/")
		if got := get(t, h, "/").Header.Get("Etag"); (got == tag) != (text == "one") {
			t.Errorf("%s: got %q after %q", text, got, tag)
		}
	}
}
