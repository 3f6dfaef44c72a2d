package pgoutput

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// reader walks one message. The first error sticks, and every read after it
// returns zero, so that a message's fields are read in a row and checked once.
type reader struct {
	data []byte
	off  int
	name string
	err  error
}

// fail notes the first error and moves to the end, where nothing can be read.
func (r *reader) fail(want, have string) {
	if r.err == nil {
		r.err = &SyntaxError{Message: r.name, Offset: r.off, Want: want, Have: have}
		r.off = len(r.data)
	}
}

func (r *reader) short(want string) {
	r.fail(want, fmt.Sprintf("%d bytes left", len(r.data)-r.off))
}

func (r *reader) byte(want string) byte {
	if r.off >= len(r.data) {
		r.short(want)
		return 0
	}
	b := r.data[r.off]
	r.off++
	return b
}

func (r *reader) uint16(want string) uint16 {
	if len(r.data)-r.off < 2 {
		r.short(want)
		return 0
	}
	v := binary.BigEndian.Uint16(r.data[r.off:])
	r.off += 2
	return v
}

func (r *reader) uint32(want string) uint32 {
	if len(r.data)-r.off < 4 {
		r.short(want)
		return 0
	}
	v := binary.BigEndian.Uint32(r.data[r.off:])
	r.off += 4
	return v
}

func (r *reader) uint64(want string) uint64 {
	if len(r.data)-r.off < 8 {
		r.short(want)
		return 0
	}
	v := binary.BigEndian.Uint64(r.data[r.off:])
	r.off += 8
	return v
}

func (r *reader) lsn(want string) cdc.LSN { return cdc.LSN(r.uint64(want)) }

// postgresEpoch is 2000-01-01, from which Postgres counts, in microseconds of
// Unix time.
const postgresEpoch = 946_684_800_000_000

func (r *reader) time(want string) time.Time {
	// The sum wraps for instants far beyond what Postgres can write.
	return time.UnixMicro(int64(r.uint64(want)) + postgresEpoch).UTC()
}

func (r *reader) string(want string) string {
	end := bytes.IndexByte(r.data[r.off:], 0)
	if end < 0 {
		r.fail(want+" ending in a zero byte", "none")
		return ""
	}
	s := string(r.data[r.off : r.off+end])
	r.off += end + 1
	return s
}

// namespace reads a schema's name; pg_catalog is sent as an empty string.
func (r *reader) namespace() string {
	if name := r.string("namespace"); name != "" || r.err != nil {
		return name
	}
	return "pg_catalog"
}

// bytes returns the next n bytes, aliasing the input.
func (r *reader) bytes(n uint32, want string) []byte {
	if uint64(n) > uint64(len(r.data)-r.off) {
		r.short(fmt.Sprintf("%d bytes of %s", n, want))
		return nil
	}
	b := r.data[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return b
}

// tuple reads a row into dst's memory. It is the loop that every column of
// every row passes, hence the local offset.
func (r *reader) tuple(dst Tuple) Tuple {
	n := int(r.uint16("number of columns"))
	if r.err != nil {
		return nil
	}
	// A column takes at least its kind byte: a count that lies cannot make
	// the tuple grow beyond the input.
	if n > len(r.data)-r.off {
		r.short(fmt.Sprintf("%d columns", n))
		return nil
	}
	if cap(dst) < n {
		dst = make(Tuple, n)
	}
	dst = dst[:n]
	data, off := r.data, r.off
	for i := range dst {
		if off >= len(data) {
			r.off = off
			r.short("kind of column")
			return nil
		}
		kind := Kind(data[off])
		switch kind {
		case Text, Binary:
			if len(data)-off < 5 {
				r.off = off + 1
				r.short("length of column")
				return nil
			}
			size := binary.BigEndian.Uint32(data[off+1:])
			off += 5
			if uint64(size) > uint64(len(data)-off) {
				r.off = off
				r.short(fmt.Sprintf("%d bytes of column", size))
				return nil
			}
			end := off + int(size)
			dst[i] = Column{Kind: kind, Data: data[off:end:end]}
			off = end
		case Null, Unchanged:
			dst[i] = Column{Kind: kind}
			off++
		default:
			r.off = off
			r.fail("kind of column n, u, t or b", quoted(data[off]))
			return nil
		}
	}
	r.off = off
	return dst
}

// end checks that the message has been read completely.
func (r *reader) end() error {
	if r.err == nil && r.off != len(r.data) {
		r.fail("end of message", fmt.Sprintf("%d more bytes", len(r.data)-r.off))
	}
	return r.err
}

func quoted(b byte) string { return fmt.Sprintf("%q", rune(b)) }
