package near_test

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestInvalidationsReachTheOthers(t *testing.T) {
	t.Parallel()
	const tagged, other, untagged = "order:1", "order:2", "client:1"
	for name, tc := range map[string]struct {
		i    cache.Invalidation
		stay []string
	}{
		"a key":            {cache.Invalidation{Keys: []string{tagged}}, []string{other, untagged}},
		"two keys":         {cache.Invalidation{Keys: []string{tagged, untagged}}, []string{other}},
		"a pattern":        {cache.Invalidation{Patterns: []string{"order:*"}}, []string{untagged}},
		"an exact pattern": {cache.Invalidation{Patterns: []string{`order\:[2-3]`}}, []string{tagged, untagged}},
		"a tag":            {cache.Invalidation{Tags: []string{"red"}}, []string{other, untagged}},
		"all tags":         {cache.Invalidation{AllTags: true}, []string{untagged}},
		"everything":       {cache.Invalidation{Patterns: []string{"*"}}, nil},
		"nothing of ours":  {cache.Invalidation{Keys: []string{"x"}, Patterns: []string{"x:*"}, Tags: []string{"x"}}, []string{tagged, other, untagged}},
	} {
		for _, by := range []string{"library", "invalidator", "itself"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				writer := layer(t, s.server)
				sound(t, writer)
				eventually(t, "the writer is known", func() bool {
					sender, _ := writer.Announcer().Sent()
					_, known := s.layer.Heard(sender)
					return known
				})
				keep(t, s.layer, tagged, "red", "all")
				keep(t, s.layer, other, "blue", "all")
				keep(t, s.layer, untagged)
				s.heard.reset()
				before := s.layer.Stats()

				switch by {
				case "library":
					writer.Invalidated(tc.i)
				case "invalidator":
					err := s.inv.Announce(near.Broadcast{
						Keys: tc.i.Keys, Patterns: tc.i.Patterns, Tags: tc.i.Tags, AllTags: tc.i.AllTags,
						Epoch: "7301:1:0", LSN: "0/10",
					})
					if err != nil {
						t.Fatal(err)
					}
				case "itself":
					s.layer.Invalidated(tc.i)
				}
				if by != "itself" {
					eventually(t, "heard", func() bool { return len(s.heard.list()) > 0 })
					if got := s.heard.list(); len(got) != 1 || !reflect.DeepEqual(got[0], tc.i) {
						t.Errorf("listener: got %+v, want %+v", got, tc.i)
					}
				}
				for _, key := range []string{tagged, other, untagged} {
					if got, want := has(s.layer, key), contains(tc.stay, key); got != want {
						t.Errorf("%s is there: got %v, want %v", key, got, want)
					}
				}
				if after := s.layer.Stats(); !after.Sound || after.Emptied != before.Emptied {
					t.Errorf("got %+v, want it sound and never emptied", after)
				}
				if by == "itself" {
					// The others hear of it; it does not hear itself.
					eventually(t, "the writer heard", func() bool {
						sender, n := s.layer.Announcer().Sent()
						got, _ := writer.Heard(sender)
						return n == 1 && got == n
					})
					if got := s.heard.list(); len(got) != 0 {
						t.Errorf("it was told of its own: %+v", got)
					}
				}
			})
		}
	}
}

func contains(list []string, text string) bool {
	for _, one := range list {
		if one == text {
			return true
		}
	}
	return false
}

func TestRacedFillsAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		i       cache.Invalidation
		refused bool
	}{
		"its key":     {cache.Invalidation{Keys: []string{"x", "order:1"}}, true},
		"its tag":     {cache.Invalidation{Tags: []string{"x", "red"}}, true},
		"all tags":    {cache.Invalidation{AllTags: true}, true},
		"its pattern": {cache.Invalidation{Patterns: []string{"order:*"}}, true},
		"everything":  {cache.Invalidation{Patterns: []string{"*"}}, true},
		// By far the most stripes are others.
		"another key": {cache.Invalidation{Keys: []string{"order:2"}}, false},
		"another tag": {cache.Invalidation{Tags: []string{"blue"}}, false},
	} {
		for _, by := range []string{"invalidator", "itself"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				// Names may share a stripe, once in thousands: of three layers at
				// least one keeps what need not be refused.
				kept := false
				for range 3 {
					l := layer(t, s.server)
					h := listen(t, l)
					sound(t, l)
					h.reset()
					mark, ok := l.Mark()
					if !ok {
						t.Fatal("no mark")
					}
					if by == "itself" {
						l.Invalidated(tc.i)
					} else {
						if err := s.inv.Announce(near.Broadcast{Keys: tc.i.Keys, Patterns: tc.i.Patterns, Tags: tc.i.Tags, AllTags: tc.i.AllTags}); err != nil {
							t.Fatal(err)
						}
						eventually(t, "heard", func() bool { return len(h.list()) > 0 })
					}
					l.Put("order:1", cache.NearEntry{Value: 1, Tags: []string{"green", "red"}, TTL: never}, mark)
					kept = kept || has(l, "order:1")
					keep(t, l, "order:1", "green", "red") // with a mark of now
				}
				if kept == tc.refused {
					t.Errorf("kept: got %v, want %v", kept, !tc.refused)
				}
			})
		}
	}
}

