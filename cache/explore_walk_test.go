package cache

import (
	"context"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var exploreSeedFlag = flag.Uint64("explore.seed", 1, "of the steps that are chosen by chance")

// mixedScenario is too large to be explored to its end. The row of the first key
// is cached without tags, that of the second with one; see TestExploreGaps for why
// only the first may be gone.
func mixedScenario() *scenario {
	tagged, ahead := WithTags("t"), WithRefreshAhead(30*time.Minute)
	return &scenario{
		name:  "mixed",
		cfg:   Config{Source: "main", LeaseTTL: 3*tick - 3},
		gone:  map[int][]int{0: {3}},
		setup: func(_ context.Context, r *play) { r.seed(0, 1, time.Minute) },
		actors: []actorSpec{
			in(0, "P1a", func(a *actor) {
				a.getOrSet(0, ahead)
				a.getOrSet(1, tagged, ahead)
				a.getMany()
				a.getOrSet(1, tagged)
			}).sharing().losing(),
			in(0, "P1b", func(a *actor) {
				a.getOrSet(1, tagged)
				a.remove(0)
				a.getOrSet(0)
			}).sharing(),
			in(1, "P2a", func(a *actor) {
				a.lease(0, true)
				a.getOrSet(1, tagged, WithFailSafe(time.Hour))
				a.getOrSetBy(0, a.loadAndFail(0), WithFailSafe(time.Hour))
				a.getOrSet(0)
			}).sharing().losing(),
			in(1, "P2b", func(a *actor) {
				token := a.takeToken()
				a.getOrSet(0, AtLeast(token))
				a.set(1, 20, tagged)
				a.getOrSet(0)
			}).sharing(),
			{name: "writer", process: 2, applies: true, loses: true, body: func(a *actor) {
				a.commit(0, 1)
				a.invalidate(Batch{}, 0)
				a.invalidate(Batch{Tags: []string{"t"}}, 1)
				a.move()
				a.commit(0, 1)
				a.sweepAll()
				a.move()
				a.commit(0)
				a.invalidate(Batch{}, 0)
				a.move()
				a.commit(1)
				a.invalidate(Batch{AllTags: true}, 1)
			}},
		},
		events: []event{
			expires(0).upTo(2), expires(1).upTo(2), evicts(0).upTo(2), evicts(1), evictsTag("t"), evictsPosition(),
		},
		losses: 2, ticks: 3, positions: true, changes: -1, model: newModelRedis(),
	}
}

// TestExploreWalk follows schedules that are chosen by chance.
func TestExploreWalk(t *testing.T) {
	t.Parallel()
	walks := 300
	if *exploreLong {
		walks = 50_000
	}
	steps, problem, trace := walk(t, mixedScenario(), walks)
	if problem != "" {
		t.Fatalf("%s:\n\t%s", problem, strings.Join(trace, "\n\t"))
	}
	t.Logf("%d schedules, %d steps", walks, steps)
}

// TestExploreWalkFinds shows that chance finds what is broken.
func TestExploreWalkFinds(t *testing.T) {
	t.Parallel()
	s := mixedScenario()
	s.model.flaws = map[string]scriptFunc{"fill": fillAnyway}
	if _, problem, _ := walk(t, s, 300); problem == "" {
		t.Fatal("fills without compare were not caught")
	}
}

// walk follows so many schedules, or until one goes wrong.
func walk(t *testing.T, s *scenario, walks int) (steps int, problem string, trace []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		for i := range walks {
			chance := rand.New(rand.NewPCG(*exploreSeedFlag, uint64(i)))
			path, failure := s.wander(chance)
			steps += len(path)
			if failure != "" {
				problem, trace = failure, s.replay(path)
				return
			}
		}
	})
	return steps, problem, trace
}

// wander makes one run with steps chosen by chance.
func (s *scenario) wander(chance *rand.Rand) (path []uint8, problem string) {
	r := s.start(false)
	defer r.abort()
	for {
		choices := r.choices()
		problem = r.failed()
		switch {
		case problem != "":
		case len(choices) == 0:
			problem = r.finished()
		case len(path) > 5*maxSteps:
			problem = "somebody waits for ever"
		}
		if problem != "" || len(choices) == 0 {
			return path, problem
		}
		i := chance.IntN(len(choices))
		path = append(path, uint8(i))
		r.step(choices[i])
	}
}
