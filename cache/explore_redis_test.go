package cache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// item is what the model of Redis keeps under one name. Its time does not pass:
// that it is over is an event of its own, which may happen at any moment.
type item struct {
	name, value string
	px          int64 // what PTTL replies; 0: no limit
}

// keyspace is all that the model of Redis keeps, by name.
type keyspace []item

func (k *keyspace) find(name string) (int, bool) {
	return slices.BinarySearchFunc(*k, name, func(i item, name string) int { return strings.Compare(i.name, name) })
}

func (k *keyspace) get(name string) (string, bool) {
	if i, ok := k.find(name); ok {
		return (*k)[i].value, true
	}
	return "", false
}

func (k *keyspace) has(name string) bool {
	_, ok := k.find(name)
	return ok
}

func (k *keyspace) set(name, value string, px int64) {
	i, ok := k.find(name)
	if !ok {
		*k = slices.Insert(*k, i, item{})
	}
	(*k)[i] = item{name, value, px}
}

func (k *keyspace) del(names ...string) (removed int64) {
	for _, name := range names {
		if i, ok := k.find(name); ok {
			*k = slices.Delete(*k, i, i+1)
			removed++
		}
	}
	return removed
}

// page is the reply to SCAN.
type page struct {
	names []string
	next  uint64
}

// modelRedis executes single commands on a keyspace. It knows those that the
// package sends; TestExploreModel compares it with a real Redis.
type modelRedis struct {
	scripts map[string]script // by hash
	flaws   map[string]scriptFunc
	unlink  func(k *keyspace, name string) int64 // instead of what UNLINK does; nil: nothing
	missing func(name string) any                // what a name that is not there is read as; nil: nil
}

type script struct {
	name string
	run  scriptFunc
}

type scriptFunc func(k *keyspace, keys, argv []string) any

func newModelRedis() *modelRedis {
	s, a := newStoreScripts(), newApplierScripts()
	return &modelRedis{scripts: map[string]script{
		s.miss.Hash(): {"miss", modelMiss}, s.fill.Hash(): {"fill", modelFill}, s.absent.Hash(): {"absent", modelAbsent},
		s.release.Hash(): {"release", modelRelease}, s.set.Hash(): {"store", modelSet}, s.capture.Hash(): {"capture", modelCapture},
		s.increment.Hash(): {"increment", modelIncrement},
		a.raise.Hash():     {"raise", modelRaise}, a.advance.Hash(): {"advance", modelAdvance}, a.move.Hash(): {"move", modelMove},
		a.restore.Hash(): {"restore", modelRestore},
	}}
}

// name returns a command's name, or that of the script that it runs.
func (m *modelRedis) name(args []string) string {
	if args[0] == "evalsha" {
		return m.scripts[args[1]].name
	}
	return strings.ToUpper(args[0])
}

// do executes a command. A reply is nil, a string, an int64, a bool, a page or a
// slice of such.
func (m *modelRedis) do(k *keyspace, args []string) any {
	switch args[0] {
	case "get":
		return m.read(k, args[1])
	case "mget":
		all := make([]any, len(args)-1)
		for i, name := range args[1:] {
			all[i] = m.read(k, name)
		}
		return all
	case "pttl":
		i, ok := k.find(args[1])
		switch {
		case !ok:
			return int64(-2)
		case (*k)[i].px == 0:
			return int64(-1)
		default:
			return (*k)[i].px
		}
	case "exists":
		return bit(k.has(args[1]))
	case "del", "unlink":
		removed := int64(0)
		for _, name := range args[1:] {
			if m.unlink != nil {
				removed += m.unlink(k, name)
			} else {
				removed += k.del(name)
			}
		}
		return removed
	case "set":
		return m.plainSet(k, args[1], args[2], args[3:])
	case "scan":
		return scanModel(*k, args)
	case "info":
		return "run_id:1\r\nrole:master\r\nmaster_replid:1\r\n"
	case "script":
		return redis.NewScript(args[2]).Hash() // LOAD
	case "evalsha":
		s, ok := m.scripts[args[1]]
		if !ok {
			break
		}
		n := 3 + number(args[2])
		if flawed := m.flaws[s.name]; flawed != nil {
			return flawed(k, args[3:n], args[n:])
		}
		return s.run(k, args[3:n], args[n:])
	}
	panic(fmt.Sprintf("the model of Redis does not know %q: add it", args))
}

func (m *modelRedis) read(k *keyspace, name string) any {
	value, ok := k.get(name)
	switch {
	case ok:
		return value
	case m.missing != nil:
		return m.missing(name)
	default:
		return nil
	}
}

// plainSet is SET; with NX the reply is a bool, as go-redis gives it.
func (m *modelRedis) plainSet(k *keyspace, name, value string, options []string) any {
	px, nx := int64(0), false
	for i, option := range options {
		switch option {
		case "px":
			px = int64(number(options[i+1]))
		case "ex":
			px = int64(number(options[i+1])) * 1000
		case "nx":
			nx = true
		}
	}
	if nx && k.has(name) {
		return false
	}
	k.set(name, value, px)
	if nx {
		return true
	}
	return "OK"
}

// scanModel lists names in two pages: those that end in a "2" are in the second.
// A name that comes into the first after that was listed is missed, which is all
// that SCAN promises.
func scanModel(k keyspace, args []string) page {
	cursor, pattern := number(args[1]), "*"
	if i := slices.Index(args, "match"); i > 0 {
		pattern = args[i+1]
	}
	g, p := newGlob(pattern), page{}
	for _, i := range k {
		second := strings.HasSuffix(strings.TrimSuffix(i.name, "}"), "2")
		if second == (cursor == 1) && g.match(i.name) {
			p.names = append(p.names, i.name)
		}
	}
	if cursor == 0 {
		p.next = 1
	}
	return p
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
