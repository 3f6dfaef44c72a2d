package cache

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
)

// actor is a goroutine of one of the processes that does what its scenario says.
type actor struct {
	r       *play
	index   int
	process int
	spec    actorSpec
	cache   *Cache
	applier *redisApplier
	ctx     context.Context

	outcome Outcome  // of its last call
	mine    versions // what it committed last
	done    bool     // guarded by r.mu
	waits   bool     // for another process, or it looks at what that has stored; guarded by r.mu
}

var quiet = slog.New(slog.DiscardHandler)

// outcomes notes how calls were served.
type outcomes struct{}

func (outcomes) Observe(ctx context.Context, op Op, _ string) (context.Context, func(Outcome, error)) {
	if op != OpGet && op != OpGetOrSet {
		return ctx, unobserved
	}
	return ctx, func(o Outcome, _ error) { actorOf(ctx).outcome = o }
}

// enter gives the actor its context.
func (a *actor) enter(ctx context.Context) { a.ctx = context.WithValue(ctx, actorKey{}, a) }

// query is a step of the actor at the database.
func (a *actor) query(ctx context.Context, name string, call func(w *world) any) (reply any, err error) {
	op := operation{name: name, call: call, deliver: func(got any) { reply = got }}
	op.loads = strings.HasPrefix(name, "load") && !strings.HasSuffix(name, "standby")
	err = a.r.send(ctx, []operation{op}, true)
	return reply, err
}

// begin begins a call: what it returns is judged by what was applied then, or when
// it sends its first command, if it sends one.
func (a *actor) begin() {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	a.r.w.floor[a.index], a.r.w.began[a.index] = a.r.w.applied, false
	a.waits = false
}

// errLoad is a loader's failure.
var errLoad = errors.New("the loader failed")

// load returns a loader that reads the primary.
func (a *actor) load(key int) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		reply, err := actorOf(ctx).query(ctx, "load "+exploreKeys[key], func(w *world) any { return w.db[key] })
		if err != nil {
			return 0, err
		}
		return a.row(key, reply.(int))
	}
}

func (a *actor) row(key, version int) (int, error) {
	if a.r.s.isGone(key, version) {
		return 0, ErrNotFound
	}
	return version, nil
}

// loadAndFail returns a loader that reads the primary and then fails.
func (a *actor) loadAndFail(key int) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		_, err := a.load(key)(ctx)
		return 0, errors.Join(err, errLoad)
	}
}

// loadStandby returns a loader that reads a standby and says how far it was.
func (a *actor) loadStandby(key int, says bool) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		at, err := a.query(ctx, "pg_last_wal_replay_lsn", func(w *world) any { return w.standby[key] })
		if err != nil {
			return 0, err
		}
		if says {
			LoadedAt(ctx, markBehind(at.(int))+1)
		}
		reply, err := a.query(ctx, "load "+exploreKeys[key]+" from the standby", func(w *world) any { return w.standby[key] })
		if err != nil {
			return 0, err
		}
		return reply.(int), nil
	}
}

// commitOf is the commit LSN of a version; markBehind is that of the mark behind
// it. Scenarios with LSNs change one row only.
func commitOf(version int) LSN   { return LSN(version * 100) }
func markBehind(version int) LSN { return LSN(version*100 + 50) }

func (a *actor) getOrSet(key int, opts ...CallOption) { a.getOrSetBy(key, a.load(key), opts...) }

func (a *actor) getOrSetBy(key int, load func(context.Context) (int, error), opts ...CallOption) {
	a.begin()
	v, err := GetOrSet(a.ctx, a.cache, exploreKeys[key], time.Hour, load, opts...)
	a.saw(key, v, err)
}

// getsOrSetsMany loads both keys together.
func (a *actor) getOrSetMany(keys []int, opts ...CallOption) {
	a.begin()
	name := func(key int) string { return exploreKeys[key] }
	found, err := GetOrSetMany(a.ctx, a.cache, keys, name, time.Hour, a.loadMany, opts...)
	for _, key := range keys {
		if v, ok := found[key]; ok || err != nil {
			a.saw(key, v, err)
		}
	}
}

