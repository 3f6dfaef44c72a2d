package cache

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// variant is a broken protocol.
type variant struct {
	name     string
	scenario func() *scenario // in which it is caught
	breaks   func(s *scenario)
}

func variants() []variant {
	return []variant{
		{"no lease", fillScenario, func(s *scenario) {
			s.replace("miss", func(k *keyspace, keys, _ []string) any {
				if value, ok := k.get(keys[0]); ok {
					return []any{int64(0), value}
				}
				return []any{int64(2)}
			})
			s.replace("fill", fillAnyway)
		}},
		{"fill without compare", fillScenario, func(s *scenario) { s.replace("fill", fillAnyway) }},
		{"one token for all fills", fillScenario, func(s *scenario) {
			s.wrap = func(st store) store { return oneToken{st} }
		}},
		{"value deleted before the lease", fillScenario, func(s *scenario) { s.reorder = valuesFirst }},
		{"value deleted before the lease, by the library", deleteScenario, func(s *scenario) { s.reorder = valuesFirst }},
		{"invalidated before it is visible", fillScenario, func(s *scenario) {
			s.actors[2].body = func(a *actor) {
				a.mine[0] = 2
				a.invalidate(Batch{}, 0)
				a.commit(0)
			}
		}},
		{"invalidator that takes a lost reply for a good one", repeatScenario, func(s *scenario) {
			s.late = false
			s.actors[1].body = func(a *actor) {
				a.commit(0)
				_, _ = a.applier.apply(a.ctx, Batch{Keys: exploreKeys[:1]}) // this is the mistake
				a.applied(nil, 0)
			}
		}},
		{"a lease that is prolonged without compare", extensionScenario, func(s *scenario) {
			s.replace("release", func(k *keyspace, keys, argv []string) any {
				if argv[1] == "0" {
					return modelRelease(k, keys, argv)
				}
				k.set(keys[0], argv[0], int64(number(argv[1])))
				return int64(1)
			})
		}},
		{"set that leaves a lease alive", setScenario, func(s *scenario) {
			s.replace("store", func(k *keyspace, keys, argv []string) any {
				k.set(keys[0], argv[0], int64(number(argv[1])))
				return int64(1)
			})
		}},
		{"increment that leaves a lease alive", incrementScenario, func(s *scenario) {
			s.replace("increment", func(k *keyspace, keys, argv []string) any {
				lease, held := k.get(keys[1])
				sum := modelIncrement(k, keys, argv)
				if held {
					k.set(keys[1], lease, 1)
				}
				return sum
			})
		}},
		{"absent without compare", absentScenario, func(s *scenario) {
			s.replace("absent", func(k *keyspace, keys, argv []string) any {
				k.del(keys[0])
				k.set(keys[1], absentMark, int64(number(argv[1])))
				return int64(1)
			})
		}},
		{"refresh without a lease", refreshScenario, func(s *scenario) {
			s.wrap = func(st store) store { return &unclaimed{store: st, tokens: map[string]bool{}} }
		}},
		{"warming without compare", warmScenario, func(s *scenario) { s.replace("fill", fillAnyway) }},
		{"warming without a lease of its own", warmScenario, func(s *scenario) {
			s.wrap = func(st store) store { return unseized{st} }
		}},
		{"warming that takes its lease behind the query", warmScenario, func(s *scenario) {
			for i := range 2 {
				s.actors[i].body = func(a *actor) {
					v, err := a.load(0)(a.ctx)
					if err != nil {
						return
					}
					if l, err := a.cache.Refresh(a.ctx, exploreKeys[0]); err == nil {
						_, _ = l.Fill(a.ctx, v, time.Hour)
					}
				}
			}
		}},
		{"warming that removes a key without compare", warmGoneScenario, func(s *scenario) {
			s.actors[0].body = warms(0, time.Hour)
			s.replace("absent", func(k *keyspace, keys, argv []string) any {
				k.del(keys[0])
				k.set(keys[1], absentMark, int64(number(argv[1])))
				return int64(1)
			})
		}},
		{"client that repeats a warmer's lease by itself", lateWarm, repeatsAlways},
		{"deletion that forgets no flight", deleteScenario, func(s *scenario) {
			s.actors[1].body = func(a *actor) {
				a.commit(0)
				_, err := a.cache.store.remove(a.ctx, exploreKeys[:1])
				a.applied(err, 0)
				a.getOrSet(0)
			}
		}},
		{"miss that takes every value for the useless one", uselessScenario, func(s *scenario) {
			s.replace("miss", func(k *keyspace, keys, argv []string) any {
				if argv[2] != "" && argv[3] == "" {
					k.del(keys[0])
				}
				return modelMiss(k, keys, argv)
			})
		}},
		{"one-pass scan", patternScenario, func(s *scenario) { s.sweep.onePass = true }},
		{"scan for values before that for leases", patternScenario, func(s *scenario) { s.sweep.valuesFirst = true }},
		{"tags captured at the end of the fill", tagsScenario, func(s *scenario) {
			s.wrap = func(st store) store { return lateTags{st} }
		}},
		{"tags captured at the end of the loader's", tagInLoaderScenario, func(s *scenario) {
			s.wrap = func(st store) store { return lateTags{st} }
		}},
		{"missing generation = zero", tagsScenario, zeroGenerations},
		{"client that repeats a miss by itself", lateMiss, repeatsAlways},
		{"client that repeats a claim by itself", lateClaim, repeatsAlways},
		{"client that repeats a capture by itself", lateCapture, repeatsAlways},
		{"generations that are not compared with that of all tags", allTagsScenario, func(s *scenario) {
			s.wrap = func(st store) store { return noEpoch{st} }
		}},
		{"bounded read that waits on an older load", boundedSharedScenario, func(s *scenario) {
			s.actors[1].body = boundedBy(fly[int])
		}},
		{"bounded read that believes what others found", boundedAbsentScenario, func(s *scenario) {
			s.actors[0].body = boundedBy(fly[int])
		}},
		{"value read before the position", boundedScenario, func(s *scenario) { s.reorder = positionLast }},
		{"position moved before the deletes", boundedScenario, func(s *scenario) {
			s.actors[2].body = func(a *actor) {
				a.commit(0)
				a.move()
				a.invalidate(Batch{}, 0)
			}
		}},
		{"standby that does not say how far it is", standbyScenario, func(s *scenario) {
			s.actors[0].body = func(a *actor) { a.getOrSetBy(0, a.loadStandby(0, false)) }
		}},
		{"standby that is compared with the position", standbyScenario, func(s *scenario) {
			s.wrap = func(st store) store { return atPosition{st} }
		}},
	}
}

