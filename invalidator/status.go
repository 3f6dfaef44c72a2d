package invalidator

import (
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// State is what an invalidator is doing.
type State string

// The states of an invalidator.
const (
	StateStarting  State = "starting"   // Run has not begun
	StateWaiting   State = "waiting"    // another invalidator is active
	StateLoading   State = "loading"    // active: finding out what Redis holds
	StateActive    State = "active"     // active: applying changes
	StateBroken    State = "broken"     // applying, but the stream has a hole and the position stays
	StateRedisDown State = "redis_down" // Redis does not answer; the batch is kept
	StateRedisFull State = "redis_full" // Redis refuses writes: deletes go on, the position stays
	StateFlushing  State = "flushing"   // removing the coverage of rules
	StateSweeping  State = "sweeping"   // patterns hold the position back
	StatePaused    State = "paused"     // told to apply nothing; the stream and the slot keep everything
	StateStopped   State = "stopped"    // Run has returned
)

// States lists every state.
func States() []State {
	return []State{
		StateStarting, StateWaiting, StateLoading, StateActive, StateBroken, StateRedisDown, StateRedisFull,
		StateFlushing, StateSweeping, StatePaused, StateStopped,
	}
}

// Status is a snapshot of an invalidator.
type Status struct {
	ID     string `json:"id"`
	State  State  `json:"state"`
	Active bool   `json:"active"`
	Reason string `json:"reason,omitempty"` // why it is not simply active, with the remedy
	Owner  string `json:"owner,omitempty"`  // who is active

	Position Position `json:"position"`

	Messages    int64         `json:"messages"`  // stream messages applied
	Changes     int64         `json:"changes"`   // row changes applied
	Batches     int64         `json:"batches"`   // batches applied
	Keys        int64         `json:"keys"`      // distinct keys per batch invalidated
	Removed     int64         `json:"removed"`   // values that were in Redis
	Patterns    int64         `json:"patterns"`  // patterns invalidated
	Tags        int64         `json:"tags"`      // tags invalidated
	Passes      int64         `json:"passes"`    // pattern passes
	PassTime    time.Duration `json:"pass_time"` // of all of them
	Nulls       int64         `json:"nulls"`     // targets without a key because a placeholder was NULL
	Widened     int64         `json:"widened"`   // rows invalidated more broadly
	DeadLetters int64         `json:"dead_letters"`
	DeadAt      time.Time     `json:"dead_letter_at,omitzero"` // when the last of them came
	LostOlds    int64         `json:"lost_old_values"`         // batches of changes without old values that rules need
	LostOld     []LostOld     `json:"lost_old,omitempty"`      // of which tables
	RedisErrors int64         `json:"redis_errors"`
	Ordered     int64         `json:"ordered"` // targets invalidated by hand or by a replay

	WarmTasks     int64 `json:"warm_tasks"`     // keys that a warmer was to fill again
	WarmPublished int64 `json:"warm_published"` // of these, taken by their stream
	WarmMerged    int64 `json:"warm_merged"`    // that gave way to a later one of the same key
	WarmDropped   int64 `json:"warm_dropped"`   // and lost, for each of which a reader misses

	Rules []RuleCount `json:"rules,omitempty"` // by rule

	ChangesPerSecond float64       `json:"changes_per_second"` // over the last seconds
	PendingPatterns  int           `json:"pending_patterns"`   // waiting for a pass
	LastPass         time.Duration `json:"last_pass"`          // how long the last pattern pass took

	// Latency is from Postgres' commit time to Redis' reply, over the last
	// changes that were applied one by one.
	Latency Latency `json:"latency"`
	// LatencyBuckets counts the same since the start.
	LatencyBuckets []Bucket `json:"latency_buckets,omitempty"`

	FlushScanned int64 `json:"flush_scanned,omitempty"` // progress of the present or last flush: keys looked at
	FlushRemoved int64 `json:"flush_removed,omitempty"` // and removed
}

// Position is how far everything is applied.
type Position struct {
	Stream string    `json:"stream,omitempty"`
	Seq    uint64    `json:"seq"`
	ID     string    `json:"id,omitempty"`
	Epoch  cdc.Epoch `json:"epoch"`
	LSN    cdc.LSN   `json:"lsn"`
	Hold   cdc.LSN   `json:"hold,omitempty"`
	Time   time.Time `json:"time"`
}

// RuleCount is what one rule has invalidated.
type RuleCount struct {
	Rule     string `json:"rule"`
	Keys     int64  `json:"keys"`
	Patterns int64  `json:"patterns"`
	Tags     int64  `json:"tags"`
}

// Latency holds percentiles of the last samples.
type Latency struct {
	Count int           `json:"count"` // samples that the percentiles are taken from
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"`
	Total int64         `json:"total"` // samples since the start
	Sum   time.Duration `json:"sum"`   // of all samples since the start
}
