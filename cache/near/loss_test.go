package near_test

import (
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// TestWhatWasMissedEmpties says one thing by hand that shows that something was
// missed. The layer is sound again at once, without what it had and without the
// fill that was on its way.
func TestWhatWasMissedEmpties(t *testing.T) {
	t.Parallel()
	const hello = `{"kind":"heartbeat","sender":"a","n":0,"every":1,"role":"library"}`
	for name, tc := range map[string]struct {
		before []string
		last   string
		then   string // what empties no more
	}{
		"a number is skipped": {
			[]string{hello, `{"kind":"invalidate","sender":"a","n":1,"keys":["x"]}`},
			`{"kind":"invalidate","sender":"a","n":3,"keys":["x"]}`,
			`{"kind":"invalidate","sender":"a","n":4,"keys":["x"]}`,
		},
		"a number comes again": {
			[]string{hello, `{"kind":"invalidate","sender":"a","n":1,"keys":["x"]}`},
			`{"kind":"invalidate","sender":"a","n":1,"keys":["x"]}`,
			`{"kind":"invalidate","sender":"a","n":2,"keys":["x"]}`,
		},
		"a heartbeat is ahead": {
			[]string{hello}, `{"kind":"heartbeat","sender":"a","n":1,"every":1}`, `{"kind":"heartbeat","sender":"a","n":1,"every":1}`,
		},
		"a goodbye is ahead": {
			[]string{hello}, `{"kind":"heartbeat","sender":"a","n":1,"every":1,"bye":true}`, hello,
		},
		"an unknown sender has sent before": {
			nil, `{"kind":"invalidate","sender":"a","n":2,"keys":["x"]}`, `{"kind":"invalidate","sender":"a","n":3,"keys":["x"]}`,
		},
		"an unknown sender's heartbeat says so": {
			nil, `{"kind":"heartbeat","sender":"a","n":9,"every":1}`, `{"kind":"heartbeat","sender":"a","n":9,"every":1}`,
		},
		"a new invalidator": {
			nil, `{"kind":"heartbeat","sender":"a","n":0,"every":1,"role":"invalidator"}`, `{"kind":"heartbeat","sender":"a","n":0,"every":1,"role":"invalidator"}`,
		},
		"not JSON":        {nil, `{`, hello},
		"an unknown kind": {nil, `{"kind":"more","sender":"a","n":1}`, hello},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			for _, message := range tc.before {
				s.say("a", message)
			}
			s.hello("b") // everything said before it has been heard
			keep(t, s.layer, "order:1")
			keep(t, s.layer, "order:2", "red")
			before := s.layer.Stats()
			mark, _ := s.layer.Mark()
			s.heard.reset()

			s.say("a", tc.last)
			eventually(t, "emptied", s.heard.missed)
			if has(s.layer, "order:1") || has(s.layer, "order:2") {
				t.Error("an entry is still there")
			}
			s.layer.Put("order:3", cache.NearEntry{Value: 1, TTL: never}, mark)
			if has(s.layer, "order:3") {
				t.Error("a fill that began before is there")
			}
			keep(t, s.layer, "order:1") // at once
			if after := s.layer.Stats(); !after.Sound || after.Emptied != before.Emptied+1 {
				t.Errorf("got %+v, want it sound and emptied once since %+v", after, before)
			}

			s.say("a", tc.then)
			s.hello("c")
			if !has(s.layer, "order:1") {
				t.Errorf("what is in order emptied it: %+v", s.layer.Stats())
			}
		})
	}
}

func TestWhatIsInOrderEmptiesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	keep(t, s.layer, "order:1")
	for _, message := range []string{
		`{"kind":"invalidate","sender":"a","n":1,"keys":["x"]}`, // unknown, and its first
		`{"kind":"heartbeat","sender":"a","n":1,"every":1}`,
		`{"kind":"invalidate","sender":"a","n":2,"tags":["x"],"more":true}`,
		`{"kind":"heartbeat","sender":"a","n":2,"every":1,"bye":true}`,
	} {
		s.say("a", message)
	}
	s.hello("b")
	s.inv.leave()
	eventually(t, "the invalidator left", func() bool { _, known := s.layer.Heard("inv"); return !known })
	if stats := s.layer.Stats(); !has(s.layer, "order:1") || !stats.Sound || stats.Emptied != 0 {
		t.Errorf("got %+v, entry %v", stats, has(s.layer, "order:1"))
	}
}

