package cache

import (
	"context"
	"time"
)

// When a client waits in vain for a reply it closes its connection and sends the
// same command on another. What it sent first may still be under way, in a network
// that loses packets or in a proxy, and reach Redis long after. Four commands
// create something that they name themselves, and could so bring back what was
// invalidated in between: miss, claim and seize the lease, with the token that the loader
// still has, and capture the generation that the loader has captured already. They
// are commands that the client does not repeat (see once).

func lateMiss() *scenario {
	s := retryScenario()
	s.name, s.late, s.losses, s.events = "a late miss", true, 1, nil
	return s
}

func lateClaim() *scenario {
	s := refreshScenario()
	s.name, s.late, s.losses, s.events = "a late claim", true, 1, nil
	s.actors = []actorSpec{s.actors[0].losing(), s.actors[2]}
	return s
}

func lateWarm() *scenario {
	return &scenario{
		name: "a late warming", late: true, losses: 1,
		setup:  func(_ context.Context, r *play) { r.seed(0, 1, time.Minute) },
		actors: []actorSpec{in(0, "W1", warms(0, 0)).losing(), in(1, "P", gets(0)), writer(changes(1))},
	}
}

func lateCapture() *scenario {
	s := retryTagsScenario()
	s.name, s.late, s.losses, s.events = "a late capture", true, 1, nil
	return s
}

// absentTag: a row is inserted that a call with a tag has not found.
func absentTag() *scenario {
	return &scenario{
		name:   "absent with a tag",
		gone:   map[int][]int{0: {1}},
		actors: []actorSpec{in(0, "P1", gets(0, WithTags("t"))), writer(changesTag(1))},
	}
}
