package stream

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// The headers of every message of the change stream.
const (
	headerID       = "Freshet-Id"
	headerPrev     = "Freshet-Prev"
	headerLSN      = "Freshet-Lsn"
	headerExpected = "Nats-Expected-Last-Sequence"
)

// Point is a place in the stream, with what is known to stand before it.
type Point struct {
	Stream string    // Info.ID
	Seq    uint64    // sequence of the last message processed; 0: none
	ID     string    // its Freshet-Id
	LSN    cdc.LSN   // every transaction of Epoch with a commit LSN below it stands before: the highest mark passed, or the gap's LSN
	Time   time.Time // that mark's time
	Epoch  cdc.Epoch
}

// Kind is the kind of an item.
type Kind uint8

// The kinds of items.
const (
	KindChange Kind = iota // Data is a change message (cdc.Message JSON)
	KindStart
	KindMark
	KindGap
	// KindForeign is not ours, or unreadable: widen by subject (or everything)
	// and dead-letter. It always breaks the chain.
	KindForeign
)

// String returns the kind's word, for logs.
func (k Kind) String() string {
	switch k {
	case KindChange:
		return "change"
	case KindStart:
		return "start"
	case KindMark:
		return "mark"
	case KindGap:
		return "gap"
	default:
		return "foreign"
	}
}

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
	// Point is where the position may move to once this item and all before it
	// are applied. Movable is false while the chain is broken: apply the item,
	// move nothing.
	Point   Point
	Movable bool
}

// decoder makes items of messages.
type decoder struct {
	start, mark, gap string // subjects
	changes          string // prefix of the change subjects
}

func newDecoder(s cdc.Subjects) decoder {
	return decoder{start: s.Start(), mark: s.Mark(), gap: s.Gap(), changes: "freshet." + s.Name + ".changes."}
}

// decode reads one message into a zero item and returns the id of the message
// before it. What is not a readable message of ours becomes KindForeign without
// an id, so that nothing links to it.
func (d decoder) decode(item *Item, msg *nats.Msg, seq uint64) (prev string) {
	item.Subject, item.Data, item.Seq, item.Kind = msg.Subject, msg.Data, seq, KindForeign
	subject, header, data := msg.Subject, msg.Header, msg.Data
	id := headerValue(header, headerID)
	if id == "" {
		return ""
	}
	var lsn cdc.LSN
	if text := headerValue(header, headerLSN); text != "" {
		var err error
		if lsn, err = cdc.ParseLSN(text); err != nil {
			return ""
		}
	}
	prev = headerValue(header, headerPrev)
	kind := KindForeign
	switch {
	case strings.HasPrefix(subject, d.changes):
		kind = KindChange
	case subject == d.mark:
		if json.Unmarshal(data, &item.Mark) == nil {
			kind = KindMark
		}
	case subject == d.start:
		if json.Unmarshal(data, &item.Start) == nil {
			kind = KindStart
		}
	case subject == d.gap:
		if json.Unmarshal(data, &item.Gap) == nil {
			kind = KindGap
		}
	}
	if kind == KindForeign {
		return ""
	}
	item.Kind, item.ID, item.LSN = kind, id, lsn
	return prev
}

// headerValue is Header.Get without its search for other spellings: the
// server keeps the spelling, and the writer is ours.
func headerValue(h nats.Header, key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}
