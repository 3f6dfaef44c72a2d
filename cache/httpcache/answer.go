package httpcache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of X-Cache.
const (
	xHit    = "HIT"
	xMiss   = "MISS"
	xBypass = "BYPASS"
	xStale  = "STALE"
)

// The reasons of Cache-Status for calling the handler.
const (
	fwdBypass   = "bypass"
	fwdURIMiss  = "uri-miss"
	fwdVaryMiss = "vary-miss"
)

// forwarded returns the parameters of Cache-Status for a call of the handler.
func forwarded(fwd, detail string) string {
	if detail == "" {
		return "; fwd=" + fwd
	}
	return "; fwd=" + fwd + detailed(detail)
}

func detailed(detail string) string { return "; detail=" + detail }

// sign sets the headers that say what the cache did.
func (x *exchange) sign(state, status string) {
	h := x.w.Header()
	h.Set("X-Cache", state)
	h.Add("Cache-Status", x.m.cfg.Name+status)
	if x.key != "" {
		h.Set("X-Cache-Key", x.shownKey())
	}
}

// shownKey returns the key as it is shown to clients.
func (x *exchange) shownKey() string {
	if !x.m.cfg.PlainKey {
		h := newDigest()
		h.add(x.key)
		return h.sum()
	}
	if strings.ContainsFunc(x.key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return strconv.QuoteToASCII(x.key)
	}
	return x.key
}

// answer answers with a stored response.
func (x *exchange) answer(r *response) {
	now := time.Now()
	h := x.w.Header()
	for _, f := range r.header {
		h[f.name] = slices.Clone(f.lines)
	}
	h.Set("Age", strconv.FormatInt(int64(r.currentAge(now)/time.Second), 10))
	state, left := xHit, r.ttl-now.Sub(r.stored)
	if x.m.cfg.StaleIfError > 0 && left <= 0 {
		state = xStale
	} else {
		left = max(left, 0)
	}
	x.sign(state, "; hit; ttl="+strconv.FormatInt(int64(left/time.Second), 10))
	if r.status == http.StatusOK && unmodified(x.r.Header, r.get("Etag"), r.get("Last-Modified")) {
		notModified(x.w)
		return
	}
	if r.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	x.w.WriteHeader(r.status)
	if !x.facts.head && len(r.body) > 0 {
		_, _ = x.w.Write(r.body) // the client has gone
	}
}

// notModified answers that the client has the response already.
func notModified(w http.ResponseWriter) {
	h := w.Header()
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding"} {
		delete(h, name)
	}
	if h.Get("Etag") != "" {
		delete(h, "Last-Modified")
	}
	w.WriteHeader(http.StatusNotModified)
}
