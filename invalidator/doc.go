// Package invalidator is the worker that takes row changes off the change
// stream, turns them into cache keys, patterns and tags by the rules, removes
// those from Redis, and moves the position that says how far the cache is
// known to be fresh.
//
// One invalidator of an instance is active; any number wait and take over. The
// position is kept on the Redis masters beside the effects it vouches for and
// never passes anything that has not been applied, a hole in the stream
// included. What cannot be evaluated exactly is invalidated more broadly.
//
// DESIGN.md states the guarantees and what happens in each failure.
package invalidator
