package httpcache

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Config configures Middleware. The zero value works, and is safe.
type Config struct {
	// TTL is how long a response is kept at most; what it says of itself can
	// shorten that. Defaults to 5m.
	TTL time.Duration
	// VaryBy names request headers whose values tell responses apart, for handlers
	// that do not say so in Vary. Defaults to none.
	VaryBy []string
	// Key returns the key of a request, for when it must be nameable exactly; an
	// empty key keeps the request out of the cache. It has to tell apart all that
	// the handler tells apart, but for VaryBy and Vary, which hold beside it.
	// Defaults to the function of that name.
	Key func(*http.Request) string
	// Tags returns the tags of a request's response. They must depend on no more
	// than the key does. Defaults to none. See also the function Tag.
	Tags func(*http.Request) []string
	// StatusCodes are the statuses that are stored; an error is only if it is
	// named here. Defaults to 200, 203 and 204.
	StatusCodes []int
	// MaxBody is the size in bytes above which a body is not stored. So much is
	// held in memory for each response that is being stored. Defaults to 1 MiB.
	MaxBody int
	// StaleIfError is for how long beyond its TTL a response may be served when
	// the handler answers with a status of 500 or above. What was invalidated is
	// never served. Defaults to 0: not at all.
	StaleIfError time.Duration
	// AllowAuthorization treats requests with an Authorization header like others.
	// Set it where who may see the response is checked before this middleware, and
	// all who may see the same. Defaults to false.
	AllowAuthorization bool
	// AllowCookies treats requests with cookies like others. Set it where the
	// handler ignores them. Defaults to false.
	AllowCookies bool
	// PlainKey shows the key as it is in X-Cache-Key, for development. Defaults to
	// false: it is hashed.
	PlainKey bool
	// Name is the cache's name in Cache-Status, a token of RFC 8941. Defaults to
	// freshet.
	Name string
}

const (
	defaultTTL     = 5 * time.Minute
	defaultMaxBody = 1 << 20
)

// setDefaults also checks: a mistake here is one in the program.
func (c *Config) setDefaults() {
	if c.TTL < 0 || c.TTL > 0 && c.TTL < time.Millisecond || c.StaleIfError < 0 {
		panic(fmt.Sprintf("httpcache: TTL %v or StaleIfError %v cannot be", c.TTL, c.StaleIfError))
	}
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	if c.MaxBody <= 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.StatusCodes == nil {
		c.StatusCodes = []int{http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusNoContent}
	}
	for _, status := range c.StatusCodes {
		if status < 200 || status > 599 || status == http.StatusPartialContent || status == http.StatusNotModified {
			panic(fmt.Sprintf("httpcache: a response with status %d cannot be stored", status))
		}
	}
	if c.Name == "" {
		c.Name = "freshet"
	}
	names := slices.Clone(c.VaryBy)
	for i := range names {
		names[i] = http.CanonicalHeaderKey(names[i])
	}
	slices.Sort(names)
	c.VaryBy = slices.Compact(names)
}
