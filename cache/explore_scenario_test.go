package cache

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// actorSpec is what a scenario says of an actor.
type actorSpec struct {
	name    string
	process int
	body    func(*actor)
	applies bool // it is the invalidator
	shares  bool // its process has other calls, whose loads it may join
	loses   bool // replies to it may be lost
}

// event is something that happens by itself.
type event struct {
	name   string
	times  int // how often at most; 0: once
	can    func(w *world) bool
	happen func(w *world)
}

// scenario is a handful of actors and events. All its schedules are explored.
type scenario struct {
	name      string
	cfg       Config
	setup     func(ctx context.Context, r *play)
	actors    []actorSpec
	events    []event
	gone      map[int][]int     // the versions of a key in which there is no row
	losses    int               // how many replies may be lost
	late      bool              // what was lost may be executed behind its repetition
	ticks     int               // how often time may pass while nobody sleeps
	positions bool              // the position matters: a command on it is a step
	ahead     bool              // so does how far deletes have been sent
	more      func(s *scenario) // what a long exploration adds

	changes int // of the database, in every schedule; -1: not known yet

	// What is broken in it, if anything.
	model   *modelRedis
	wrap    func(store) store
	reorder func([]redis.Cmder) []redis.Cmder
	sweep   sweepHooks
}

func (s *scenario) processes() int {
	highest := 0
	for _, a := range s.actors {
		highest = max(highest, a.process)
	}
	return highest + 1
}

func (s *scenario) config() Config {
	cfg := s.cfg
	cfg.Logger, cfg.Observer = quiet, outcomes{}
	// A caller that waits looks three times, and then loads for itself.
	cfg.WaitLimit = or(cfg.WaitLimit, tick-1)
	// Nobody prolongs a lease while time passes, but where that is the question.
	cfg.LeaseTTL = or(cfg.LeaseTTL, time.Hour)
	cfg.setDefaults()
	return cfg
}

func (s *scenario) newStore() store {
	st := newExploreStore()
	if s.wrap != nil {
		st = s.wrap(st)
	}
	return st
}

// private reports whether one process alone reads and writes a name.
func (s *scenario) private(name string) bool {
	return strings.HasPrefix(name, counterPrefix) ||
		!s.positions && strings.HasPrefix(name, positionPrefix) || !s.ahead && strings.HasPrefix(name, aheadPrefix)
}

// silent reports whether an operation concerns nobody else: it is no step of its
// own.
func (s *scenario) silent(op operation) bool {
	switch {
	case len(op.args) == 0:
		return false
	case op.args[0] == "evalsha":
		return s.private(op.args[3])
	case op.args[0] == "info" || op.args[0] == "script":
		return true
	default:
		return len(op.args) > 1 && s.private(op.args[1])
	}
}

// loud returns the index of the first operation from next on that is a step.
func (s *scenario) loud(ops []operation, next int) int {
	for next < len(ops) && s.silent(ops[next]) {
		next++
	}
	return next
}

func (s *scenario) isGone(key, version int) bool { return slices.Contains(s.gone[key], version) }

// goneSince reports whether there was no row in one of the versions.
func (s *scenario) goneSince(key, from, to int) bool {
	for v := from; v <= to; v++ {
		if s.isGone(key, v) {
			return true
		}
	}
	return false
}
