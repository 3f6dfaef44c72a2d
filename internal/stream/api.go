package stream

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// SKELETON: signatures agreed between packages; the owner of this package
// spreads them over files of their own and removes this one.

// Config says how to reach NATS and what the streams look like.
type Config struct {
	Name                                string // the instance's name
	URL                                 string // empty: start an embedded server
	Credentials                         string // .creds file
	User, Password, Token, NKeySeedFile string
	CA, Cert, Key                       string // TLS files
	Embedded                            EmbeddedConfig
	Replicas                            int           // default 1
	MaxAge                              time.Duration // default 24h
	MaxBytes                            int64         // default 1 GiB
	ClientName                          string        // shown by NATS monitoring
	Logger                              *slog.Logger
}

// EmbeddedConfig configures the embedded server.
type EmbeddedConfig struct {
	Listen     string // host:port of the TCP listener on loopback; port -1: any free; empty: 127.0.0.1:4222
	StoreDir   string // default ./freshet-data
	SyncAlways bool   // fsync before every acknowledgement; needed by confirm: published
}

// Stream is one instance's streams and KV bucket.
type Stream struct{}

// Open connects, starting the embedded server when cfg.URL is empty, and creates or updates the streams and the bucket.
func Open(ctx context.Context, cfg Config) (*Stream, error) { panic("skeleton") }

func (s *Stream) Close() error                           { panic("skeleton") }
func (s *Stream) Conn() *nats.Conn                       { panic("skeleton") }
func (s *Stream) JetStream() jetstream.JetStream         { panic("skeleton") }
func (s *Stream) Subjects() cdc.Subjects                 { panic("skeleton") }
func (s *Stream) KV() jetstream.KeyValue                 { panic("skeleton") }
func (s *Stream) ClientURL() string                      { panic("skeleton") } // what `nats -s` should be given
func (s *Stream) Ensure(ctx context.Context) error       { panic("skeleton") } // creates what is missing again (stream deleted while running)
func (s *Stream) Info(ctx context.Context) (Info, error) { panic("skeleton") }

// Info is the state of the change stream.
type Info struct {
	ID                string // random, from the stream's metadata; another after re-creation
	FirstSeq, LastSeq uint64
	Messages, Bytes   uint64
	FirstTime         time.Time
	MaxBytes          int64
	MaxAge            time.Duration
}

// ---- publishing: one session ----

// NewSession publishes the start message chained to the stream's end, waits for its acknowledgement, and returns the session.
func (s *Stream) NewSession(ctx context.Context, start cdc.Start) (*Session, error) {
	panic("skeleton")
}

// Session is the chained publisher: one writer, every message naming the one before. It is used by one goroutine.
type Session struct{}

// Publish sends asynchronously; it blocks while the window of outstanding acknowledgements is full. After any rejection, time-out or
// reconnect every call returns an error that wraps ErrSessionEnded, and nothing more is sent.
func (x *Session) Publish(ctx context.Context, subject string, lsn cdc.LSN, data []byte) error {
	panic("skeleton")
}

// Mark publishes a mark.
func (x *Session) Mark(ctx context.Context, m cdc.Mark) error { panic("skeleton") }

// Gap publishes a gap.
func (x *Session) Gap(ctx context.Context, g cdc.Gap) error { panic("skeleton") }

// AckedMark returns the LSN of the highest mark that, with everything before it in the session, is acknowledged; zero for none.
func (x *Session) AckedMark() cdc.LSN { panic("skeleton") }

// Flush waits until everything published is acknowledged.
func (x *Session) Flush(ctx context.Context) error { panic("skeleton") }

// Done is closed when the session has ended; Err then says why.
func (x *Session) Done() <-chan struct{} { panic("skeleton") }
func (x *Session) Err() error            { panic("skeleton") }

// Published returns messages and bytes sent in this session, and the last stream sequence acknowledged.
func (x *Session) Published() (messages, bytes, lastSeq uint64) { panic("skeleton") }

// Close ends the session after awaiting outstanding acknowledgements until ctx ends.
func (x *Session) Close(ctx context.Context) error { panic("skeleton") }

// Verified reads the stream from point along the chain and returns the last mark reached on an unbroken chain to the stream's END:
// where a new session may begin without sending again what is there. ok is false when the chain is broken or nothing newer than point was found.
func (s *Stream) Verified(ctx context.Context, from Point) (mark cdc.Mark, ok bool, err error) {
	panic("skeleton")
}

// ---- reading: the ordered reader with its continuity check ----

// Point is a place in the stream, with what is known to stand before it.
type Point struct {
	Stream string    // Info.ID
	Seq    uint64    // sequence of the last message processed; 0: none
	ID     string    // its Freshet-Id
	LSN    cdc.LSN   // the last mark passed (or the gap's lsn)
	Time   time.Time // that mark's time
	Epoch  cdc.Epoch
}

// Kind is the kind of an item.
type Kind uint8

