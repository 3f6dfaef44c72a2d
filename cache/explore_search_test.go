package cache

import (
	"slices"
	"testing"
	"testing/synctest"
)

// search is an exploration of a scenario.
type search struct {
	s        *scenario
	breadth  bool // the shortest schedules first
	visited  map[uint64]bool
	edges    map[uint64][]uint64
	todo     []lead
	runs     int
	steps    int
	failure  string   // of the schedule that went wrong, if one did
	path     []uint8  // its steps
	schedule []string // the same for people
}

// lead is a schedule that leads to a world that has not been looked at.
type lead struct {
	path []uint8
	hash uint64
}

// maxWorlds ends a search that has grown beyond what was thought of.
const maxWorlds = 2_000_000

// maxSteps ends a schedule in which an actor waits for ever.
const maxSteps = 200

// explore looks at every world that a scenario can lead to. Every step that is
// possible in a world is tried on a copy of it; where that gives a world that
// has not been seen, a run goes there.
func explore(t *testing.T, s *scenario, breadth bool) *search {
	t.Helper()
	if s.model == nil {
		s.model = newModelRedis()
	}
	x := &search{s: s, breadth: breadth, visited: map[uint64]bool{}, edges: map[uint64][]uint64{}, todo: []lead{{}}}
	synctest.Test(t, func(t *testing.T) {
		s.countChanges()
		for len(x.todo) > 0 && x.failure == "" {
			var next lead
			if breadth {
				next, x.todo = x.todo[0], x.todo[1:]
			} else {
				next, x.todo = x.todo[len(x.todo)-1], x.todo[:len(x.todo)-1]
			}
			x.follow(t, next)
			if len(x.visited) > maxWorlds {
				t.Fatalf("%s: more than %d worlds", s.name, maxWorlds)
			}
		}
		if x.failure != "" {
			x.schedule = s.replay(x.path)
		}
	})
	return x
}

// follow makes the steps of a lead and then looks further.
func (x *search) follow(t *testing.T, l lead) {
	t.Helper()
	r := x.s.start(false)
	defer r.abort()
	x.runs++
	for n, i := range l.path {
		r.hashes = n == len(l.path)-1
		r.step(r.choices()[i])
		x.steps++
	}
	here := r.hash
	if here != l.hash {
		t.Fatalf("%s: the same steps led to another world: %q", x.s.name, x.s.replay(l.path))
	}
	r.hashes = true
	path := l.path
	for {
		problem := r.failed()
		choices := r.choices()
		if len(path) > maxSteps {
			problem = "somebody waits for ever"
		}
		if problem == "" && len(choices) == 0 {
			problem = r.finished()
		}
		if problem != "" {
			x.failure, x.path = problem, path
			return
		}
		fresh := x.expand(r, here, path, choices)
		if len(fresh) == 0 {
			return
		}
		if x.breadth {
			x.todo = append(x.todo, fresh...)
			return
		}
		x.todo = append(x.todo, fresh[1:]...)
		path, here = fresh[0].path, fresh[0].hash
		r.step(choices[path[len(path)-1]])
		x.steps++
		if r.hash != here {
			t.Fatalf("%s: a step led to another world than its trial: %q", x.s.name, x.s.replay(path))
		}
	}
}

// expand returns the leads to worlds that have not been seen.
func (x *search) expand(r *play, here uint64, path []uint8, choices []choice) (fresh []lead) {
	for i, c := range choices {
		w := r.w.clone()
		r.try(w, c)
		hash := w.hash(r)
		x.edges[here] = append(x.edges[here], hash)
		if x.visited[hash] {
			continue
		}
		x.visited[hash] = true
		fresh = append(fresh, lead{path: append(slices.Clone(path), uint8(i)), hash: hash})
	}
	return fresh
}

// schedules returns how many schedules the worlds stand for.
func (x *search) schedules() float64 {
	known := map[uint64]float64{}
	var count func(hash uint64) float64
	count = func(hash uint64) float64 {
		n, ok := known[hash]
		if ok {
			return n
		}
		for _, next := range x.edges[hash] {
			n += count(next)
		}
		n = max(n, 1)
		known[hash] = n
		return n
	}
	return count(0)
}

// replay returns the steps of a schedule as people read them.
func (s *scenario) replay(path []uint8) []string {
	r := s.start(true)
	defer r.abort()
	for _, i := range path {
		r.step(r.choices()[i])
	}
	return r.trace
}

// countChanges follows one schedule to its end.
func (s *scenario) countChanges() {
	s.changes = -1
	r := s.start(false)
	defer r.abort()
	for choices := r.choices(); len(choices) > 0; choices = r.choices() {
		r.step(choices[0])
	}
	s.changes = r.w.changes
}