func TestSilentLibraryEmptiesAndIsForgotten(t *testing.T) {
	t.Parallel()
	s := newScene(t, patience(soon))
	other := speak(t, s.server, "other", near.RoleLibrary)
	if err := other.Announce(near.Broadcast{Keys: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "known", func() bool { n, _ := s.layer.Heard("other"); return n == 1 })
	mark, _ := s.layer.Mark()
	s.heard.reset()
	other.die()
	eventually(t, "emptied", s.heard.missed)
	if _, known := s.layer.Heard("other"); known {
		t.Error("the silent sender is not forgotten")
	}
	s.layer.Put("order:1", cache.NearEntry{Value: 1, TTL: never}, mark)
	if has(s.layer, "order:1") {
		t.Error("a fill from before is there")
	}
	sound(t, s.layer)
	// It comes back, from wherever it was.
	s.heard.reset()
	s.say("other", `{"kind":"heartbeat","sender":"other","n":1,"every":1}`)
	eventually(t, "emptied again", s.heard.missed)
}

func TestSilentInvalidator(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(speaker){
		"without a goodbye": func(s speaker) { s.die() },
		"with a goodbye":    func(s speaker) { s.leave() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, patience(soon))
			mark, _ := s.layer.Mark()
			s.layer.Put("order:1", cache.NearEntry{Value: 1, TTL: never}, mark)
			end(s.inv)
			bypassed(t, s.layer)
			if has(s.layer, "order:1") {
				t.Error("an entry is still there")
			}
			// Others cannot stand in for it.
			speak(t, s.server, "other", near.RoleLibrary)
			eventually(t, "known", func() bool { _, known := s.layer.Heard("other"); return known })
			if _, ok := s.layer.Mark(); ok {
				t.Error("a library's heartbeat made it sound")
			}
			invalidator(t, s.server, "next")
			sound(t, s.layer)
			if has(s.layer, "order:1") {
				t.Error("an entry from before came back")
			}
		})
	}
}

