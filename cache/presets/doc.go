// Package presets has the keys, lifetimes, typed caches and invalidations of a
// production-management application: users, sessions, orders, clients, inventory,
// dashboards, metrics and API responses. It is written with the public API of
// package cache alone, so it is also the example to copy for another
// application's keys.
//
// Each kind of value has three things, and all of them build its key in one
// place:
//
//   - a key builder, for programs that share the Redis and for rules;
//   - a view, a [cache.Typed] with the key and the lifetime said once;
//   - an invalidation, which removes what a changed row makes stale.
//
// The views are generic over the application's own types and ids:
//
//	orders := presets.Orders[Order, int64](c)
//	order, err := orders.GetOrSet(ctx, 42, loadOrder)
//
// Ids are put into keys as fmt prints them. For strings, integers and UUIDs with
// a String method that is Postgres' text form, so that rules render the same
// keys. Text ids must not hold colons: the user "7:permissions" and the
// permissions of user 7 would have one key.
//
// Where Freshet runs with the rules of deploy/freshet.yaml, all of this is
// invalidated by the database's own changes, and no program needs the Invalidate
// functions. They are for an application without Freshet, and for tests; they
// remove what those rules remove. The rules, these keys and the keys that other
// programs use are one list: a test compares the first two.
package presets
