package cache

import (
	"context"
	"strconv"
	"time"
)

// scenarios returns everything that is explored to the end.
func scenarios() []*scenario {
	return []*scenario{
		fillScenario(), changesScenario(), twoKeysScenario(), leaseScenario(), extensionScenario(),
		deleteScenario(), deletePatternScenario(), deleteTagScenario(),
		setScenario(), incrementScenario(), absentScenario(), goneScenario(),
		warmScenario(), warmGoneScenario(), warmAbsentScenario(), lateWarm(),
		refreshScenario(), refreshTagsScenario(), failSafeScenario(), uselessScenario(),
		patternScenario(), tagsScenario(), tagInLoaderScenario(), allTagsScenario(), manyScenario(),
		batchScenario(), batchTagsScenario(), boundedScenario(), boundedSharedScenario(), boundedAbsentScenario(), standbyScenario(),
		retryScenario(), retryTagsScenario(), repeatScenario(), lateMiss(), lateClaim(), lateCapture(), absentTag(),
	}
}

// expires, evicts and the like are what may happen to Redis at any moment.
func expires(key int) event {
	return vanishes("the lease of "+exploreKeys[key]+" expires", LeaseKey(exploreKeys[key]))
}

func evicts(key int) event { return vanishes(exploreKeys[key]+" is evicted", exploreKeys[key]) }

func evictsTag(tag string) event {
	return vanishes("the generation of tag "+tag+" is evicted", tagPrefix+tag)
}

func evictsPosition() event { return vanishes("the position is evicted", positionPrefix+"main") }

func vanishes(what, name string) event {
	return event{
		name:   what,
		can:    func(w *world) bool { return w.redis.has(name) },
		happen: func(w *world) { w.redis.del(name) },
	}
}

// upTo makes an event happen so many times at most.
func (e event) upTo(times int) event {
	e.times = times
	return e
}

// adds and joins are what a long exploration adds to a scenario.
func adds(e event) func(*scenario) {
	return func(s *scenario) { s.events = append(s.events, e) }
}

func joins(a actorSpec) func(*scenario) {
	return func(s *scenario) { s.actors = append(s.actors, a) }
}

// in is an actor of a process.
func in(process int, name string, body func(*actor)) actorSpec {
	return actorSpec{name: name, process: process, body: body}
}

// writer is the invalidator, which hears of a change once it is visible.
func writer(body func(*actor)) actorSpec {
	return actorSpec{name: "writer", process: 2, applies: true, body: body}
}

func (s actorSpec) sharing() actorSpec {
	s.shares = true
	return s
}

func (s actorSpec) losing() actorSpec {
	s.loses = true
	return s
}

func gets(key int, opts ...CallOption) func(*actor) {
	return func(a *actor) { a.getOrSet(key, opts...) }
}

// changes changes a row and invalidates its key, so many times.
func changes(times int) func(*actor) {
	return func(a *actor) {
		for range times {
			a.commit(0)
			a.invalidate(Batch{}, 0)
		}
	}
}

// fillScenario: two processes miss one key.
func fillScenario() *scenario {
	return &scenario{
		name:   "fill",
		actors: []actorSpec{in(0, "P1", gets(0)), in(1, "P2", gets(0)), writer(changes(1))},
		events: []event{expires(0), evicts(0)},
	}
}

// changesScenario: a row changes twice.
func changesScenario() *scenario {
	return &scenario{
		name: "changes",
		actors: []actorSpec{in(0, "P1", func(a *actor) {
			a.getOrSet(0)
			a.getOrSet(0)
		}), writer(changes(2))},
		events: []event{expires(0), evicts(0)},
		more:   joins(in(1, "P2", gets(0))),
	}
}

// twoKeysScenario: two keys change together.
func twoKeysScenario() *scenario {
	return &scenario{
		name: "two keys",
		actors: []actorSpec{in(0, "P1", gets(0)), in(1, "P2", gets(1)), writer(func(a *actor) {
			a.commit(0, 1)
			a.invalidate(Batch{}, 0, 1)
		}), in(3, "P3", func(a *actor) { a.getMany() })},
		events: []event{expires(0)},
	}
}

