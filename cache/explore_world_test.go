package cache

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
)

const (
	maxActors = 8
	maxEvents = 6
)

// exploreKeys are the keys that there are.
var exploreKeys = [2]string{"k:1", "k:2"}

// versions is a version of each key's row.
type versions [len(exploreKeys)]int

// world is the state of all that the processes share, and of what is needed to
// judge it. It can be copied, so that a step can be tried.
type world struct {
	redis   keyspace
	db      versions // committed
	standby versions // as far as a standby has replayed them
	changes int      // how many there were of the database
	applied versions // whose invalidations have been applied

	floor  [maxActors]versions // applied when an actor's call began
	token  [maxActors]versions // committed when an actor took a token
	began  [maxActors]bool     // an actor's call has sent its first command
	memory [maxActors]uint64   // hash of all that each process has seen

	events [maxEvents]int // how often each may still happen
	losses int            // replies that may still be lost
	ticks  int            // times that time may still pass
	ghosts []ghost
}

// ghost is a request whose reply nobody waits for any more. What is left of it may
// still be executed.
type ghost struct {
	q    *request
	next int
}

func (w *world) clone() *world {
	c := *w
	c.redis, c.ghosts = slices.Clone(w.redis), slices.Clone(w.ghosts)
	return &c
}

var exploreSeed = maphash.MakeSeed()

// digest hashes what texts and numbers it is given. Texts that are random go in
// by the names that a run has for them.
type digest struct {
	h     maphash.Hash
	names map[string]uint64
}

func newDigest(names map[string]uint64) *digest {
	d := &digest{names: names}
	d.h.SetSeed(exploreSeed)
	return d
}

func (d *digest) number(n uint64) {
	var raw [8]byte
	binary.LittleEndian.PutUint64(raw[:], n)
	_, _ = d.h.Write(raw[:])
}

func (d *digest) numbers(all versions) {
	for _, n := range all {
		d.number(uint64(n))
	}
}

func (d *digest) text(text string) {
	if name, ok := d.names[text]; ok {
		d.number(name)
		return
	}
	d.number(uint64(len(text)))
	_, _ = d.h.WriteString(text)
}

func (d *digest) reply(reply any) {
	switch reply := reply.(type) {
	case string:
		d.text(reply)
	case int64:
		d.number(uint64(reply))
	case int:
		d.number(uint64(reply))
	case versions:
		d.numbers(reply)
	case bool:
		d.number(uint64(bit(reply)))
	case page:
		for _, name := range reply.names {
			d.text(name)
		}
		d.number(reply.next)
	case []any:
		for _, one := range reply {
			d.reply(one)
		}
	}
	d.number(1 << 60)
}

// hash tells worlds apart in which something else can happen. Bookkeeping that
// one process alone reads and writes is left out: that process' memory says all
// about it.
func (w *world) hash(r *play) uint64 {
	d := newDigest(r.names)
	for _, i := range w.redis {
		if r.s.private(i.name) {
			continue
		}
		d.text(i.name)
		d.text(i.value)
		d.number(uint64(i.px))
	}
	d.numbers(w.db)
	d.numbers(w.standby)
	d.numbers(w.applied)
	for i := range r.actors {
		d.numbers(w.floor[i])
		d.numbers(w.token[i])
		d.number(uint64(bit(w.began[i])))
	}
	for i := range r.caches {
		d.number(w.memory[i])
	}
	for i := range r.s.events {
		d.number(uint64(w.events[i]))
	}
	d.number(uint64(w.losses))
	d.number(uint64(w.ticks))
	for _, g := range w.ghosts {
		d.number(g.q.id)
		d.number(uint64(g.next))
	}
	return d.h.Sum64()
}

// remember adds something to a process' memory.
func (w *world) remember(r *play, process, actor int, what string, reply any) {
	d := newDigest(r.names)
	d.number(w.memory[process])
	d.number(uint64(actor))
	d.text(what)
	d.reply(reply)
	w.memory[process] = d.h.Sum64()
}

// visible returns the version that a reader finds for a key, as the format of
// entries says.
func (w *world) visible(s *scenario, key string) (int, bool) {
	raw, ok := w.redis.get(key)
	if !ok {
		return 0, false
	}
	e, err := decodeEntry([]byte(raw))
	if err != nil {
		return 0, false
	}
	var names, gens []string
	for _, name := range append([]string{""}, tagsOf(e)...) {
		gen, _ := s.model.read(&w.redis, tagPrefix+name).(string)
		names, gens = append(names, name), append(gens, gen)
	}
	if !e.current("", names, gens) {
		return 0, false
	}
	return versionOf(string(e.payload))
}

func tagsOf(e storedEntry) []string {
	var names []string
	for _, g := range e.tags {
		names = append(names, g.tag)
	}
	return names
}

// versionOf reads a payload; a program of another version wrote those it cannot
// read.
func versionOf(payload string) (int, bool) {
	if payload == "" || strings.Trim(payload, "0123456789") != "" {
		return 0, false
	}
	return number(payload), true
}

// execute executes a command. What a program stores without a lease is the
// newest there is: as far as readers are concerned it is committed, and all that
// was there before invalidated, at that step.
func (w *world) execute(m *modelRedis, args []string) any {
	reply := m.do(&w.redis, args)
	if name := m.name(args); name != "store" && name != "increment" {
		return reply
	}
	w.changes++
	i := slices.Index(exploreKeys[:], args[3])
	raw, _ := w.redis.get(args[3])
	if e, err := decodeEntry([]byte(raw)); err == nil {
		if v, ok := versionOf(string(e.payload)); ok {
			w.db[i], w.applied[i] = max(v, w.db[i]), max(v, w.applied[i])
		}
	}
	return reply
}

// judge says what is wrong with the world, if anything: what it holds of a key
// must not be older than the last invalidation of the key that was applied.
func (w *world) judge(s *scenario) string {
	for i, key := range exploreKeys {
		if v, ok := w.visible(s, key); ok && v < w.applied[i] {
			return "the value of " + key + " is stale"
		}
		lease, _ := w.redis.get(LeaseKey(key))
		if lease == absentMark && !s.goneSince(i, w.applied[i], w.db[i]) {
			return key + " is known to be absent, and is not"
		}
	}
	return ""
}
