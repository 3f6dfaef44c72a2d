package cache

import (
	"context"
	"time"
)

// changesTag changes a row and invalidates a tag of its entry.
func changesTag(times int) func(*actor) {
	return func(a *actor) {
		for range times {
			a.commit(0)
			a.invalidate(Batch{Tags: []string{"t"}}, 0)
		}
	}
}

// patternScenario: a pattern is swept while both keys are filled.
func patternScenario() *scenario {
	return &scenario{
		name: "pattern",
		actors: []actorSpec{in(0, "P1", gets(0)), in(1, "P2", gets(1)), writer(func(a *actor) {
			a.commit(0, 1)
			a.sweepAll()
		})},
		events: []event{expires(0)},
	}
}

// tagsScenario: an entry with a tag is filled, and read by a call that does not
// name the tag.
func tagsScenario() *scenario {
	return &scenario{
		name:   "tags",
		actors: []actorSpec{in(0, "P1", gets(0, WithTags("t"))), in(1, "P2", func(a *actor) { a.get(0) }), writer(changesTag(1))},
		events: []event{evictsTag("t"), evictsTag(""), expires(0)},
	}
}

// tagInLoaderScenario: a loader names the tag.
func tagInLoaderScenario() *scenario {
	return &scenario{
		name: "tag in the loader",
		actors: []actorSpec{in(0, "P1", func(a *actor) {
			a.getOrSetBy(0, func(ctx context.Context) (int, error) {
				if err := Tag(ctx, "t"); err != nil {
					return 0, err
				}
				return a.load(0)(ctx)
			})
		}), in(1, "P2", func(a *actor) { a.get(0) }), writer(changesTag(1))},
		events: []event{evictsTag("t"), evicts(0)},
	}
}

// refreshTagsScenario: an entry with a tag is loaded anew before its time is over.
func refreshTagsScenario() *scenario {
	tagged, ahead := WithTags("t"), WithRefreshAhead(2*time.Hour)
	return &scenario{
		name:   "refresh with tags",
		setup:  func(ctx context.Context, r *play) { r.mustSet(ctx, 0, 1, tagged) },
		actors: []actorSpec{in(0, "P1", gets(0, tagged, ahead)), in(1, "P2", func(a *actor) { a.get(0) }), writer(changesTag(1))},
		events: []event{evictsTag("t"), expires(0)},
		more:   joins(in(3, "P3", func(a *actor) { a.get(0) })),
	}
}

// allTagsScenario: every tag is invalidated at once.
func allTagsScenario() *scenario {
	return &scenario{
		name: "all tags",
		actors: []actorSpec{in(0, "P1", gets(0, WithTags("t"))), in(1, "P2", func(a *actor) {
			a.getOrSet(1, WithTags("u"))
			a.get(0)
		}), writer(func(a *actor) {
			a.commit(0, 1)
			a.invalidate(Batch{AllTags: true}, 0, 1)
		})},
		events: []event{evictsTag("")},
	}
}

// manyScenario: entries with tags are read together.
func manyScenario() *scenario {
	return &scenario{
		name: "many",
		setup: func(ctx context.Context, r *play) {
			r.mustSet(ctx, 0, 1, WithTags("t"))
			r.mustSet(ctx, 1, 1, WithTags("t"))
		},
		actors: []actorSpec{in(0, "P1", func(a *actor) { a.getMany() }), in(1, "P2", gets(0, WithTags("t"))), writer(func(a *actor) {
			a.commit(0, 1)
			a.invalidate(Batch{Tags: []string{"t"}}, 0, 1)
		})},
		events: []event{evictsTag("t")},
	}
}

// batchScenario: two processes load both keys together, in either order.
func batchScenario() *scenario {
	both := func(keys ...int) func(*actor) {
		return func(a *actor) { a.getOrSetMany(keys) }
	}
	return &scenario{
		name:   "batch",
		actors: []actorSpec{in(0, "P1", both(0, 1)), in(1, "P2", both(1, 0)), writer(changes(1))},
		more:   adds(expires(1)),
	}
}

// batchTagsScenario: the same with a tag, and a process that has one key already.
func batchTagsScenario() *scenario {
	return &scenario{
		name: "batch with tags",
		actors: []actorSpec{
			in(0, "P1", func(a *actor) { a.getOrSetMany([]int{0, 1}, WithTags("t")) }),
			in(1, "P2", func(a *actor) { a.lease(1, false) }),
			writer(func(a *actor) {
				a.commit(0, 1)
				a.invalidate(Batch{Tags: []string{"t"}}, 0, 1)
			}),
		},
		events: []event{evictsTag("t")},
	}
}