// deleteScenario: the process that deletes a key is loading it. Whoever calls
// after the deletion must not join that load.
func deleteScenario() *scenario {
	return forgetScenario("delete", 0, func(a *actor) error { return a.cache.Delete(a.ctx, exploreKeys[0]) })
}

// deletePatternScenario and deleteTagScenario: the same by a pattern and a tag.
func deletePatternScenario() *scenario {
	return forgetScenario("delete by pattern", 1, func(a *actor) error {
		_, err := a.cache.InvalidatePattern(a.ctx, "k:*")
		return err
	})
}

func deleteTagScenario() *scenario {
	return forgetScenario("delete by tag", 0, func(a *actor) error {
		return a.cache.InvalidateTags(a.ctx, "t")
	}, WithTags("t"))
}

func forgetScenario(name string, process int, invalidate func(*actor) error, opts ...CallOption) *scenario {
	return &scenario{
		name: name,
		actors: []actorSpec{in(process, "P1a", gets(0, opts...)), in(process, "P1b", func(a *actor) {
			a.commit(0)
			a.applied(invalidate(a), 0)
			a.getOrSet(0, opts...)
		})},
		more: joins(in(1-process, "P2", func(a *actor) { a.get(0) })),
	}
}

// leaseScenario: Lease, then Fill or Release.
func leaseScenario() *scenario {
	return &scenario{
		name: "lease",
		actors: []actorSpec{
			in(0, "P1", func(a *actor) { a.lease(0, true) }), in(1, "P2", func(a *actor) {
				a.lease(0, false)
				a.getOrSet(0)
			}), writer(changes(1)),
		},
		events: []event{expires(0)},
		more:   adds(evicts(0)),
	}
}

// extensionScenario: a slow loader's lease is prolonged, or too late for that.
func extensionScenario() *scenario {
	return &scenario{
		name:   "extension",
		cfg:    Config{LeaseTTL: 3*tick - 3},
		actors: []actorSpec{in(0, "P1", gets(0)), writer(changes(1))},
		events: []event{expires(0)},
		ticks:  2,
		more:   joins(in(1, "P2", gets(0))),
	}
}

// setScenario: a value is set that no table has.
func setScenario() *scenario {
	return &scenario{
		name:   "set",
		actors: []actorSpec{in(0, "P1", gets(0)), in(1, "P2", func(a *actor) { a.set(0, 10) }), writer(changes(1))},
		events: []event{expires(0), evicts(0)},
	}
}

// incrementScenario: the same with a counter.
func incrementScenario() *scenario {
	return &scenario{
		name:   "increment",
		setup:  func(_ context.Context, r *play) { r.seed(0, 1, time.Hour) },
		actors: []actorSpec{in(0, "P1", gets(0)), in(1, "P2", func(a *actor) { a.add(0, 10) }), in(2, "P3", gets(0))},
		events: []event{expires(0), evicts(0)},
	}
}

// absentScenario: a row is inserted that loaders have not found.
func absentScenario() *scenario {
	return &scenario{
		name:   "absent",
		gone:   map[int][]int{0: {1}},
		actors: []actorSpec{in(0, "P1", gets(0)), in(1, "P2", gets(0)), writer(changes(1))},
		events: []event{expires(0), evicts(0)},
	}
}

// goneScenario: a row is deleted and inserted again, and a refresh finds it gone.
func goneScenario() *scenario {
	return &scenario{
		name:   "gone",
		gone:   map[int][]int{0: {2}},
		setup:  func(_ context.Context, r *play) { r.seed(0, 1, time.Minute) },
		actors: []actorSpec{in(0, "P1", gets(0, WithRefreshAhead(30*time.Minute))), in(1, "P2", gets(0)), writer(changes(2))},
	}
}

// refreshScenario: a value is loaded anew before its time is over.
func refreshScenario() *scenario {
	ahead := WithRefreshAhead(30 * time.Minute)
	return &scenario{
		name:   "refresh",
		setup:  func(_ context.Context, r *play) { r.seed(0, 1, time.Minute) },
		actors: []actorSpec{in(0, "P1", gets(0, ahead)), in(1, "P2", gets(0, ahead)), writer(changes(1))},
		events: []event{expires(0)},
		more:   adds(evicts(0)),
	}
}

func warms(key int, absent time.Duration) func(*actor) {
	return func(a *actor) { a.warm(key, absent) }
}

