package cache

import (
	"hash/maphash"
	"sync/atomic"
)

// recent remembers of some keys whether they had a value when they were last
// looked at, by their hashes. A loading call asks for the lease of a key that had
// none in the same round trip as for its value; of one that had, for the value
// alone, as that costs less where there is one. It only predicts: when it is
// wrong a call costs a round trip more, or a lookup that takes longer.
type recent struct {
	seed  maphash.Seed
	slots []atomic.Uint32
}

// recentSlots is how many keys are remembered at most: 128 KiB of them.
const recentSlots = 1 << 15

// prediction says whether a key has a value.
type prediction uint8

const (
	unknown prediction = iota
	present
	gone
)

func (r *recent) init() {
	r.seed, r.slots = maphash.MakeSeed(), make([]atomic.Uint32, recentSlots)
}

// slot returns where a key is remembered, and what stands there if it has a
// value. If it has none, the last bit is not set.
func (r *recent) slot(key string) (*atomic.Uint32, uint32) {
	h := maphash.String(r.seed, key)
	return &r.slots[h%recentSlots], uint32(h>>32) | 1
}

func (r *recent) predict(key string) prediction {
	slot, mark := r.slot(key)
	switch slot.Load() {
	case mark:
		return present
	case mark - 1:
		return gone
	default:
		return unknown
	}
}

func (r *recent) add(key string) {
	if slot, mark := r.slot(key); slot.Load() != mark {
		slot.Store(mark)
	}
}

// remove notes that keys have no value. What is not remembered of them is not
// worth to forget another for.
func (r *recent) remove(keys ...string) {
	for _, key := range keys {
		slot, mark := r.slot(key)
		slot.CompareAndSwap(mark, mark-1)
	}
}

// trend predicts whether a key has a value that nothing is remembered of, from
// how it was with the last ones: a saturating counter, as processors predict
// branches. At first it expects none, as in a cache that is empty.
type trend struct{ score atomic.Int32 }

// trendMost bounds the score on either side of zero.
const trendMost = 8

func (t *trend) expectsValue() bool { return t.score.Load() > 0 }

// saw notes how it was. A value counts twice, because to be wrong about it costs
// twice as much.
func (t *trend) saw(value bool) {
	score := t.score.Load()
	switch {
	case value && score < trendMost:
		t.score.Store(min(score+2, trendMost))
	case !value && score > -trendMost:
		t.score.Store(score - 1)
	}
}
