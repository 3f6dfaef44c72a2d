// Package warmer fills keys again that were just invalidated: it takes warm tasks off
// their stream, asks Postgres under a rate limit that all warmers share, and stores
// the answer.
//
// It takes a key's lease with a new token before it asks, and stores by compare, so
// that an invalidation in between voids what it read. Losing a task costs a miss,
// nothing else; any number of warmers may run.
package warmer
