package cache

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// An entry is stored as its payload, byte for byte what the codec wrote, where
// nothing more has to be said of it. Otherwise a header stands before that:
//
//	0xFF 0xF7        magic: no text in UTF-8, and so no JSON, has a byte 0xFF
//	flags            1 tags, 2 compressed with zstd, 4 grace
//	nonce            8 random bytes: no two entries have the same header
//	grace            uvarint, milliseconds: the entry has expired when it has no
//	                 more than that left in Redis (flag 4)
//	epoch            the generation of all tags (flag 1), then
//	tags             uvarint count, and for each its name and its generation
//
// Names and generations are a uvarint length and so many bytes.
const (
	magic       = "\xff\xf7"
	nonceSize   = 8
	flagTags    = 1
	flagZstd    = 2
	flagGrace   = 4
	knownFlags  = flagTags | flagZstd | flagGrace
	headerStart = len(magic) + 1 + nonceSize
)

// errEntry says that an entry's header cannot be read: it was written by a later
// version, or is no entry at all.
var errEntry = errors.New("cache: the entry's header cannot be read")

// generation is a tag and the generation it had.
type generation struct{ tag, gen string }

// entryMeta is what an entry's header says.
type entryMeta struct {
	compressed bool
	grace      time.Duration
	tagged     bool
	epoch      string       // the generation of all tags
	tags       []generation // with the prefix
}

func (m *entryMeta) plain() bool { return !m.compressed && m.grace == 0 && !m.tagged }

// encodeEntry puts a header before a payload that needs one.
func encodeEntry(payload []byte, m *entryMeta) []byte {
	if m.plain() && !bytes.HasPrefix(payload, []byte(magic)) {
		return payload
	}
	flags := byte(0)
	size := headerStart + len(payload) + 2*binary.MaxVarintLen64
	if m.tagged {
		flags |= flagTags
		size += len(m.epoch) + 1
		for _, t := range m.tags {
			size += len(t.tag) + len(t.gen) + 2*binary.MaxVarintLen16
		}
	}
	if m.compressed {
		flags |= flagZstd
	}
	if m.grace > 0 {
		flags |= flagGrace
	}
	out := make([]byte, 0, size)
	out = append(append(out, magic...), flags)
	out = out[:headerStart]
	_, _ = rand.Read(out[headerStart-nonceSize:]) // it never fails
	if m.grace > 0 {
		out = binary.AppendUvarint(out, uint64(m.grace.Milliseconds()))
	}
	if m.tagged {
		out = appendText(out, m.epoch)
		out = binary.AppendUvarint(out, uint64(len(m.tags)))
		for _, t := range m.tags {
			out = appendText(appendText(out, t.tag), t.gen)
		}
	}
	return append(out, payload...)
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

// storedEntry is an entry as it was read.
type storedEntry struct {
	entryMeta
	payload []byte
	// ident is the part of what is stored that no other entry of the key begins
	// with: the header, or all of it where there is none.
	ident []byte
}

// emptyIdent is the ident of an empty value, as "begins with nothing" would name
// all values. Its flags are none that an entry has.
const emptyIdent = magic + "\xff"

// decodeEntry reads what is stored. On an error ident is set all the same.
func decodeEntry(raw []byte) (storedEntry, error) {
	if len(raw) == 0 {
		return storedEntry{payload: raw, ident: []byte(emptyIdent)}, nil
	}
	if !bytes.HasPrefix(raw, []byte(magic)) {
		return storedEntry{payload: raw, ident: raw}, nil
	}
	e := storedEntry{ident: raw}
	if len(raw) < headerStart || raw[len(magic)]&^knownFlags != 0 {
		return e, fmt.Errorf("%w: flags or length", errEntry)
	}
	flags, rest := raw[len(magic)], entryReader{rest: raw[headerStart:]}
	e.compressed = flags&flagZstd != 0
	if flags&flagGrace != 0 {
		e.grace = time.Duration(min(rest.number(), maxGrace)) * time.Millisecond
	}
	if e.tagged = flags&flagTags != 0; e.tagged {
		e.epoch = rest.text()
		count := rest.number()
		if count > uint64(len(rest.rest)) {
			rest.failed = true
		}
		for range count {
			if rest.failed {
				break
			}
			e.tags = append(e.tags, generation{tag: rest.text(), gen: rest.text()})
		}
	}
	if rest.failed {
		return storedEntry{ident: raw}, fmt.Errorf("%w: it ends too early", errEntry)
	}
	e.payload = rest.rest
	e.ident = raw[:len(raw)-len(rest.rest)]
	return e, nil
}

// graceEnd is where the grace of an entry ends at the latest.
const graceEnd = int64(headerStart + binary.MaxVarintLen64)

// graceOf returns the grace of an entry, of which the beginning is enough.
func graceOf(raw []byte) time.Duration {
	if len(raw) < headerStart || !bytes.HasPrefix(raw, []byte(magic)) || raw[len(magic)]&flagGrace == 0 {
		return 0
	}
	r := entryReader{rest: raw[headerStart:]}
	return time.Duration(min(r.number(), maxGrace)) * time.Millisecond
}

// withoutGrace returns the time that an entry has before it expires: negative if
// it has expired.
func withoutGrace(left time.Duration, raw []byte) time.Duration {
	grace := graceOf(raw)
	if left <= 0 || grace == 0 {
		return left
	}
	if left <= grace {
		return -1
	}
	return left - grace
}

// maxGrace keeps what a header says within a time.Duration, in milliseconds.
const maxGrace = 1 << 42

type entryReader struct {
	rest   []byte
	failed bool
}

func (r *entryReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *entryReader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.failed = true
	}
	if r.failed {
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}
