// Package tracing makes OpenTelemetry spans of a cache's calls and loads.
//
//	c, err := cache.Open(ctx, url, cache.Config{Observer: tracing.New(tracing.Config{})})
//
// Each call of the cache is a span, named "cache" and the operation, such as
// "cache get_or_set"; a loader that runs is a span "cache load" below the call
// that began it, and what the loader asks the database lies below that. Of a
// key, a span has the part before the first colon alone, as the rest may be
// personal data.
//
// It imports OpenTelemetry's API only; without an SDK set up it does nothing.
package tracing