func (a *actor) loadMany(ctx context.Context, keys []int) (map[int]int, error) {
	reply, err := a.query(ctx, "load"+sayKeys(keys), func(w *world) any { return w.db })
	if err != nil {
		return nil, err
	}
	rows := map[int]int{}
	for _, key := range keys {
		rows[key] = reply.(versions)[key]
	}
	return rows, nil
}

func (a *actor) get(key int, opts ...ReadOption) {
	a.begin()
	v, err := Get[int](a.ctx, a.cache, exploreKeys[key], opts...)
	a.saw(key, v, err)
}

func (a *actor) getMany() {
	a.begin()
	a.outcome = OutcomeHit
	found, err := GetMany[int](a.ctx, a.cache, exploreKeys[:])
	for i, key := range exploreKeys {
		if v, ok := found[key]; ok || err != nil {
			a.saw(i, v, err)
		}
	}
}

// set stores a value that is the newest there is once it is stored: as far as
// readers are concerned, it is committed and applied at that step.
func (a *actor) set(key, version int, opts ...WriteOption) {
	err := Set(a.ctx, a.cache, exploreKeys[key], version, time.Hour, opts...)
	if err != nil {
		a.r.fail("%s: set: %v", a.spec.name, err)
	}
}

// add adds to a counter, with which it is as with set.
func (a *actor) add(key int, delta int64) {
	if _, err := a.cache.Increment(a.ctx, exploreKeys[key], delta, time.Hour); err != nil {
		a.r.fail("%s: increment: %v", a.spec.name, err)
	}
}

// remove changes a row and invalidates its key by the library.
func (a *actor) remove(key int) {
	a.commit(key)
	a.applied(a.cache.Delete(a.ctx, exploreKeys[key]), key)
}

// lease fills by Lease and Fill; between says what is done before the load.
func (a *actor) lease(key int, fills bool) {
	l, err := a.cache.Lease(a.ctx, exploreKeys[key])
	if err != nil && !errors.Is(err, ErrUnavailable) { // the replies may have been lost
		a.r.fail("%s: lease: %v", a.spec.name, err)
	}
	if !l.Held() {
		return
	}
	v, err := a.load(key)(a.ctx)
	switch {
	case err == nil && fills:
		_, err = l.Fill(a.ctx, v, time.Hour)
	default:
		err = l.Release(a.ctx)
	}
	if err != nil {
		a.r.fail("%s: fill: %v", a.spec.name, err)
	}
}

// warm brings a value up to date whatever is there, as a warmer does. What no row
// means is remembered for absent.
func (a *actor) warm(key int, absent time.Duration) {
	l, err := a.cache.Refresh(a.ctx, exploreKeys[key])
	if err != nil {
		if !errors.Is(err, ErrUnavailable) { // the reply may have been lost
			a.r.fail("%s: refresh: %v", a.spec.name, err)
		}
		return
	}
	v, err := a.load(key)(a.ctx)
	switch {
	case err == nil:
		_, err = l.Fill(a.ctx, v, time.Hour)
	case errors.Is(err, ErrNotFound):
		_, err = l.Remove(a.ctx, absent)
	default:
		return // aborted
	}
	if err != nil && !errors.Is(err, ErrUnavailable) {
		a.r.fail("%s: warm: %v", a.spec.name, err)
	}
}

