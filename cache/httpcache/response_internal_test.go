package httpcache

import (
	"bytes"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

func sample() *response {
	r := &response{
		status: 203, body: []byte("{\"a\":\"\u2028<>\"}\x00\xff"), stored: time.UnixMilli(1_700_000_000_123), ttl: 90 * time.Second, age: 3 * time.Second,
		public: true, perCookie: true, varies: []string{"Accept", "Cookie"},
		header: []field{{"Content-Type", []string{"text/plain"}}, {"X-None", nil}, {"X-Two", []string{"", "b"}}},
	}
	r.match, r.nonce = [16]byte{1, 2, 15: 16}, [8]byte{7: 9}
	return r
}

func TestStoredForm(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*response{
		"full":  sample(),
		"empty": {status: 204, stored: time.UnixMilli(0), body: []byte{}},
	} {
		raw, err := stored{r}.MarshalCache()
		if err != nil {
			t.Fatal(err)
		}
		var got stored
		if err := got.UnmarshalCache(raw); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.response, r) {
			t.Errorf("%s: got %+v, want %+v", name, *got.response, *r)
		}
	}
}

// TestForeignValues: what something else has stored is no response.
func TestForeignValues(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`1`, `{}`, `""`, `"eA=="`, `"not base64"`, `[]`} {
		var got stored
		if err := got.UnmarshalCache([]byte(text)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
	raw, _ := stored{sample()}.MarshalCache()
	for i := range raw {
		var got stored
		if err := got.UnmarshalCache(raw[:i]); !errors.Is(err, errFormat) {
			t.Errorf("the first %d bytes were read: %v", i, err)
		}
	}
	if err := new(stored).UnmarshalCache(append(raw, 0)); !errors.Is(err, errFormat) {
		t.Errorf("a byte more was read: %v", err)
	}
}

// FuzzStoredForm reads anything, and what can be read is written as it was.
func FuzzStoredForm(f *testing.F) {
	raw, _ := stored{sample()}.MarshalCache()
	f.Add(raw)
	f.Add([]byte{version, 0})
	f.Add(append([]byte{version, 0}, bytes.Repeat([]byte{0xFF}, 40)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r, again stored
		if err := r.UnmarshalCache(bytes.Clone(raw)); err != nil {
			return
		}
		out, err := r.MarshalCache()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalCache(out); err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("got %+v, %v, want %+v", again, err, r)
		}
		if len(out) > len(raw) {
			t.Errorf("%d bytes became %d", len(raw), len(out))
		}
	})
}

// FuzzCacheControl compares the parser with a slower reading of the grammar where
// nothing is quoted, and reads anything.
func FuzzCacheControl(f *testing.F) {
	f.Add("max-age=60, private")
	f.Add(`private="a, no-store", s-maxage = 3,,public`)
	f.Add(`a="\"`)
	f.Add(`no-cache=,=,"`)
	f.Fuzz(func(t *testing.T, line string) {
		got := parseCacheControl(http.Header{"Cache-Control": {line}})
		if got.maxAge < 0 || got.sMaxAge < 0 {
			t.Errorf("negative: %+v", got)
		}
		if strings.Contains(line, `"`) {
			return
		}
		var want directives
		for part := range strings.SplitSeq(line, ",") {
			name, argument, _ := strings.Cut(part, "=")
			want.set(strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(argument))
		}
		if got != want {
			t.Errorf("%q: got %+v, want %+v", line, got, want)
		}
	})
}

func FuzzEntityTags(f *testing.F) {
	f.Add(`"a", W/"b"`, `"b"`)
	f.Add(`"`, `"`)
	f.Add(`*`, ``)
	f.Fuzz(func(t *testing.T, line, tag string) {
		if matchesTag([]string{line}, tag) && strings.TrimSpace(line) != "*" && !strings.Contains(line, strings.TrimPrefix(tag, "W/")) {
			t.Errorf("%q matches %q", tag, line)
		}
	})
}

// TestAbandoned: a loader that nobody calls the handler for ends at once, and does
// not count as a failing handler.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	f := newFill(&middleware{}, "k")
	close(f.gone)
	if _, err := f.load(t.Context()); !errors.Is(err, errAbandoned) || !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestPassesAreBounded(t *testing.T) {
	t.Parallel()
	var p passes
	for i := range 2 * maxPasses {
		p.mark(strings.Repeat("k", 1+i%7)+time.Duration(i).String(), i%2 == 0)
	}
	if got := len(p.byKey); got > maxPasses {
		t.Errorf("got %d keys", got)
	}
	p.mark("k", false)
	p.mark("k", true) // says less
	if all, personal := p.of("k"); !all || personal {
		t.Errorf("got %v, %v", all, personal)
	}
}