// TestTakeover has the next invalidator begin while nobody knows that the one
// before has ended.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	keep(t, s.layer, "order:1")
	s.heard.reset()
	s.inv.die()
	next := invalidator(t, s.server, "next")
	eventually(t, "emptied", s.heard.missed)
	if has(s.layer, "order:1") {
		t.Error("an entry is still there")
	}
	keep(t, s.layer, "order:1")
	if err := next.Announce(near.Broadcast{Keys: []string{"order:1"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "heard", func() bool { return !has(s.layer, "order:1") })
}

func TestLostConnection(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	keep(t, s.layer, "order:1")
	mark, _ := s.layer.Mark()
	s.heard.reset()
	if err := s.server.Kill(); err != nil {
		t.Fatal(err)
	}
	// Nobody's patience is at an end.
	bypassed(t, s.layer)
	eventually(t, "told", s.heard.missed)
	if has(s.layer, "order:1") {
		t.Error("an entry is still there")
	}
	s.heard.reset()
	if err := s.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sound(t, s.layer)
	eventually(t, "told that loads from meanwhile may not be shared", s.heard.missed)
	s.layer.Put("order:2", cache.NearEntry{Value: 1, TTL: never}, mark)
	if has(s.layer, "order:1") || has(s.layer, "order:2") {
		t.Error("an entry from before came back")
	}
	keep(t, s.layer, "order:1")
	if err := s.inv.Announce(near.Broadcast{Keys: []string{"order:1"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "heard", func() bool { return !has(s.layer, "order:1") })
}

// TestHaltedServer has a connection that stays up and brings nothing.
func TestHaltedServer(t *testing.T) {
	t.Parallel()
	// Alone, so that it can only be the layer's own heartbeats.
	server := servertest.NATS(t)
	l := layer(t, server, withoutInvalidator, patience(soon))
	sound(t, l)
	mark, _ := l.Mark()
	l.Put("order:1", cache.NearEntry{Value: 1, TTL: never}, mark)
	h := listen(t, l)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	bypassed(t, l)
	eventually(t, "told", h.missed)
	if has(l, "order:1") {
		t.Error("an entry is still there")
	}
	// A caller that does not listen to Mark.
	mark, _ = l.Mark()
	l.Put("order:2", cache.NearEntry{Value: 1, TTL: never}, mark)
	h.reset()
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	sound(t, l)
	if has(l, "order:1") || has(l, "order:2") {
		t.Error("an entry from before came back")
	}
	eventually(t, "told that loads from meanwhile may not be shared", h.missed)
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	conn := open(t, server.URL())
	l := layerOn(t, conn, withoutInvalidator)
	sound(t, l)
	keep(t, l, "order:1")
	conn.Close()
	bypassed(t, l)
	if has(l, "order:1") {
		t.Error("an entry is still there")
	}
	l.Invalidated(cache.Invalidation{Keys: []string{"order:1"}})
	if got := l.Stats().Unsent; got != 1 {
		t.Errorf("unsent: got %d, want 1", got)
	}
}

// block makes a layer stop hearing once it hears the key "block".
func block(t *testing.T, l *near.Layer) (busy chan struct{}, release func()) {
	t.Helper()
	busy, released := make(chan struct{}), make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	t.Cleanup(l.Listen(func(i cache.Invalidation) {
		if contains(i.Keys, "block") {
			close(busy)
			<-released
		}
	}))
	return busy, release
}

// TestSlowProcess fills the client's queue while nothing takes from it. The
// messages dropped are heartbeats that repeat a number, so that no number is
// missing afterwards.
func TestSlowProcess(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	keep(t, s.layer, "order:1")
	busy, release := block(t, s.layer)
	s.hello("a")
	before := s.layer.Stats()
	s.say("a", `{"kind":"invalidate","sender":"a","n":1,"keys":["block"]}`)
	<-busy
	if err := s.layer.SetPendingLimit(2); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s.say("a", `{"kind":"heartbeat","sender":"a","n":1,"every":1}`)
	}
	eventually(t, "dropped", func() bool { return s.layer.Dropped() > 0 })
	s.heard.reset()
	if err := s.layer.SetPendingLimit(-1); err != nil {
		t.Fatal(err)
	}
	release()
	eventually(t, "emptied", s.heard.missed)
	if has(s.layer, "order:1") {
		t.Error("an entry is still there")
	}
	sound(t, s.layer)
	if after := s.layer.Stats(); after.Emptied <= before.Emptied {
		t.Errorf("got %+v, want it emptied since %+v", after, before)
	}
}

// TestBacklogCountsAsLost has everything come in time and in order, but wait for
// a process that is too slow to hear it.
func TestBacklogCountsAsLost(t *testing.T) {
	t.Parallel()
	s := newScene(t, patience(soon))
	busy, release := block(t, s.layer)
	if err := s.inv.Announce(near.Broadcast{Keys: []string{"block"}}); err != nil {
		t.Fatal(err)
	}
	<-busy
	bypassed(t, s.layer)
	release()
	sound(t, s.layer)
}

// TestHaltedProcess has nothing but the look at the clock in Get and Mark to go
// by: no message comes and no timer fires.
func TestHaltedProcess(t *testing.T) {
	t.Parallel()
	for name, halt := range map[string]func(*clock){
		"halted": func(c *clock) { c.halt(3 * time.Hour) },
		"asleep": func(c *clock) { c.suspend(3 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, c := servertest.NATS(t), newClock()
			l := layer(t, server, withoutInvalidator, on(c), every(time.Hour), patience(2*time.Hour), func(cfg *near.Config) { cfg.TTL = 100 * time.Hour })
			sound(t, l)
			mark, _ := l.Mark()
			l.Put("order:1", cache.NearEntry{Value: 1, TTL: 100 * time.Hour}, mark)
			if !has(l, "order:1") {
				t.Fatal("it keeps nothing")
			}
			mark, _ = l.Mark()
			h := listen(t, l)

			halt(c)
			if has(l, "order:1") {
				t.Error("an entry from before is served")
			}
			if _, ok := l.Mark(); ok {
				t.Error("it would keep entries")
			}
			l.Put("order:2", cache.NearEntry{Value: 1, TTL: 100 * time.Hour}, mark)

			// The first own heartbeat may be heard to be old; the next is not.
			eventually(t, "sound again", func() bool { l.Beat(); _, ok := l.Mark(); return ok })
			if has(l, "order:1") || has(l, "order:2") {
				t.Error("an entry from before came back")
			}
			eventually(t, "told", h.missed)
			mark, _ = l.Mark()
			l.Put("order:1", cache.NearEntry{Value: 1, TTL: 100 * time.Hour}, mark)
			if !has(l, "order:1") {
				t.Error("it keeps nothing any more")
			}
		})
	}
}
