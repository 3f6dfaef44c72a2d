package httpcache

import (
	"net/http"
	"sync/atomic"

	"github.com/freshet-dev/freshet/cache"
)

// maxLeading is how many responses are made for the cache at the same time at
// most; requests beyond it go to the handler. It is below the number of loads
// that a Cache permits by default, so that loaders which handlers call themselves
// have room.
const maxLeading = 128

// Middleware returns a middleware that answers requests from the cache, and
// stores what the handler answers to those that it cannot. The package's comment
// says which. It panics for a configuration that cannot work.
//
// Put it inside of what checks who may see a response or sets headers for each
// request, and outside of what computes the response.
func Middleware(c *cache.Cache, cfg Config) func(http.Handler) http.Handler {
	cfg.setDefaults()
	return func(next http.Handler) http.Handler {
		m := &middleware{c: c, cfg: cfg, next: next}
		m.options = []cache.CallOption{cache.WithNegativeTTL(-1)}
		if cfg.StaleIfError > 0 {
			m.options = append(m.options, cache.WithFailSafe(cfg.StaleIfError))
		}
		return m
	}
}

// middleware answers the requests for one handler.
type middleware struct {
	c       *cache.Cache
	cfg     Config
	next    http.Handler
	options []cache.CallOption

	passes  passes
	leading atomic.Int64 // loads under way
}

var _ http.Handler = (*middleware)(nil)

// ServeHTTP answers a request.
func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{m: m, w: w, r: r}
	facts, bypass := m.cfg.examine(r)
	if bypass != "" {
		x.forward(xBypass, forwarded(fwdBypass, bypass))
		return
	}
	x.facts = facts
	x.key = m.key(r)
	if x.key == "" {
		x.forward(xBypass, forwarded(fwdBypass, "key"))
		return
	}
	x.serve()
}

func (m *middleware) key(r *http.Request) string {
	if m.cfg.Key != nil {
		return m.cfg.Key(r)
	}
	return Key(r, m.cfg.VaryBy...)
}

// callOptions returns the options for a request's calls.
func (m *middleware) callOptions(r *http.Request) []cache.CallOption {
	if m.cfg.Tags == nil {
		return m.options
	}
	tags := m.cfg.Tags(r)
	if len(tags) == 0 {
		return m.options
	}
	return append(m.options[:len(m.options):len(m.options)], cache.WithTags(tags...))
}