const (
	KindChange Kind = iota // Data is a change message (cdc.Message JSON)
	KindStart
	KindMark
	KindGap
	KindForeign // not ours, or unreadable: widen by subject (or everything) and dead-letter; always breaks the chain when its Prev does not fit
)

// Item is one message of the stream as the reader sees it.
type Item struct {
	Kind    Kind
	Subject string
	Data    []byte // owned by the item
	LSN     cdc.LSN
	Seq     uint64
	ID      string
	Start   cdc.Start
	Mark    cdc.Mark
	Gap     cdc.Gap
	// Point is where the position may move to once this item and all before it are applied. Movable is false while the chain is broken:
	// apply the item, move nothing.
	Point   Point
	Movable bool
}

// Break describes a hole in the chain.
type Break struct {
	Reason string // "stream replaced", "stream ends before the position", "other message at the position", "broken chain", "gap in starts", …
	At     uint64 // sequence of the first message behind it; 0: none yet
	Since  time.Time
	// Lost is true when a start was seen whose From is above the position's LSN in the same epoch, or whose epoch differs: what lies
	// between will not come again, and only a flush of all coverage (then Reader.Adopt) or a gap message repairs it.
	Lost  bool
	Start cdc.Start // the start seen, when Lost
	Point Point     // where the position may be adopted once coverage is flushed, when Lost
}

// NewReader begins behind from. A zero Point begins at the stream's first message and is broken until its first start
// (a fresh instance adopts it after deciding what to flush).
func (s *Stream) NewReader(ctx context.Context, from Point) (*Reader, error) { panic("skeleton") }

// Reader reads the change stream in order and survives reconnects, re-creation and purges of the stream; it never errors but on ctx or Close.
type Reader struct{}

// Fetch returns what is there, at least one item and at most max, waiting up to wait for the first; none after wait.
func (r *Reader) Fetch(ctx context.Context, max int, wait time.Duration) ([]Item, error) {
	panic("skeleton")
}

// Broken returns the present break, if any. It may be set without an item (stream deleted, position beyond its end).
func (r *Reader) Broken() (Break, bool) { panic("skeleton") }

// Adopt ends a Lost break after the caller has flushed all coverage: the reader continues unbroken from the break's start.
// Items already fetched after it stay unmovable; later ones move.
func (r *Reader) Adopt(p Point) { panic("skeleton") }
func (r *Reader) Close() error  { panic("skeleton") }

// ---- the KV bucket ----

// Watermark is what the invalidator publishes on NATS and in KV.
type Watermark struct {
	Epoch  cdc.Epoch `json:"epoch"`
	LSN    cdc.LSN   `json:"lsn"`
	Hold   cdc.LSN   `json:"hold,omitempty"`
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"`
	ID     string    `json:"id"` // message id at Seq
}

func (s *Stream) PutWatermark(ctx context.Context, w Watermark) error         { panic("skeleton") } // core subject + KV
func (s *Stream) LastWatermark(ctx context.Context) (Watermark, bool, error)  { panic("skeleton") }
func (s *Stream) WatchWatermark(ctx context.Context, f func(Watermark)) error { panic("skeleton") } // blocks until ctx ends; f gets the present one first

// RequestResend asks the consumer for a session from the slot's confirmed LSN without skipping. ClearResend ends it.
func (s *Stream) RequestResend(ctx context.Context, reason string) error { panic("skeleton") }
func (s *Stream) ResendRequested(ctx context.Context) (bool, error)      { panic("skeleton") }
func (s *Stream) ClearResend(ctx context.Context) error                  { panic("skeleton") }
func (s *Stream) WatchResend(ctx context.Context, f func()) error        { panic("skeleton") } // f is called whenever a request is (already) there

// SaveRules and Rules keep rule sets by fingerprint.
func (s *Stream) SaveRules(ctx context.Context, fingerprint string, rules []byte) error {
	panic("skeleton")
}

func (s *Stream) Rules(ctx context.Context, fingerprint string) ([]byte, bool, error) {
	panic("skeleton")
}

// Lead waits for the role's lease, runs f while it is held, and cancels f's context (cause ErrLeaseLost) when it is lost.
// It returns f's error, or nil when ctx ends. onWait is called when it begins to wait behind another holder.
func (s *Stream) Lead(ctx context.Context, role, owner string, onWait func(holder string), f func(context.Context) error) error {
	panic("skeleton")
}

// Event is announced on the events stream.
type Event struct {
	Kind    string         `json:"kind"`
	Time    time.Time      `json:"time"`
	Role    string         `json:"role"`
	Message string         `json:"message"` // one sentence for people, with the remedy
	Fields  map[string]any `json:"fields,omitempty"`
}

// Emit publishes an event; it logs and forgets when NATS is away (bounded buffer, best effort, never blocks the caller).
func (s *Stream) Emit(e Event) { panic("skeleton") }

// DeadLetter copies a message that could not be evaluated, with the reason.
func (s *Stream) DeadLetter(ctx context.Context, schema, table, reason string, data []byte) error {
	panic("skeleton")
}