// warmScenario: two warmers refill a key whose row changes twice.
func warmScenario() *scenario {
	return &scenario{
		name:   "warm",
		setup:  func(_ context.Context, r *play) { r.seed(0, 1, time.Minute) },
		actors: []actorSpec{in(0, "W1", warms(0, 0)), in(1, "W2", warms(0, 0)), writer(changes(2))},
		events: []event{expires(0), evicts(0)},
		more:   joins(in(3, "P", gets(0))),
	}
}

// warmGoneScenario: a row is deleted and inserted again, and warmers find it gone.
func warmGoneScenario() *scenario {
	return &scenario{
		name:   "warm, gone",
		gone:   map[int][]int{0: {2}},
		setup:  func(_ context.Context, r *play) { r.seed(0, 1, time.Minute) },
		actors: []actorSpec{in(0, "W1", warms(0, 0)), in(1, "P", gets(0)), writer(changes(2))},
		events: []event{expires(0), evicts(0)},
	}
}

// warmAbsentScenario: the same, and warmers remember it.
func warmAbsentScenario() *scenario {
	s := warmGoneScenario()
	s.name = "warm, absent"
	s.actors[0].body = warms(0, time.Hour)
	s.more = joins(in(3, "W2", warms(0, time.Hour)))
	return s
}

// failSafeScenario: an expired value takes the place of a loader's error.
func failSafeScenario() *scenario {
	safe := WithFailSafe(time.Hour)
	return &scenario{
		name: "fail-safe",
		setup: func(ctx context.Context, r *play) {
			r.mustSet(ctx, 0, 1, safe)
			r.w.redis[0].px /= 2 // the grace has begun
		},
		actors: []actorSpec{
			in(0, "P1", func(a *actor) { a.getOrSetBy(0, a.loadAndFail(0), safe) }), in(1, "P2", gets(0, safe)), writer(changes(1)),
		},
		events: []event{expires(0)},
	}
}

// uselessScenario: what is there lacks a tag, so it is replaced; but not what
// another process has put in its place meanwhile, which no table has.
func uselessScenario() *scenario {
	return &scenario{
		name:  "useless",
		setup: func(_ context.Context, r *play) { r.seed(0, 1, time.Hour) },
		actors: []actorSpec{in(0, "P1", func(a *actor) {
			a.getOrSetBy(0, func(ctx context.Context) (int, error) {
				_, err := a.load(0)(ctx)
				return 5, err
			}, WithTags("t"))
		}), in(1, "P2", func(a *actor) { a.set(0, 10, WithTags("t")) })},
		events: []event{expires(0)},
	}
}

// retryScenario: clients send commands again whose replies are lost.
func retryScenario() *scenario {
	return &scenario{
		name:   "retry",
		actors: []actorSpec{in(0, "P1", gets(0)).losing(), writer(changes(1))},
		events: []event{expires(0), evicts(0)},
		losses: 2,
		more:   joins(in(1, "P2", gets(0))),
	}
}

// retryTagsScenario: the same with tags.
func retryTagsScenario() *scenario {
	return &scenario{
		name:   "retry tags",
		actors: []actorSpec{in(0, "P1", gets(0, WithTags("t"))).losing(), writer(changesTag(1))},
		events: []event{evictsTag("t")},
		losses: 1,
	}
}

// repeatScenario: the invalidator repeats what has no reply.
func repeatScenario() *scenario {
	return &scenario{
		name:   "repeat",
		actors: []actorSpec{in(0, "P1", gets(0)), writer(changes(1)).losing()},
		events: []event{expires(0)},
		losses: 2,
		late:   true,
		more:   joins(in(1, "P2", gets(0))),
	}
}

// mustSet stores a value before a scenario begins.
func (r *play) mustSet(ctx context.Context, key, version int, opts ...WriteOption) {
	if err := Set(ctx, r.caches[0], exploreKeys[key], version, time.Hour, opts...); err != nil {
		r.fail("set up: %v", err)
	}
}

// seed stores a value as another client would.
func (r *play) seed(key, version int, ttl time.Duration) {
	r.w.redis.set(exploreKeys[key], strconv.Itoa(version), ttl.Milliseconds())
}
