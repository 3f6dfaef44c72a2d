package httpcache

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"time"
)

// unstored are headers of a response that are not kept: those of one connection
// (RFC 9110 §7.6.1), those that are computed for each answer, and those that say
// what caches did.
var unstored = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authentication-Info": true,
	"Proxy-Authorization": true, "Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Content-Length": true, "Age": true, "Cache-Status": true, "X-Cache": true, "X-Cache-Key": true,
}

// keep returns the headers to store: those that the handler set. What was there
// before it was called belongs to the request, not to the response: an
// identifier of the request, a limiter's counts.
func keep(before, after http.Header) []field {
	connection := tokens(after["Connection"])
	for i := range connection {
		connection[i] = http.CanonicalHeaderKey(connection[i])
	}
	var fields []field
	for name, lines := range after {
		was, had := before[name]
		if unstored[name] || slices.Contains(connection, name) || had && slices.Equal(was, lines) {
			continue
		}
		fields = append(fields, field{name: name, lines: slices.Clone(lines)})
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields
}

// set sets a header of a response that is being made.
func (r *response) set(name, value string) {
	for i := range r.header {
		if r.header[i].name == name {
			r.header[i].lines = []string{value}
			return
		}
	}
	r.header = append(r.header, field{name: name, lines: []string{value}})
}

// complete adds what net/http or a client would miss in a response with its body.
func (r *response) complete() {
	if r.get("Date") == "" {
		r.set("Date", r.stored.UTC().Format(http.TimeFormat))
	}
	if len(r.body) > 0 && !r.names("Content-Type") && r.get("Content-Encoding") == "" {
		r.set("Content-Type", http.DetectContentType(r.body))
	}
	if r.status == http.StatusOK && !r.names("Etag") {
		r.set("Etag", r.entityTag())
	}
}

func (r *response) names(name string) bool {
	return slices.ContainsFunc(r.header, func(f field) bool { return f.name == name })
}

// entityTag makes a tag of the body. It is a weak one: middlewares outside may
// compress the body and leave the header as it is.
func (r *response) entityTag() string {
	h := newDigest()
	h.add(r.get("Content-Type"))
	h.add(r.get("Content-Encoding"))
	body := sha256.Sum256(r.body)
	h.add(string(body[:]))
	return `W/"` + h.sum() + `"`
}

// unmodified reports whether a client has this very response already, by the
// conditions of its request (RFC 9110 §13.2.2).
func unmodified(request http.Header, etag, lastModified string) bool {
	if lines := request["If-None-Match"]; len(lines) > 0 {
		return matchesTag(lines, etag)
	}
	since := request.Get("If-Modified-Since")
	if since == "" || lastModified == "" {
		return false
	}
	modified, err := http.ParseTime(lastModified)
	if err != nil {
		return false
	}
	known, err := http.ParseTime(since)
	return err == nil && !modified.Truncate(time.Second).After(known)
}

// matchesTag compares weakly, as If-None-Match wants it.
func matchesTag(lines []string, etag string) bool {
	if len(lines) == 1 && strings.TrimSpace(lines[0]) == "*" {
		return true
	}
	opaque := strings.TrimPrefix(etag, "W/")
	if len(opaque) < 2 || opaque[0] != '"' {
		return false
	}
	for _, line := range lines {
		for rest := line; rest != ""; {
			start := strings.IndexByte(rest, '"')
			if start < 0 {
				break
			}
			length := strings.IndexByte(rest[start+1:], '"')
			if length < 0 {
				break
			}
			end := start + length + 2
			if rest[start:end] == opaque {
				return true
			}
			rest = rest[end:]
		}
	}
	return false
}

// conditional are the headers that make a GET conditional.
var conditional = []string{"If-None-Match", "If-Modified-Since"}

// unconditional returns the request without its conditions: the handler's whole
// response is wanted.
func unconditional(r *http.Request) *http.Request {
	for _, name := range conditional {
		if _, has := r.Header[name]; !has {
			continue
		}
		r.Header = r.Header.Clone()
		for _, name := range conditional {
			delete(r.Header, name)
		}
		break
	}
	return r
}
