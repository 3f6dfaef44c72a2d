package warmer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

func load(context.Context) (int, error) { return 1, nil }

// order is who takes the next step: the writers (w), whose two commits and two
// invalidations come in this order or with both commits first, and warmers (a, b),
// each of which takes the lease, queries, and stores.
type order string

// orders returns every way to merge so many steps of each.
func orders(steps map[byte]int) []order {
	left := 0
	var all []order
	for _, who := range []byte("wab") {
		if steps[who] == 0 {
			continue
		}
		left += steps[who]
		steps[who]--
		for _, rest := range orders(steps) {
			all = append(all, order(who)+rest)
		}
		steps[who]++
	}
	if left == 0 {
		return []order{""}
	}
	return all
}

// TestWarmRace: two writers change one row, and it is invalidated and warmed for
// both, in every order that one warmer can meet, and many that two can. What is cached
// at any time is not older than the last invalidation, and in the end it is the last
// committed state or nothing.
func TestWarmRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `create table t (id bigint primary key, n int);`, []rule.Config{rows(nil)}, nil)
	applier, err := cache.OpenApplier(w.redis.URL(), cache.ApplierConfig{Name: instance, Logger: w.logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = applier.Close() })
	if _, err := applier.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := applier.TakeOver(t.Context(), cache.Position{Owner: "test"}); err != nil {
		t.Fatal(err)
	}
	r := &race{world: w, applier: applier}
	for range 2 {
		r.steps = append(r.steps, &stepper{})
	}
	for i, s := range r.steps {
		r.warmers = append(r.warmers, w.warmer(w.postgres.URL(), func(c *warmer.Config) {
			warmer.OnLeased(c, s.stop)
			warmer.OnQueried(c, s.stop)
			c.ID = fmt.Sprint(i)
		}))
	}
	one := orders(map[byte]int{'w': 4, 'a': 3})
	two := orders(map[byte]int{'w': 4, 'a': 3, 'b': 3})
	if len(one) != 35 || len(two) != 4200 {
		t.Fatalf("got %d and %d orders, want 35 and 4200", len(one), len(two))
	}
	rand.Shuffle(len(two), func(i, j int) { two[i], two[j] = two[j], two[i] })
	filled := 0
	for _, o := range append(one, two[:300]...) {
		for _, commitsFirst := range []bool{false, true} {
			filled += r.play(o, commitsFirst)
			if t.Failed() {
				return
			}
		}
	}
	if filled == 0 {
		t.Error("no order ended with a value")
	}
}

type race struct {
	*world
	applier *cache.Applier
	warmers []ran
	steps   []*stepper
	id      int
}

// stepper stops a warmer at its hooks.
type stepper struct {
	mu      sync.Mutex
	stopped chan struct{} // receives when a hook is reached; guarded by mu
	goOn    chan struct{} // guarded by mu
	done    chan error    // guarded by mu
	begun   bool          // used by the player alone
}

func (s *stepper) stop(context.Context, string) {
	s.mu.Lock()
	stopped, goOn := s.stopped, s.goOn
	s.mu.Unlock()
	stopped <- struct{}{}
	<-goOn
}

// step lets the warmer take its next step and waits for the end of it.
func (s *stepper) step(t *testing.T, begin func() error) {
	t.Helper()
	if s.begun {
		s.goOn <- struct{}{}
	} else {
		s.begun = true
		s.mu.Lock()
		s.stopped, s.goOn, s.done = make(chan struct{}), make(chan struct{}), make(chan error, 1)
		done := s.done
		s.mu.Unlock()
		go func() { done <- begin() }()
	}
	select {
	case <-s.stopped:
	case err := <-s.done:
		s.begun = false
		if err != nil {
			t.Errorf("warm: %v", err)
		}
	case <-time.After(waiting):
		t.Errorf("a warmer took no step within %v", waiting)
	}
}

// play follows one order on a row of its own, and returns 1 if it ends with a value.
func (r *race) play(o order, commitsFirst bool) int {
	t := r.t
	t.Helper()
	r.id++
	key, id := fmt.Sprintf("t:%d", r.id), fmt.Sprint(r.id)
	r.exec(`insert into t values ($1, 1)`, r.id)
	if _, err := r.warmers[0].cache.Exists(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := r.rdb.Set(t.Context(), key, fmt.Sprintf(`{"n": 1, "id": %s}`, id), time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	writes := "cici"
	if commitsFirst {
		writes = "ccii"
	}
	committed, applied := 1, 1
	for at, who := range []byte(o) {
		switch who {
		case 'a', 'b':
			v := r.warmers[who-'a']
			r.steps[who-'a'].step(t, func() error {
				_, err := v.Do(context.Background(), r.task(0, key, id))
				return err
			})
		default:
			if writes[0] == 'c' {
				committed++
				r.exec(`update t set n = $2 where id = $1`, r.id, committed)
			} else {
				applied++
				if _, err := r.applier.Apply(t.Context(), cache.Batch{Keys: []string{key}}); err != nil {
					t.Fatal(err)
				}
			}
			writes = writes[1:]
		}
		n := 0
		if value := r.value(key); value != "" {
			if _, err := fmt.Sscanf(value, `{"n": %d,`, &n); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
		}
		if n != 0 && n < applied {
			t.Errorf("%s (commits first: %v), step %d: version %d is cached after %d was invalidated", o, commitsFirst, at+1, n, applied)
			return 0
		}
	}
	switch value := r.value(key); {
	case value == "":
		return 0
	case strings.HasPrefix(value, fmt.Sprintf(`{"n": %d,`, committed)):
		return 1
	default:
		t.Errorf("%s (commits first: %v): in the end %s is cached, and version %d was committed", o, commitsFirst, value, committed)
		return 0
	}
}

// An invalidation between query and fill voids the fill, and the task is tried again:
// the change found nothing to remove, so nobody else asks for it.
func TestVoidedFillIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(nil)}, nil)
	var once sync.Once
	var v ran
	made := make(chan struct{})
	v = w.start(func(c *warmer.Config) {
		warmer.OnQueried(c, func(ctx context.Context, key string) {
			<-made
			once.Do(func() {
				_, err := w.db.Exec(ctx, `update t set n = 7 where id = 1`)
				if err = errors.Join(err, v.cache.Delete(ctx, key)); err != nil {
					t.Error(err)
				}
			})
		})
	})
	close(made)
	w.offered.Offer([]stream.WarmTask{w.task(0, "t:1", "1")})
	w.is(v, "refused, then filled", func(s warmer.Status) bool { return s.Results.Refused == 1 && s.Results.Filled == 1 })
	if got, want := w.value("t:1"), `{"n": 7, "id": 1}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