// clock is the machine's, and what a test adds to it.
type clock struct {
	began       time.Time
	mono, sleep chan time.Duration // each holds one value
}

func newClock() *clock {
	c := &clock{began: time.Now(), mono: make(chan time.Duration, 1), sleep: make(chan time.Duration, 1)}
	c.mono <- time.Second
	c.sleep <- 0
	return c
}

func (c *clock) now() (mono, wall time.Duration) {
	more, slept := <-c.mono, <-c.sleep
	c.mono <- more
	c.sleep <- slept
	mono = time.Since(c.began) + more
	return mono, mono + slept
}

// halt lets time pass at once, as it does for a process that is halted.
func (c *clock) halt(d time.Duration) { c.mono <- <-c.mono + d }

// suspend is the same for a machine that sleeps.
func (c *clock) suspend(d time.Duration) { c.sleep <- <-c.sleep + d }

func on(c *clock) change { return func(cfg *near.Config) { cfg.SetClock(c.now) } }

func TestEntriesExpire(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newScene(t, on(c), func(cfg *near.Config) { cfg.TTL = time.Minute })
	put := func(key string, ttl time.Duration) {
		mark, _ := s.layer.Mark()
		s.layer.Put(key, cache.NearEntry{Value: 1, TTL: ttl}, mark)
	}
	put("short", 20*time.Second)
	put("long", never)
	put("none", 0)
	put("less", -time.Second)
	if has(s.layer, "none") || has(s.layer, "less") {
		t.Error("an entry without a TTL is there")
	}
	// The real time that passes meanwhile is in the clock too.
	c.halt(10 * time.Second)
	if !has(s.layer, "short") || !has(s.layer, "long") {
		t.Error("an entry expired early")
	}
	c.halt(10 * time.Second)
	if has(s.layer, "short") || !has(s.layer, "long") {
		t.Errorf("after 20 s: short %v, long %v", has(s.layer, "short"), has(s.layer, "long"))
	}
	c.halt(40 * time.Second)
	if has(s.layer, "long") {
		t.Error("an entry outlived the layer's TTL")
	}
	// And what nobody can get takes no room.
	c.halt(time.Minute)
	eventually(t, "expired entries are dropped", func() bool { return s.layer.Stats().Entries == 0 })
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t, func(cfg *near.Config) { cfg.MaxBytes = 100_000 })
	mark, _ := s.layer.Mark()
	for i := range 1000 {
		s.layer.Put(fmt.Sprintf("order:%d", i), cache.NearEntry{Value: i, TTL: never, Size: 1000}, mark)
	}
	s.layer.Put("whale", cache.NearEntry{Value: 1, TTL: never, Size: 1 << 40}, mark)
	servertest.Eventually(t, waiting, func() (bool, string) {
		stats, whale := s.layer.Stats(), has(s.layer, "whale")
		return stats.Bytes <= 100_000 && stats.Entries >= 20 && stats.Entries <= 100 && !whale, fmt.Sprintf("%+v, whale %v", stats, whale)
	})
}

func TestManyPatternsTakeEverything(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	mark, _ := s.layer.Mark()
	const entries = 2000
	for i := range entries {
		s.layer.Put(fmt.Sprintf("order:%d", i), cache.NearEntry{Value: i, TTL: never}, mark)
	}
	var patterns []string
	for i := range near.MaxMatches/entries - 1 {
		patterns = append(patterns, fmt.Sprintf("x:%d:*", i))
	}
	s.layer.Invalidated(cache.Invalidation{Patterns: patterns})
	if !has(s.layer, "order:7") {
		t.Error("an entry that no pattern names is gone")
	}
	s.layer.Invalidated(cache.Invalidation{Patterns: append(patterns, "y:*", "z:*")})
	if has(s.layer, "order:7") {
		t.Error("it is still there")
	}
}

