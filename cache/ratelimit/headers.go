package ratelimit

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// unknown reports whether nobody has counted: the limiter failed open or closed,
// or is closed.
func (rs Results) unknown() bool { return len(rs) == 0 || rs[0].ResetAt.IsZero() }

// setHeaders tells the client its limits and what is left of them.
func setHeaders(h http.Header, d Decision) {
	if len(d.Results) == 0 {
		return
	}
	h.Set("RateLimit-Policy", policies(d.Results))
	tightest := d.Results.Tightest()
	if !tightest.Allowed && tightest.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(seconds(tightest.RetryAfter), 10))
	}
	if d.Results.unknown() {
		return
	}
	h.Set("RateLimit", remainders(d.Results))
	// Lower case after the first letter is what net/http makes of it; names are
	// compared without case.
	h.Set("X-RateLimit-Limit", strconv.Itoa(tightest.Limit.Max))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(tightest.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(tightest.ResetAt.Add(time.Second-1-slack).Unix(), 10))
}

// policies is the list that RateLimit-Policy holds. It has no parts of a second,
// so that 5 in 100 ms becomes 5 in 1 s: whoever keeps to that keeps to both.
func policies(rs Results) string {
	var b []byte
	for i := range rs {
		l := &rs[i].Limit
		b = appendName(b, l.policy())
		b = strconv.AppendInt(append(b, ";q="...), int64(l.Max), 10)
		b = strconv.AppendInt(append(b, ";w="...), seconds(l.Window), 10)
	}
	return string(b)
}

// remainders is the list that RateLimit holds. Where the limit denied, t is
// when to try again, as the draft wants it beside Retry-After.
func remainders(rs Results) string {
	var b []byte
	for i := range rs {
		r := &rs[i]
		after := r.ResetAfter
		if !r.Allowed {
			after = r.RetryAfter
		}
		b = appendName(b, r.Limit.policy())
		b = strconv.AppendInt(append(b, ";r="...), int64(r.Remaining), 10)
		b = strconv.AppendInt(append(b, ";t="...), seconds(after), 10)
	}
	return string(b)
}

// appendName appends a string of RFC 9651 to a list.
func appendName(b []byte, name string) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(b, '"')
	for _, c := range []byte(name) {
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

// slack is what whole seconds leave out: the microsecond that a sliding window
// counts longer, as "in 61 s" for a minute would puzzle people.
const slack = time.Microsecond

// seconds rounds up, so that nobody comes back too early.
func seconds(d time.Duration) int64 { return int64((d - slack + time.Second - 1) / time.Second) }

// problem is the body of a refusal: RFC 9457, with the type and the member
// violated-policies of draft-ietf-httpapi-ratelimit-headers-10, and two members
// for clients that know neither.
type problem struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail,omitempty"`
	Violated []string `json:"violated-policies,omitempty"`

	Error      string `json:"error"`
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds
}

// refuse is the default of MiddlewareConfig.Refuse. What went wrong inside is
// not the client's business.
func refuse(w http.ResponseWriter, _ *http.Request, d Decision) {
	p := problem{Type: "about:blank", Title: http.StatusText(d.Status), Status: d.Status}
	switch d.Status {
	case http.StatusTooManyRequests:
		p.Type = "https://iana.org/assignments/http-problem-types#quota-exceeded"
		p.Error = "rate_limited"
		for _, r := range d.Results {
			if !r.Allowed {
				p.Violated = append(p.Violated, r.Limit.policy())
			}
		}
	case http.StatusBadRequest:
		p.Error, p.Detail = "no_identifier", "The request does not say on whose account it goes."
	case http.StatusServiceUnavailable:
		p.Error = "rate_limiter_unavailable"
	default:
		p.Error = "internal_error"
	}
	if after := d.Results.Tightest().RetryAfter; after > 0 {
		p.RetryAfter = seconds(after)
		p.Detail = "Try again in " + plural(p.RetryAfter, "second") + "."
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte("{}") // cannot be: strings and numbers
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(d.Status)
	_, _ = w.Write(body) // the client may have gone
}

func plural(n int64, unit string) string {
	text := strconv.FormatInt(n, 10) + " " + unit
	if n != 1 {
		text += "s"
	}
	return strings.TrimSpace(text)
}
