package httpcache

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/cache"
)

const prefix = "api:"

// Key returns the default key of a request, api:{path}:{hash}. GET and HEAD share
// it. The path is decoded and then percent-encoded but for RFC 3986's unreserved
// characters and slashes, as the filter urlencode of rules does it. The hash
// covers the host, whether the connection is encrypted, the query with its
// parameters sorted by name, the headers of varyBy, and the path as the client
// wrote it where that is another one. Below an http.StripPrefix the path in the
// key, and so in rules, is what is left of it.
func Key(r *http.Request, varyBy ...string) string {
	h := newDigest()
	h.add(strings.ToLower(r.Host))
	h.add(r.URL.RawPath)
	if asked := askedPath(r); asked != r.URL.EscapedPath() {
		h.add(asked) // below an http.StripPrefix
	} else {
		h.add("")
	}
	if r.TLS != nil {
		h.add("https")
	} else {
		h.add("")
	}
	h.addQuery(r.URL.RawQuery)
	for _, name := range varyBy {
		h.addHeader(r, name)
	}
	return prefix + escapePath(r.URL.Path) + ":" + h.sum()
}

// Pattern returns the Redis glob that matches the keys of a path with all
// queries, hosts and variants, for InvalidatePattern and Invalidation.Patterns.
// The path is as URL.Path has it: decoded, and no pattern itself. In a rule the
// same is api:/orders/{id}:*, or api:/orders* for all paths that begin so.
func Pattern(path string) string {
	return cache.EscapePattern(prefix+escapePath(path)) + ":*"
}

// askedPath returns the path that the client asked for, before any handler
// changed it.
func askedPath(r *http.Request) string {
	asked := r.RequestURI
	if asked == "" { // not from a server
		return r.URL.EscapedPath()
	}
	if !strings.HasPrefix(asked, "/") {
		u, err := url.ParseRequestURI(asked)
		if err != nil {
			return asked
		}
		return u.EscapedPath()
	}
	asked, _, _ = strings.Cut(asked, "?")
	return asked
}

// escapePath encodes a decoded path. No two have the same encoding.
func escapePath(path string) string {
	const digits = "0123456789ABCDEF"
	plain := func(b byte) bool {
		return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("/-._~", b) >= 0
	}
	i := 0
	for i < len(path) && plain(path[i]) {
		i++
	}
	if i == len(path) {
		return path
	}
	out := append(make([]byte, 0, len(path)+16), path[:i]...)
	for ; i < len(path); i++ {
		if b := path[i]; plain(b) {
			out = append(out, b)
		} else {
			out = append(out, '%', digits[b>>4], digits[b&15])
		}
	}
	return string(out)
}

// digest hashes texts so that no two lists of texts go in alike.
type digest struct{ buf []byte }

func newDigest() digest { return digest{buf: make([]byte, 0, 256)} }

func (d *digest) add(text string) { d.buf = appendText(d.buf, text) }

func (d *digest) number(n int) { d.buf = binary.AppendUvarint(d.buf, uint64(n)) }

// addQuery adds the parameters sorted by name; those of one name stay in their
// order, which handlers can see. A query that url.ParseQuery refuses in part is
// added as it stands, as parsers differ about it.
func (d *digest) addQuery(raw string) {
	if raw == "" {
		d.number(0)
		return
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		d.number(1)
		d.add("")
		d.number(0) // no name is without a value
		d.add(raw)
		return
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	d.number(len(names))
	for _, name := range names {
		d.add(name)
		d.number(len(values[name]))
		for _, value := range values[name] {
			d.add(value)
		}
	}
}

// addHeader adds a header of the request with all its lines as they are.
func (d *digest) addHeader(r *http.Request, name string) {
	name = http.CanonicalHeaderKey(name)
	lines := r.Header[name]
	if name == "Host" { // net/http keeps it elsewhere
		lines = []string{r.Host}
	}
	d.add(name)
	d.number(len(lines))
	for _, line := range lines {
		d.add(line)
	}
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// sum returns 160 bits as 32 letters and digits.
func (d *digest) sum() string {
	sum := sha256.Sum256(d.buf)
	return lowerBase32.EncodeToString(sum[:20])
}