// replace puts another script in the place of one.
func (s *scenario) replace(name string, run scriptFunc) {
	if s.model == nil {
		s.model = newModelRedis()
		s.model.flaws = map[string]scriptFunc{}
	}
	s.model.flaws[name] = run
}

// repeatsAlways makes the client repeat whatever had no reply.
func repeatsAlways(s *scenario) {
	s.wrap = func(store) store { return newExploreStoreOver(exploreAlways) }
}

func fillAnyway(k *keyspace, keys, argv []string) any {
	k.set(keys[0], argv[1], int64(number(argv[2])))
	k.del(keys[1])
	return int64(1)
}

// valuesFirst sends what unlinks values before what unlinks leases.
func valuesFirst(cmds []redis.Cmder) []redis.Cmder {
	slices.SortStableFunc(cmds, func(a, b redis.Cmder) int {
		return rank(a) - rank(b)
	})
	return cmds
}

func rank(cmd redis.Cmder) int {
	args := argsOf(cmd)
	switch {
	case args[0] == "unlink" && strings.HasPrefix(args[1], leasePrefix):
		return 2
	case args[0] == "unlink":
		return 1
	case args[0] == "evalsha" && strings.HasPrefix(args[3], counterPrefix):
		return 3
	default:
		return 0
	}
}

// positionLast reads the position behind everything else.
func positionLast(cmds []redis.Cmder) []redis.Cmder {
	if args := argsOf(cmds[0]); args[0] == "get" && strings.HasPrefix(args[1], positionPrefix) {
		return append(cmds[1:], cmds[0])
	}
	return cmds
}

// zeroGenerations makes generations numbers. Invalidating a tag counts on, and a
// tag without a generation is at zero.
func zeroGenerations(s *scenario) {
	s.replace("capture", func(k *keyspace, keys, _ []string) any {
		if gen, ok := k.get(keys[0]); ok {
			return gen
		}
		return "0"
	})
	isTag := func(name string) bool { return strings.HasPrefix(name, tagPrefix) }
	s.model.missing = func(name string) any {
		if isTag(name) {
			return "0"
		}
		return nil
	}
	s.model.unlink = func(k *keyspace, name string) int64 {
		if !isTag(name) {
			return k.del(name)
		}
		gen, _ := k.get(name)
		n, _ := strconv.Atoi(gen) // empty is 0
		k.set(name, strconv.Itoa(n+1), 0)
		return 1
	}
}

// boundedBy is a bounded read whose load is flown in another way.
func boundedBy(fly func(context.Context, *leader, func(context.Context) (int, error)) (int, error)) func(*actor) {
	return func(a *actor) {
		token := a.takeToken()
		a.begin()
		c, key := a.cache, exploreKeys[0]
		s := settingsOf([]ReadOption{AtLeast(token)})
		if l := c.lookup(a.ctx, key, &s); l.ok {
			v, _ := versionOf(string(l.payload))
			a.saw(0, v, nil)
			return
		}
		load := newLoading(c, []string{key}, time.Hour, &s)
		v, err := fly(a.ctx, &leader{c: c, n: c.counters.of(key), key: key, ttl: time.Hour, s: s, loading: load}, a.load(0))
		a.saw(0, v, err)
	}
}
