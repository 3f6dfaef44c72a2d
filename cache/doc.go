// Package cache is how Go services read and fill a Redis that Freshet keeps
// fresh, and how Freshet's own workers change it. All keys and scripts of the
// protocol are here, so that readers, fillers and workers cannot disagree.
//
// [Open] connects to a single Redis, a Redis Cluster, a Sentinel group or, with
// memory://, to a store in the process. [GetOrSet] is the call to use for values
// that come from the database:
//
//	order, err := cache.GetOrSet(ctx, c, "order:42", 10*time.Minute,
//		func(ctx context.Context) (Order, error) { return loadOrder(ctx, 42) })
//
// Every fill is fenced by a lease, a random token kept in Redis beside the key
// while the loader runs. An invalidation removes the lease before the value, so
// that a loader that read the database before a change can never store what it
// read after that change has been applied. Its caller still gets the value.
//
// The loader's view of the database must begin after the lease was taken and
// must not see uncommitted rows. Inside an open REPEATABLE READ or SERIALIZABLE
// transaction, and inside any transaction that has written, pass [NoFill].
//
// A loader may read other keys of the cache, with the context that it is given: what
// an invalidation under way has yet to remove goes into no other key; see [GetOrSet].
//
// [GetOrSetMany] does so for many keys with one query, [For] binds key, TTL, tags
// and the rest to a type once, and [Memoize] wraps a function.
//
// Values are stored as the codec writes them, plain JSON by default, under the
// application's own names: any other client can read them. Entries stored with
// [WithTags], [WithFailSafe] or compression carry a short header that only this
// library reads. All bookkeeping is in keys that begin with "freshet:".
//
// A read may ask for a bound: [AtLeast] for what had committed when a token was
// taken, [Within] for an age. It is then served from the cache only where Redis
// holds the proof, and otherwise from the database.
//
// When Redis is slow or gone, loading calls go to their loaders, one for each key
// and Config.MaxLoads at once, and other calls return [ErrUnavailable]; nothing
// has to be done for it to recover.
//
// [Applier] is the other side: it removes keys, and keeps the position that
// says how far the stream of changes has been applied on the same Redis
// masters. DESIGN.md beside this file states the protocols and what happens in
// each failure.
package cache
