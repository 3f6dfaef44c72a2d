package httpcache_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/freshet-dev/freshet/cache/httpcache"
)

// speaks answers in the language that is asked for.
func speaks() *origin {
	return &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "accept-language")
		fmt.Fprintf(w, "in %s", r.Header.Get("Accept-Language"))
	}}
}

func TestVary(t *testing.T) {
	t.Parallel()
	for store, open := range stores() {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := open(t)

			o := speaks()
			h := httpcache.Middleware(c, plain(httpcache.Config{}))(o)
			languages := []string{"de", "fr", "de, fr", ""}
			ask := func(state string) (keys []string) {
				t.Helper()
				for _, language := range languages {
					r := get(t, h, "/", "Accept-Language: "+language)
					want(t, r, state)
					if got := body(t, r); got != "in "+language {
						t.Errorf("%q: got %q", language, got)
					}
					keys = append(keys, r.Header.Get("X-Cache-Key"))
				}
				return keys
			}
			keys := ask("MISS")
			ask("HIT")
			if got := o.calls.Load(); got != int64(len(languages)) {
				t.Errorf("calls: got %d, want %d", got, len(languages))
			}
			// The first key leads to all: without it none is to be found again.
			if err := c.Delete(t.Context(), keys[0]); err != nil {
				t.Fatal(err)
			}
			for i, key := range ask("MISS") {
				if i > 0 && key == keys[i] {
					t.Errorf("%q: found again at %q", languages[i], key)
				}
			}
			keys = ask("HIT")
			// A variant's own key is its own.
			if err := c.Delete(t.Context(), keys[1]); err != nil {
				t.Fatal(err)
			}
			want(t, get(t, h, "/", "Accept-Language: de"), "HIT")
			want(t, get(t, h, "/", "Accept-Language: fr"), "MISS")
			if _, err := c.InvalidatePattern(t.Context(), httpcache.Pattern("/")); err != nil {
				t.Fatal(err)
			}
			ask("MISS")
		})
	}
}

// TestVaryIsAboutLines: two lines are not one line with a comma, for a handler
// that reads the first one.
func TestVaryIsAboutLines(t *testing.T) {
	t.Parallel()
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(speaks())
	get(t, h, "/", "Accept-Language: de,fr")
	if got := body(t, get(t, h, "/", "Accept-Language: de", "Accept-Language: fr")); got != "in de" {
		t.Errorf("got %q", got)
	}
}

// TestInconsistentVary has a handler that names a second header for some requests
// only, as those do that compress.
func TestInconsistentVary(t *testing.T) {
	t.Parallel()
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Add("Vary", "X-Level")
		}
		fmt.Fprintf(w, "%s %s", r.Header.Get("Accept-Encoding"), r.Header.Get("X-Level"))
	}}
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
	for _, state := range []string{"MISS", "HIT"} {
		for _, encoding := range []string{"br", "gzip"} {
			for _, level := range []string{"1", "2", "3"} {
				if encoding == "br" && level > "1" {
					continue
				}
				r := get(t, h, "/", "Accept-Encoding: "+encoding, "X-Level: "+level)
				want(t, r, state)
				if got := body(t, r); got != encoding+" "+level {
					t.Errorf("got %q, want %s %s", got, encoding, level)
				}
			}
		}
	}
}

func TestVaryBy(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]httpcache.Config{
		"default key": {VaryBy: []string{"x-tenant"}},
		"own key":     {VaryBy: []string{"x-tenant"}, Key: func(*http.Request) string { return "mine" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &origin{serve: func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("X-Tenant")) }}
			h := httpcache.Middleware(openMemory(t), cfg)(o)
			for _, state := range []string{"MISS", "HIT"} {
				for _, tenant := range []string{"a", "b"} {
					r := get(t, h, "/", "X-Tenant: "+tenant)
					want(t, r, state)
					if got := body(t, r); got != tenant {
						t.Errorf("got %q, want %q", got, tenant)
					}
				}
			}
		})
	}
}
