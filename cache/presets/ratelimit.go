package presets

import "github.com/freshet-dev/freshet/cache/ratelimit"

// RateLimitKey is ratelimit:{identifier}:{endpoint}: what package ratelimit keeps
// of whom, for the window. Characters that would make the key ambiguous are
// escaped, see [ratelimit.Key]. Nothing in it is to be read, or removed but by the
// limiter's Reset.
func RateLimitKey(identifier, endpoint string) string { return ratelimit.Key(identifier, endpoint) }
