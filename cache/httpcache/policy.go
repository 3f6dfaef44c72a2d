package httpcache

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// facts are what a request says that matters here.
type facts struct {
	// authorization and cookie say that the request has such, and that neither
	// the configuration nor the key takes care of it.
	authorization, cookie bool
	noStore, onlyIfCached bool
	head                  bool
}

// examine reads a request. bypass says why it is none for the cache, empty if it
// is one.
func (c *Config) examine(r *http.Request) (f facts, bypass string) {
	h := r.Header
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return f, "method"
	case r.ContentLength != 0:
		return f, "body" // a handler may read it, and the key does not
	}
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-Unmodified-Since", "Upgrade"} {
		if _, has := h[name]; has {
			return f, strings.ToLower(name)
		}
	}
	_, f.authorization = h["Authorization"]
	_, f.cookie = h["Cookie"]
	f.authorization = f.authorization && !c.AllowAuthorization && !slices.Contains(c.VaryBy, "Authorization")
	f.cookie = f.cookie && !c.AllowCookies && !slices.Contains(c.VaryBy, "Cookie")
	d := parseCacheControl(h)
	f.noStore, f.onlyIfCached, f.head = d.noStore, d.onlyIfCached, r.Method == http.MethodHead
	return f, ""
}

// credentials reports whether the response may be meant for one user.
func (f facts) credentials() bool { return f.authorization || f.cookie }

// plan is what becomes of a response.
type plan struct {
	refused   string // why it is not stored; empty if it is
	personal  bool   // it would be stored if the request had no credentials
	ttl       time.Duration
	public    bool     // it may answer requests with credentials
	varies    []string // the headers of the request that it varies by, sorted
	perCookie bool     // Cookie is among them
}

// judge decides what becomes of a response. before is the header as it was when
// the handler was called.
func (c *Config) judge(f facts, status int, h http.Header, now time.Time) plan {
	d := parseCacheControl(h)
	p := plan{public: d.public}
	p.ttl, p.refused = c.lifetime(h, d, now)
	vary := tokens(h["Vary"])
	length, err := strconv.Atoi(h.Get("Content-Length"))
	switch {
	case !slices.Contains(c.StatusCodes, status):
		p.refused = "status"
	case has(h, "Set-Cookie"):
		p.refused = "set-cookie"
	case d.noStore:
		p.refused = "no-store"
	case d.private:
		p.refused = "private"
	case d.noCache:
		p.refused = "no-cache"
	case slices.Contains(vary, "*"):
		p.refused = "vary"
	case has(h, "Trailer"):
		p.refused = "trailer"
	case has(h, "Content-Range"):
		p.refused = "content-range"
	case err == nil && length > c.MaxBody:
		p.refused = "size"
	case eventStream(h.Get("Content-Type")):
		p.refused = "event-stream"
	}
	if p.refused != "" {
		return p
	}
	p.varies = c.variesBy(vary)
	p.perCookie = slices.Contains(p.varies, "Cookie")
	switch {
	case f.authorization && !p.public:
		p.refused, p.personal = "authorization", true
	case f.cookie && !p.public && !p.perCookie:
		p.refused, p.personal = "cookie", true
	}
	return p
}

func has(h http.Header, name string) bool { return len(h[name]) > 0 }

func eventStream(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "text/event-stream"
}

// variesBy returns the headers that tell responses apart beside the key.
func (c *Config) variesBy(vary []string) []string {
	var names []string
	if c.Key != nil { // the default key has them
		names = append(names, c.VaryBy...)
	}
	for _, name := range vary {
		name = http.CanonicalHeaderKey(name)
		if c.Key != nil || !slices.Contains(c.VaryBy, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lifetime returns how long a response may be kept by its own account: s-maxage
// before max-age before Expires (RFC 9111 §4.2.1), less its age.
func (c *Config) lifetime(h http.Header, d directives, now time.Time) (ttl time.Duration, refused string) {
	ttl = c.TTL
	switch {
	case d.hasSMaxAge:
		ttl = d.sMaxAge - seconds(h.Get("Age"))
	case d.hasMaxAge:
		ttl = d.maxAge - seconds(h.Get("Age"))
	case has(h, "Expires"):
		at, err := http.ParseTime(h.Get("Expires"))
		if err != nil {
			return 0, "expired" // RFC 9111 §5.3
		}
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		ttl = at.Sub(now) - seconds(h.Get("Age"))
	}
	if ttl < time.Millisecond {
		return 0, "expired"
	}
	return min(ttl, c.TTL), ""
}
