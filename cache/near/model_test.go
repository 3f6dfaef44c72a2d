package near_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const modelKeys = 24

// world is a store, an invalidator and layers that read it, write to it and lose
// their connections.
//
// The value of a key is its version. Whoever changes one names the version in a
// key of its own beside the invalidation, so that it is known of every layer
// which versions it knows to be old: those must never be served again, at any
// time. When all has come to rest, no old version at all may be.
type world struct {
	t      *testing.T
	store  [modelKeys]atomic.Int64
	layers []*near.Layer
	links  []*servertest.Proxy
	inv    speaker
	// known is, by layer and key, the newest version that the layer was told of.
	known [][modelKeys]atomic.Int64

	hits, cuts, lost atomic.Int64
}

func modelKey(k int) string { return "m:" + strconv.Itoa(k%4) + ":" + strconv.Itoa(k) }
func modelTag(k int) string { return "t" + strconv.Itoa(k%6) }

// change makes new versions and returns the invalidation of the old ones, and
// what to know once it has been heard.
func (w *world) change(r *rand.Rand) cache.Invalidation {
	var i cache.Invalidation
	switch n := r.IntN(modelKeys); r.IntN(10) {
	case 0:
		i.Patterns = []string{"m:" + strconv.Itoa(n%4) + ":*"}
	case 1, 2:
		i.Tags = []string{modelTag(n)}
	case 3:
		i.AllTags = true
	default:
		i.Keys = []string{modelKey(n), modelKey((n + 1) % modelKeys)}
	}
	for k := range modelKeys {
		if named(i, k) {
			i.Keys = append(i.Keys, fmt.Sprintf("version %d %d", k, w.store[k].Add(1)))
		}
	}
	return i
}

func named(i cache.Invalidation, k int) bool {
	return i.AllTags || contains(i.Keys, modelKey(k)) || contains(i.Tags, modelTag(k)) ||
		len(i.Patterns) > 0 && cache.MatchPattern(i.Patterns[0], modelKey(k))
}

// learn notes what a layer has been told.
func (w *world) learn(layer int, i cache.Invalidation) {
	for _, key := range i.Keys {
		if !strings.HasPrefix(key, "version ") {
			continue
		}
		var k int
		var version int64
		if _, err := fmt.Sscanf(key, "version %d %d", &k, &version); err != nil {
			w.t.Error(err)
			continue
		}
		for known := &w.known[layer][k]; ; {
			old := known.Load()
			if old >= version || known.CompareAndSwap(old, version) {
				break
			}
		}
	}
}

// write changes something, by a layer or by the invalidator. Some broadcasts are
// lost with nobody noticing.
func (w *world) write(r *rand.Rand) {
	by := r.IntN(len(w.layers) + 1)
	i, lose := w.change(r), r.IntN(10) == 0
	if lose {
		w.lost.Add(1)
	}
	switch {
	case by == len(w.layers) && lose:
		w.inv.Lose()
	case by == len(w.layers):
		if err := w.inv.Announce(near.Broadcast{Keys: i.Keys, Patterns: i.Patterns, Tags: i.Tags, AllTags: i.AllTags}); err != nil {
			w.t.Error(err)
		}
	case lose:
		w.layers[by].InvalidatedUnheard(i)
		w.learn(by, i)
	default:
		w.layers[by].Invalidated(i)
		w.learn(by, i)
	}
}

// read does what the library does for a key.
func (w *world) read(layer, k int) {
	l, key := w.layers[layer], modelKey(k)
	known := w.known[layer][k].Load()
	if v, ok := l.Get(key); ok {
		w.hits.Add(1)
		if v, isVersion := v.(int64); !isVersion || v < known {
			w.t.Errorf("layer %d serves version %d of %s and was told of %d", layer, v, key, known)
		}
		return
	}
	mark, ok := l.Mark()
	if !ok {
		return
	}
	version := w.store[k].Load()
	runtime.Gosched() // the way back
	l.Put(key, cache.NearEntry{Value: version, Tags: []string{modelTag(k), "all"}, TTL: never}, mark)
}

// settled reports whether all layers know what all others have sent.
func (w *world) settled() (bool, string) {
	for n, l := range w.layers {
		if _, ok := l.Mark(); !ok {
			return false, fmt.Sprintf("layer %d: %+v", n, l.Stats())
		}
		senders := []*near.Announcer{w.inv.Announcer}
		for m, other := range w.layers {
			if m != n {
				senders = append(senders, other.Announcer())
			}
		}
		for _, a := range senders {
			sender, sent := a.Sent()
			if got, _ := l.Heard(sender); got != sent {
				return false, fmt.Sprintf("layer %d knows %d of %d from %s", n, got, sent, sender)
			}
		}
	}
	return true, ""
}

// round lets everybody do as they like for a while and checks what is left.
func (w *world) round(seed uint64, d time.Duration) {
	end := time.Now().Add(d)
	var running sync.WaitGroup
	loop := func(id uint64, pause time.Duration, act func(*rand.Rand)) {
		r := rand.New(rand.NewPCG(seed, id))
		running.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for time.Now().Before(end) {
				act(r)
				<-tick.C
			}
		})
	}
	for id := range uint64(3) {
		loop(id, 300*time.Microsecond, w.write)
	}
	loop(9, 10*time.Millisecond, func(r *rand.Rand) {
		if r.IntN(3) == 0 {
			w.cuts.Add(1)
			w.links[r.IntN(len(w.links))].Cut()
		}
	})
	for layer := range w.layers {
		for id := range uint64(2) {
			loop(10+uint64(layer)*2+id, 20*time.Microsecond, func(r *rand.Rand) { w.read(layer, r.IntN(modelKeys)) })
		}
	}
	running.Wait()
	servertest.Eventually(w.t, waiting, w.settled)
	for n, l := range w.layers {
		for k := range modelKeys {
			if v, ok := l.Get(modelKey(k)); ok && v != w.store[k].Load() {
				w.t.Errorf("at rest, layer %d serves version %v of %s, which is at %d", n, v, modelKey(k), w.store[k].Load())
			}
		}
		// Something must be there to be old in the next round.
		for k := range modelKeys {
			w.read(n, k)
		}
	}
}

func TestNoLayerServesWhatItMustKnowToBeOld(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	w := &world{t: t, inv: invalidator(t, server, "inv"), known: make([][modelKeys]atomic.Int64, 4)}
	for n := range w.known {
		link := servertest.NewProxy(t, server.Addr())
		l := layerOn(t, open(t, "nats://"+link.Addr()))
		w.links, w.layers = append(w.links, link), append(w.layers, l)
		t.Cleanup(l.Listen(func(i cache.Invalidation) { w.learn(n, i) }))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range uint64(12) {
		w.round(seed+round, 200*time.Millisecond)
		if t.Failed() {
			t.FailNow()
		}
	}
	hits, cuts, lost := w.hits.Load(), w.cuts.Load(), w.lost.Load()
	t.Logf("%d hits, %d connections cut, %d broadcasts lost", hits, cuts, lost)
	if hits < 100 || cuts < 10 || lost < 10 {
		t.Errorf("%d hits, %d connections cut, %d broadcasts lost: too little to prove anything", hits, cuts, lost)
	}
}
