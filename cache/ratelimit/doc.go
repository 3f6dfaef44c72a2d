// Package ratelimit limits how often somebody may do something, over all
// processes that share a Redis.
//
//	limiter, err := ratelimit.Open(ctx, "redis://localhost:6379", ratelimit.Config{})
//	…
//	r, err := limiter.Allow(ctx, "user:42", "/login", ratelimit.PerMinute(5))
//	if !r.Allowed {
//		return fmt.Errorf("try again in %v", r.RetryAfter)
//	}
//
// A [Limit] says how many units fit into a window, and by which [Algorithm].
// The default, a sliding window, admits never more than Max in any window of
// that length, by the clock of the Redis server, however many processes ask and
// whatever their clocks say. [FixedWindow] and [GCRA] need less memory, and admit
// more at the edges.
//
// [Limiter.AllowAll] asks several limits at once, such as ten a second and a
// thousand an hour: one script, one round trip, and what one of them denies is
// taken from none.
//
// A command that the client repeats because the reply was lost is not counted
// again: Redis knows each call for a second, and gives the first outcome. A
// denial is remembered in the process until it ends, so that a flood of requests
// that are refused costs Redis nothing.
//
// While Redis does not answer, each call returns [ErrUnavailable] and a Result
// that [Config.Failure] decides: by limits in this process's own memory (the
// default), everything, or nothing. After a few failures calls do not wait any
// more; one in half a second tries.
//
// [Middleware] does all this for an http.Handler, with [ByIP], [ByHeader] and
// [ByUser] to tell clients apart, the headers of the IETF's draft beside those
// that are in common use, and a shadow mode.
//
// [NewMemory] keeps everything in the process, for tests and development.
// DESIGN.md beside this file says what is in Redis, and what happens in each
// failure.
package ratelimit
