package ratelimit

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// denialShards is how many parts the memory of denials has, each with a lock.
const denialShards = 16

// denials remembers calls that were denied until the same call might be
// admitted. Times are from the Limiter's start on.
type denials struct {
	seed   maphash.Seed
	limit  int // entries of a shard
	resets atomic.Uint64
	shards [denialShards]denialShard
}

type denialShard struct {
	mu   sync.RWMutex
	byID map[uint64]*denial // by the call's hash; guarded by mu
}

// denial is what a call was answered. It does not change.
type denial struct {
	subject   subject
	n         int
	results   []Result
	at, until time.Duration // when the answer came; when to ask again
}

func newDenials(limit int) *denials {
	if limit < 0 {
		return nil
	}
	d := &denials{seed: maphash.MakeSeed(), limit: max(1, limit/denialShards)}
	for i := range d.shards {
		d.shards[i].byID = map[uint64]*denial{}
	}
	return d
}

// locate returns where a call's denial is kept. All of a subject's are in one
// shard. Different calls with the same hash replace one another.
func (d *denials) locate(s subject, n int, limits []Limit) (*denialShard, uint64) {
	hash := maphash.String(d.seed, s.identifier)
	shard := &d.shards[hash%denialShards]
	const odd = 0x9e3779b97f4a7c15
	hash = hash*odd ^ maphash.String(d.seed, s.endpoint)
	hash = hash*odd ^ uint64(n)
	for i := range limits {
		l := &limits[i]
		hash = (hash*odd^uint64(l.Max))*odd ^ uint64(l.Window) ^ uint64(l.Algorithm)
	}
	return shard, hash
}

// find returns the denial that holds for a call, or nil.
func (d *denials) find(s subject, n int, limits []Limit, now time.Duration) *denial {
	if d == nil {
		return nil
	}
	shard, id := d.locate(s, n, limits)
	shard.mu.RLock()
	found := shard.byID[id]
	shard.mu.RUnlock()
	if found == nil || found.until <= now || found.n != n || found.subject != s || len(found.results) != len(limits) {
		return nil
	}
	for i := range limits {
		if found.results[i].Limit != limits[i] {
			return nil
		}
	}
	return found
}

// resetCount is what remember needs to have been read before the call.
func (d *denials) resetCount() uint64 {
	if d == nil {
		return 0
	}
	return d.resets.Load()
}

// remember keeps the results of a call. Redis decided between sent and now: a
// denial that counts from sent on ends no later than there, and who waits
// RetryAfter from now on comes no earlier.
func (d *denials) remember(s subject, n int, limits []Limit, results []Result, sent, now time.Duration, resets uint64) {
	if d == nil {
		return
	}
	until := time.Duration(-1)
	for i := range results {
		if r := &results[i]; !r.Allowed && (until < 0 || r.RetryAfter < until) {
			until = r.RetryAfter
		}
	}
	s.identifier, s.endpoint = strings.Clone(s.identifier), strings.Clone(s.endpoint)
	kept := &denial{subject: s, n: n, results: slices.Clone(results), at: now, until: sent + until}
	shard, id := d.locate(s, n, limits)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if d.resets.Load() != resets {
		return // it may be from before the reset
	}
	if shard.byID[id] == nil {
		shard.makeRoom(d.limit, sent)
	}
	shard.byID[id] = kept
}

// makeRoom drops some that are over, more than one for each that comes, and any
// other if that is not enough. The shard must be locked.
func (shard *denialShard) makeRoom(limit int, now time.Duration) {
	looked := 0
	for id, d := range shard.byID { // begins anywhere
		if d.until <= now {
			delete(shard.byID, id)
		}
		if looked++; looked >= 4 {
			break
		}
	}
	for id := range shard.byID {
		if len(shard.byID) < limit {
			break
		}
		delete(shard.byID, id)
	}
}

// forget drops what is remembered of a subject.
func (d *denials) forget(s subject) {
	if d == nil {
		return
	}
	d.resets.Add(1)
	shard, _ := d.locate(s, 0, nil)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for id, kept := range shard.byID {
		if kept.subject == s {
			delete(shard.byID, id)
		}
	}
}

// result returns what the denial says now of its limit i.
func (d *denial) result(i int, now time.Duration) Result {
	r := d.results[i]
	passed := now - d.at
	r.ResetAfter = max(0, r.ResetAfter-passed)
	if !r.Allowed {
		r.RetryAfter = max(1, r.RetryAfter-passed)
	}
	return r
}
