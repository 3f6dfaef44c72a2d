package ratelimit

import (
	"fmt"
	"net/http"
	"slices"
)

// MiddlewareConfig configures Middleware. Key and Limits are required.
type MiddlewareConfig struct {
	// Key says on whose account a request goes: ByIP, ByHeader, ByUser, FirstOf,
	// or your own.
	Key KeyFunc
	// Limits are what a request must be admitted by, all of them. If there are
	// several, each needs a name.
	Limits []Limit
	// LimitsFor returns the limits of one request, for plans that differ.
	// Defaults to Limits, which is not needed then. A request without limits is
	// let through.
	LimitsFor func(*http.Request) []Limit
	// Endpoint says what a request is for; each endpoint is counted by itself.
	// It must not be what clients can make up, such as a path: they would find a
	// fresh limit under each. Defaults to the pattern of the ServeMux that called
	// this middleware, and "all" outside of one.
	Endpoint func(*http.Request) string
	// Shadow decides, counts and reports, but refuses nothing and sets no
	// headers, to try limits out. Defaults to false.
	Shadow bool
	// OnDecision is called once for each request, before it is answered.
	// Defaults to nothing.
	OnDecision func(*http.Request, Decision)
	// Refuse answers a refused request, after the headers have been set. Defaults
	// to a problem document as RFC 9457 has it.
	Refuse func(http.ResponseWriter, *http.Request, Decision)
}

// Decision is what the middleware made of a request.
type Decision struct {
	// Identifier and Endpoint are what was counted. Identifier is empty if Key
	// found none.
	Identifier, Endpoint string
	// Results are what the limits said, in their order.
	Results Results
	// Status is the status the request was refused with: 429 for one too many,
	// 400 for one without identifier, 503 for a limiter that does not answer and
	// fails closed, 500 for limits that cannot be. It is 0 if it was let through.
	// In shadow mode it says what would have been.
	Status int
	// Err is what failed, nil if nothing did.
	Err error
}

// Middleware limits the requests that reach a handler. Responses carry
// RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-10,
// X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset (in seconds
// since 1970) of the tightest limit, and a refusal Retry-After.
//
// It panics if Key is missing, if there are no limits, or if one of Limits
// cannot be enforced.
func Middleware(l *Limiter, cfg MiddlewareConfig) func(http.Handler) http.Handler {
	cfg.check()
	if cfg.LimitsFor == nil {
		limits := slices.Clone(cfg.Limits)
		cfg.LimitsFor = func(*http.Request) []Limit { return limits }
	}
	if cfg.Endpoint == nil {
		cfg.Endpoint = patternOf
	}
	if cfg.Refuse == nil {
		cfg.Refuse = refuse
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d := cfg.decide(l, r)
			if cfg.OnDecision != nil {
				cfg.OnDecision(r, d)
			}
			if cfg.Shadow {
				next.ServeHTTP(w, r)
				return
			}
			setHeaders(w.Header(), d)
			if d.Status != 0 {
				cfg.Refuse(w, r, d)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (cfg *MiddlewareConfig) check() {
	if cfg.Key == nil {
		panic("ratelimit: MiddlewareConfig.Key is missing")
	}
	if cfg.LimitsFor == nil {
		if err := checkPolicies(cfg.Limits); err != nil {
			panic("ratelimit: MiddlewareConfig.Limits: " + err.Error())
		}
	}
}

// checkPolicies returns what is wrong with limits whose names go into headers.
func checkPolicies(limits []Limit) error {
	if err := checkAll(limits, 1); err != nil {
		return err
	}
	for i, l := range limits {
		for _, other := range limits[:i] {
			if l.policy() == other.policy() {
				return fmt.Errorf("%w: %v and %v need different names", ErrLimit, other, l)
			}
		}
	}
	return nil
}

func patternOf(r *http.Request) string { return or(r.Pattern, "all") }

// decide asks the limiter about a request.
func (cfg *MiddlewareConfig) decide(l *Limiter, r *http.Request) Decision {
	d := Decision{Endpoint: cfg.Endpoint(r)}
	limits := cfg.LimitsFor(r)
	if len(limits) == 0 {
		return d
	}
	if d.Err = checkPolicies(limits); d.Err != nil {
		d.Status = http.StatusInternalServerError
		return d
	}
	if d.Identifier, d.Err = cfg.Key(r); d.Err == nil && d.Identifier == "" {
		d.Err = ErrIdentifier
	}
	if d.Err != nil {
		d.Status = http.StatusBadRequest
		return d
	}
	if len(limits) == 1 {
		var result Result
		result, d.Err = l.Allow(r.Context(), d.Identifier, d.Endpoint, limits[0])
		d.Results = Results{result}
	} else {
		d.Results, d.Err = l.AllowAll(r.Context(), d.Identifier, d.Endpoint, limits...)
	}
	if !d.Results.Allowed() {
		d.Status = http.StatusTooManyRequests
		if d.Err != nil && d.Results.unknown() {
			d.Status = http.StatusServiceUnavailable
		}
	}
	return d
}