func TestNothingIsKeptBeforeAnInvalidatorIsHeard(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	l, alone := layer(t, server), layer(t, server, withoutInvalidator)
	sound(t, alone)
	keep(t, alone, "order:1")
	eventually(t, "the layers hear each other", func() bool {
		sender, _ := alone.Announcer().Sent()
		_, known := l.Heard(sender)
		return known
	})
	if _, ok := l.Mark(); ok {
		t.Fatalf("it may keep entries: %+v", l.Stats())
	}
	l.Put("order:1", cache.NearEntry{Value: 1, TTL: never}, 1<<62)
	if has(l, "order:1") {
		t.Error("it has an entry")
	}
	invalidator(t, server, "inv")
	sound(t, l)
	keep(t, l, "order:2")
}

func TestCloseSaysGoodbyeAndKeepsNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	closing := layer(t, s.server)
	sound(t, closing)
	sender, _ := closing.Announcer().Sent()
	eventually(t, "known", func() bool { _, known := s.layer.Heard(sender); return known })
	keep(t, closing, "order:1")
	keep(t, s.layer, "order:1")
	for range 2 {
		if err := closing.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, ok := closing.Mark(); ok || has(closing, "order:1") {
		t.Error("a closed layer is in use")
	}
	eventually(t, "gone", func() bool { _, known := s.layer.Heard(sender); return !known })
	if !has(s.layer, "order:1") {
		t.Error("a goodbye emptied the layer")
	}
	// It still tells of what it does.
	closing.Invalidated(cache.Invalidation{Keys: []string{"order:1"}})
	eventually(t, "heard", func() bool { return !has(s.layer, "order:1") })
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	conn := open(t, server.URL(), nats.NoEcho())
	_, err := near.New(conn, near.Config{Name: "a.b", MaxBytes: -1, TTL: -1, Patience: time.Second})
	for _, want := range []string{`"a.b"`, "max bytes", "TTL", "patience", "NoEcho"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to tell of %s", err, want)
		}
	}
	if _, err := near.New(open(t, server.URL()), near.Config{}); err == nil {
		t.Error("no error without a name")
	}
	if _, err := near.New(nil, near.Config{Name: instance}); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("without a connection: got %v", err)
	}
	closed := open(t, server.URL())
	closed.Close()
	if _, err := near.New(closed, near.Config{Name: instance}); err == nil {
		t.Error("no error on a closed connection")
	}
}

func TestListenCanStop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	h := &heard{}
	var stop func()
	stop = s.layer.Listen(func(i cache.Invalidation) {
		h.mu.Lock()
		h.all = append(h.all, i)
		h.mu.Unlock()
		stop() // from within
	})
	s.heard.reset()
	for i := range 3 {
		if err := s.inv.Announce(near.Broadcast{Keys: []string{fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all heard", func() bool { return len(s.heard.list()) == 3 })
	if got := h.list(); len(got) != 1 {
		t.Errorf("got %+v, want one", got)
	}
}

// TestNamesThatAreNoText: messages are JSON, which cannot hold any bytes; what it
// would change is covered by something wider.
func TestNamesThatAreNoText(t *testing.T) {
	t.Parallel()
	const binary, other, tagged, untagged = "order:\xff*\xfe", "order:\xff.\xfe", "client:1", "client:2"
	for name, tc := range map[string]struct {
		i    cache.Invalidation
		stay []string
	}{
		"a key":     {cache.Invalidation{Keys: []string{binary}}, []string{other, tagged, untagged}},
		"a pattern": {cache.Invalidation{Patterns: []string{"order:\xff[*]?"}}, nil},
		"a tag":     {cache.Invalidation{Tags: []string{"red\xff"}}, []string{binary, other, untagged}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			keep(t, s.layer, binary)
			keep(t, s.layer, other)
			keep(t, s.layer, tagged, "red\xff")
			keep(t, s.layer, untagged)
			s.heard.reset()
			if err := s.inv.Announce(near.Broadcast{Keys: tc.i.Keys, Patterns: tc.i.Patterns, Tags: tc.i.Tags}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "heard", func() bool { return len(s.heard.list()) > 0 })
			for _, key := range []string{binary, other, tagged, untagged} {
				if got, want := has(s.layer, key), contains(tc.stay, key); got != want {
					t.Errorf("%q is there: got %v, want %v", key, got, want)
				}
			}
		})
	}
}

// TestNeverInUse: a layer that hears no invalidator, as with another instance's
// name, says so once.
func TestNeverInUse(t *testing.T) {
	t.Parallel()
	log := &logged{}
	l := layer(t, servertest.NATS(t), patience(2*often), func(c *near.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	eventually(t, "a warning", func() bool { return log.count("has not come into use") == 1 })
	eventually(t, "its reason", func() bool { return log.count("no invalidator") == 1 })
	if l.Stats().Sound {
		t.Error("it is in use")
	}
	servertest.Never(t, 10*often, func() (bool, string) { return log.count("has not come into use") > 1, "it says so again" })
}

// logged is a log to look at.
type logged struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}
