package consumer

import (
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// State is what the consumer is doing.
type State string

// The states of a consumer.
const (
	StateConnecting State = "connecting"             // not connected to Postgres, or not yet streaming
	StateWaiting    State = "waiting_for_slot"       // another consumer holds the slot; this one stands by
	StateCreating   State = "creating_slot"          // the server waits for transactions that write now before it has made the slot
	StateStreaming  State = "streaming"              // reading and publishing
	StateInvisible  State = "waiting_for_visibility" // a committed transaction is not visible yet, as while it waits for a synchronous standby
	StatePaused     State = "paused_by_backpressure" // the stream is too far ahead of the invalidator; Postgres keeps the rest
	StateStopped    State = "stopped"                // Run has returned, or has not begun
)

// States lists every state.
func States() []State {
	return []State{StateConnecting, StateWaiting, StateCreating, StateStreaming, StateInvisible, StatePaused, StateStopped}
}

// Status is a snapshot of a consumer.
type Status struct {
	State       State             `json:"state"`
	Since       time.Time         `json:"since"` // when State was entered
	Slot        string            `json:"slot"`
	Publication string            `json:"publication"`
	Epoch       cdc.Epoch         `json:"epoch"`
	Received    cdc.LSN           `json:"received"`           // the WAL position that the stream has been read to
	Published   cdc.LSN           `json:"published"`          // the last mark published
	Applied     cdc.LSN           `json:"applied"`            // the invalidator's watermark
	Confirmed   cdc.LSN           `json:"confirmed"`          // what Postgres was told it may forget
	WALEnd      cdc.LSN           `json:"wal_end"`            // the server's WAL position, as last asked
	LagBytes    int64             `json:"lag_bytes"`          // WALEnd minus Confirmed
	MarkTime    time.Time         `json:"mark_time,omitzero"` // everything committed before it is published
	Lag         time.Duration     `json:"-"`                  // age of MarkTime
	LagSeconds  float64           `json:"lag_seconds"`
	Retained    int64             `json:"retained_wal"`
	Changes     uint64            `json:"changes"`  // row changes published since the start
	Messages    uint64            `json:"messages"` // messages published since the start
	Rate        float64           `json:"rate"`     // row changes published per second, over the last seconds
	Tables      []TableCount      `json:"tables,omitempty"`
	Governor    bool              `json:"governor"`              // retained WAL has passed max_wal: confirming what is published
	NearLimit   bool              `json:"near_limit"`            // retained WAL is near max_wal
	Gaps        uint64            `json:"gaps"`                  // gaps declared since the start
	GapReasons  map[string]uint64 `json:"gap_reasons,omitempty"` // the same, by reason
	LastGap     string            `json:"last_gap,omitempty"`    // reason of the last of them
	LastGapAt   time.Time         `json:"last_gap_at,omitzero"`  // when it was declared
	Visibility  Histogram         `json:"visibility"`            // how long transactions were held until they were visible
	PendingGaps int               `json:"pending_gaps"`          // gaps that the invalidator has not finished yet
	Late        bool              `json:"heartbeat_late"`        // a message through the WAL has not come back within three intervals
	TablesAt    time.Time         `json:"tables_at,omitzero"`    // when the tables were last compared with what is recorded of them
	LastError   string            `json:"last_error,omitempty"`
	Remedy      string            `json:"remedy,omitempty"`
	ErrorAt     time.Time         `json:"error_at,omitzero"`
}

// statusBoard holds the status that the consumer's goroutines write and anybody reads.
type statusBoard struct {
	mu sync.Mutex
	s  Status // guarded by mu
}

func (b *statusBoard) snapshot() Status {
	b.mu.Lock()
	s := b.s
	b.mu.Unlock()
	since := s.MarkTime
	if since.IsZero() {
		since = s.Since // nothing better is known
	}
	s.Lag = time.Since(since)
	s.LagSeconds = s.Lag.Seconds()
	return s
}

// update changes the status under the lock.
func (b *statusBoard) update(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.s)
}

// enter changes the state and the time since when it holds.
func (b *statusBoard) enter(state State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.s.State != state {
		b.s.State, b.s.Since = state, time.Now()
	}
}