// saw judges what a call returned.
func (a *actor) saw(key, v int, err error) {
	a.r.mu.Lock()
	w := a.r.w.clone()
	a.r.w.token[a.index] = versions{} // it was for this call
	a.r.mu.Unlock()
	floor := w.floor[a.index][key]
	if a.spec.shares && a.outcome != OutcomeHit {
		floor = 0 // a load that began before
	}
	floor = max(floor, w.token[a.index][key])
	switch {
	case errors.Is(err, ErrMiss) || errors.Is(err, errAborted) || errors.Is(err, ErrStale) || errors.Is(err, errLoad):
	case errors.Is(err, ErrNotFound):
		if !a.r.s.goneSince(key, floor, w.db[key]) {
			a.r.fail("%s was told that %s is absent, and it is not", a.spec.name, exploreKeys[key])
		}
	case err != nil:
		a.r.fail("%s: %v", a.spec.name, err)
	case v < floor:
		a.r.fail("%s got version %d of %s, and its call began after version %d", a.spec.name, v, exploreKeys[key], floor)
	}
}

// commit changes rows, in one transaction.
func (a *actor) commit(keys ...int) {
	reply, err := a.query(a.ctx, "commit"+sayKeys(keys), func(w *world) any {
		for _, key := range keys {
			w.db[key]++
		}
		w.changes++
		return w.db
	})
	if err == nil {
		a.mine = reply.(versions)
	}
}

// applied notes that what the actor committed last has been invalidated.
func (a *actor) applied(err error, keys ...int) {
	if err != nil {
		a.r.fail("%s: %v", a.spec.name, err)
		return
	}
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	for _, key := range keys {
		a.r.w.applied[key] = max(a.r.w.applied[key], a.mine[key])
	}
}

const exploreEpoch = "1:1:0"

func (a *actor) position(version int) Position {
	return Position{
		Stream: "s", Seq: uint64(version), Epoch: exploreEpoch, LSN: markBehind(version), Owner: "freshet",
		Time: time.Unix(0, 0),
	}
}

// takeOver makes the actor the invalidator, as it is after Load and TakeOver.
func (a *actor) takeOver() {
	cfg := ApplierConfig{Name: "main", Pipeline: 1000, ScanShare: 1, Logger: quiet, hooks: a.r.s.sweep}
	a.applier = newRedisApplier(&nodes{single: exploreOnce}, cfg)
	position := a.position(1).encode()
	m := &master{addr: exploreOnce.Options().Addr, client: exploreOnce, book: newBook(run{id: "1", replid: "1"}, "freshet", position)}
	a.applier.topo = &topology{masters: []*master{m}}
	a.r.w.redis.set(m.key(positionPrefix, "main"), position, 0)
	a.r.w.redis.set(m.key(counterPrefix, "main"), m.book.counter(0), 0)
}

// persist calls fn until it succeeds, as the invalidator does.
func (a *actor) persist(fn func() error) error {
	for {
		err := fn()
		if err == nil || !errors.Is(err, errLost) {
			return err
		}
	}
}

// invalidate applies an invalidation of keys, or of what else the batch names.
func (a *actor) invalidate(b Batch, keys ...int) {
	if len(b.Tags) == 0 && !b.AllTags {
		for _, key := range keys {
			b.Keys = append(b.Keys, exploreKeys[key])
		}
	}
	b.Epoch, b.Ahead = exploreEpoch, commitOf(a.mine[keys[0]])
	a.applied(a.persist(func() error {
		_, err := a.applier.apply(a.ctx, b)
		return err
	}), keys...)
}

// move moves the position behind what the actor committed last.
func (a *actor) move() {
	p := a.position(a.mine[0])
	if err := a.persist(func() error { return a.applier.move(a.ctx, p) }); err != nil {
		a.r.fail("%s: move: %v", a.spec.name, err)
	}
}

// sweepAll invalidates all keys by a pattern.
func (a *actor) sweepAll() {
	_, err := a.applier.flush(a.ctx, []string{"k:*"}, 0, nil)
	a.applied(err, 0, 1)
}

// takeToken takes a token after what has been committed.
func (a *actor) takeToken() Token {
	reply, _ := a.query(a.ctx, "token", func(w *world) any {
		w.token[a.index] = w.db
		return w.db[0]
	})
	version, _ := reply.(int)
	return Token{system: 1, timeline: 1, lsn: markBehind(version)}
}
