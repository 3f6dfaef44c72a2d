// The protocol of the cache, explored: TestExplore and its like run the library
// itself, two processes and the invalidator, over a model of Redis, and decide at
// every single command who goes on.
//
// # What is real
//
// GetOrSet, Get, Set, Lease and all the rest, the store in Redis with its scripts'
// hashes and pipelines, and the applier with its batches and sweeps are those of the
// program. A hook in go-redis hands every command to the run (explore_hook_test.go)
// instead of a connection. The model (explore_redis_test.go,
// explore_scripts_test.go) executes single commands; TestExploreModel compares it with
// a real Redis, command by command, so that it cannot drift from the .lua files. The
// database is a version for each row.
//
// # Schedules
//
// A run (play) is in a bubble of testing/synctest. An actor is a goroutine that
// calls the library. It stops at each command and at each query; between two
// steps all goroutines are blocked, and one of the possible steps is chosen: the
// next command of some actor, an event (a lease expires, a key is evicted), the
// loss of a reply, after which the client sends its request again while the first
// one may still be executed, or that time passes, for those who poll. TTLs pass by
// events alone: anything may expire at any moment.
//
// explore (explore_search_test.go) tries every possible step of every state (world)
// that can be reached. Two schedules that lead to the same world are followed
// once: a world is Redis, the database, what each process has seen so far, in order,
// which decides what it does next, and what the judgement needs. So each scenario is
// explored to its end, and the log says how many schedules its worlds stand for.
// One reduction is made: a query of the database behind its last change is not
// tried in other orders, as nothing can tell them apart.
//
// # What must hold
//
// In every world, what Redis holds of a key is not older than the last invalidation
// of the key that was applied, and what is known to be absent was so since then
// (world.judge). What a call returns is not older than what had been applied when it
// sent its first command, nor than what its token demands (actor.saw); calls that
// share another's load are promised that of hits only. A plain Set or Increment counts
// as the newest version, applied at its own step: so no older fill may replace it. At
// the end a reader finds what the test says is there.
//
// # That it can fail
//
// TestExploreVariants breaks the protocol in one place at a time and demands that
// this is caught; the log has the shortest schedule. TestExploreWalk follows schedules
// by chance in a scenario that is too large for all of them.
//
// Flags: -explore.long for larger scenarios and more schedules, -explore.seed for
// others.

package cache

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var exploreLong = flag.Bool("explore.long", false, "explore larger scenarios")

func TestExplore(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			if *exploreLong && s.more != nil {
				s.more(s)
			}
			x := explore(t, s, false)
			if x.failure != "" {
				t.Fatalf("%s:\n%s", x.failure, strings.Join(x.schedule, "\n"))
			}
			t.Logf("%s: %d worlds, %.3g schedules, %d runs, %d steps, %v", s.name, len(x.visited), x.schedules(), x.runs, x.steps, time.Since(start).Round(time.Millisecond))
		})
	}
}

// TestExploreVariants explores protocols that are broken in one place. A search
// that does not find that would not find it in the real one either.
func TestExploreVariants(t *testing.T) {
	t.Parallel()
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := v.scenario()
			v.breaks(s)
			start := time.Now()
			x := explore(t, s, true)
			if x.failure == "" {
				t.Fatalf("not caught in any of %d worlds of %q", len(x.visited), s.name)
			}
			t.Logf("caught by %q among %d worlds in %v: %s\n\t%s", s.name, len(x.visited),
				time.Since(start).Round(time.Millisecond), x.failure, strings.Join(x.schedule, "\n\t"))
		})
	}
}
