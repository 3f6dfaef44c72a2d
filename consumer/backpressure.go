package consumer

import (
	"time"

	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	ledgerBytes    = 64 << 10               // an entry covers so much at least,
	ledgerInterval = 100 * time.Millisecond // or so long
)

// ledger knows how much of what was published is not yet applied. The stream discards its oldest messages when it is full, applied or
// not, so the consumer stops publishing in time; Postgres keeps the rest (I2).
type ledger struct {
	stream    string // id of the stream that sequences belong to
	maxBytes  int64
	maxAge    time.Duration
	base      uint64 // sequence of the session's first message
	entries   []ledgerEntry
	published int64  // bytes, since the ledger was opened and with what stood there unapplied
	session   uint64 // bytes, as the session counts them
	applied   int64  // of these, known to be applied
}

type ledgerEntry struct {
	seq       uint64 // the position has passed everything published once it reaches this
	published int64
	at        time.Time
}

// openLedger begins a ledger behind what is in the stream already, of which w tells how much is applied.
func openLedger(info stream.Info, w stream.Watermark, base uint64) *ledger {
	l := &ledger{stream: info.ID, maxBytes: info.MaxBytes, maxAge: info.MaxAge, base: base}
	applied := uint64(0)
	if w.Stream == info.ID {
		applied = w.Seq
	}
	if info.Messages > 0 && info.LastSeq > applied {
		// How large the unapplied messages are is not known; that they are like the others is good enough for a half.
		count := min(info.LastSeq-applied, info.Messages)
		l.published = int64(float64(info.Bytes) / float64(info.Messages) * float64(count))
		at := time.Now()
		if applied < info.FirstSeq {
			at = info.FirstTime
		}
		l.entries = append(l.entries, ledgerEntry{seq: info.LastSeq, published: l.published, at: at})
	}
	return l
}

// wrote notes that the session has published so many messages and bytes in all.
func (l *ledger) wrote(messages, bytes uint64, now time.Time) {
	l.published += int64(bytes - l.session)
	l.session = bytes
	seq := l.base + messages - 1
	if n := len(l.entries); n > 0 {
		last := &l.entries[n-1]
		if now.Sub(last.at) < ledgerInterval && l.published-last.published < ledgerBytes {
			// The entry keeps its time: it tells the age of its oldest message.
			last.seq, last.published = seq, l.published
			return
		}
	}
	l.entries = append(l.entries, ledgerEntry{seq: seq, published: l.published, at: now})
}

// update notes how far the position is.
func (l *ledger) update(w stream.Watermark) {
	if w.Stream != l.stream {
		return
	}
	n := 0
	for n < len(l.entries) && l.entries[n].seq <= w.Seq {
		l.applied = l.entries[n].published
		n++
	}
	if n > 0 {
		l.entries = l.entries[:copy(l.entries, l.entries[n:])]
	}
}

// pending returns what is not yet applied: its bytes and the age of the oldest message.
func (l *ledger) pending(now time.Time) (bytes int64, age time.Duration) {
	if len(l.entries) > 0 {
		age = now.Sub(l.entries[0].at)
	}
	return l.published - l.applied, age
}

// full reports whether publishing has to stop until the invalidator has caught up.
func (l *ledger) full(now time.Time) bool {
	bytes, age := l.pending(now)
	return l.maxBytes > 0 && bytes > l.maxBytes/2 || l.maxAge > 0 && age > l.maxAge/2
}
