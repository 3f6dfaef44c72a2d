package cache

import (
	"hash/maphash"
	"sync/atomic"
)

// recent remembers keys that had a value when they were last looked at, some of
// them, by their hashes. A loading call asks for the lease of a key that is not
// among them in the same round trip as for its value; of one that is, for the
// value alone, as that costs less where there is one. It only predicts: when it is
// wrong a call costs a round trip more.
type recent struct {
	seed  maphash.Seed
	slots []atomic.Uint32
}

// recentSlots is how many keys are remembered at most: 128 KiB of them.
const recentSlots = 1 << 15

func (r *recent) init() {
	r.seed, r.slots = maphash.MakeSeed(), make([]atomic.Uint32, recentSlots)
}

func (r *recent) slot(key string) (*atomic.Uint32, uint32) {
	h := maphash.String(r.seed, key)
	return &r.slots[h%recentSlots], uint32(h>>32) | 1
}

func (r *recent) has(key string) bool {
	slot, mark := r.slot(key)
	return slot.Load() == mark
}

func (r *recent) add(key string) {
	if slot, mark := r.slot(key); slot.Load() != mark {
		slot.Store(mark)
	}
}

func (r *recent) remove(keys ...string) {
	for _, key := range keys {
		slot, mark := r.slot(key)
		slot.CompareAndSwap(mark, 0)
	}
}
