package cache

import "context"

// boundedScenario: a reader asks for at least what it has committed.
func boundedScenario() *scenario {
	return &scenario{
		name: "bounded",
		cfg:  Config{Source: "main"},
		actors: []actorSpec{in(0, "P1", func(a *actor) {
			token := a.takeToken()
			a.getOrSet(0, AtLeast(token))
		}), in(1, "P2", gets(0)), writer(changesAndMoves)},
		positions: true,
		more: func(s *scenario) {
			s.events = []event{evictsPosition(), evicts(0)}
		},
	}
}

func changesAndMoves(a *actor) {
	a.commit(0)
	a.invalidate(Batch{}, 0)
	a.move()
}

// boundedSharedScenario: the same, while the reader's process is loading the key.
func boundedSharedScenario() *scenario {
	return &scenario{
		name: "bounded, shared",
		cfg:  Config{Source: "main"},
		actors: []actorSpec{in(0, "P1a", gets(0)).sharing(), in(0, "P1b", func(a *actor) {
			token := a.takeToken()
			a.getOrSet(0, AtLeast(token))
		}), writer(func(a *actor) { a.commit(0) })},
		positions: true,
	}
}

// boundedAbsentScenario: it is known that there is no row, until there is.
func boundedAbsentScenario() *scenario {
	return &scenario{
		name: "bounded, absent",
		cfg:  Config{Source: "main"},
		gone: map[int][]int{0: {1}},
		setup: func(_ context.Context, r *play) {
			r.w.redis.set(LeaseKey(exploreKeys[0]), absentMark, 1000)
		},
		actors: []actorSpec{in(0, "P1", func(a *actor) {
			token := a.takeToken()
			a.getOrSet(0, AtLeast(token))
		}), in(1, "P2", gets(0)), writer(changesAndMoves)},
		events:    []event{evictsPosition()},
		positions: true,
	}
}

// standbyScenario: loaders read a standby, which is behind.
func standbyScenario() *scenario {
	return &scenario{
		name: "standby",
		cfg:  Config{Source: "main"},
		actors: []actorSpec{in(0, "P1", func(a *actor) {
			a.getOrSetBy(0, a.loadStandby(0, true))
		}).sharing(), writer(changesAndMoves)},
		events: []event{{
			name: "the standby replays", times: 2,
			can:    func(w *world) bool { return w.standby != w.db },
			happen: func(w *world) { w.standby = w.db },
		}, evictsPosition()},
		positions: true, ahead: true,
	}
}
