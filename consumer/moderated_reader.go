package consumer

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

const (
	readBuffer  = 1 << 20 // what one read may bring, and all that is held while a transaction is not visible
	leastRead   = 64 << 10
	headerBytes = 5 // a message's kind and its length
	maxMessage  = 1<<30 + 1<<20

	// moderationWindow is how long traffic is measured before it counts as a backlog or no longer does.
	moderationWindow = 4 * time.Millisecond
	// moderationRate is what makes a backlog, in bytes per millisecond: far more than live traffic brings, far less than
	// the walsender sends when it has work.
	moderationRate = 8 << 10
	// moderationLeast is the smallest read that keeps the moderation on.
	moderationLeast = 8 << 10
	// moderationPause is how long the socket is left to fill. The walsender makes one send per message: a reader
	// that waits in read is woken for each of them, and both sides spend their time in the kernel.
	moderationPause = 300 * time.Microsecond
)

// moderatedReader is the receiving half of the replication connection. It cuts the bytes into protocol messages
// without copying them and, under a backlog only, pauses between reads.
//
// pgconn reads through it during the handshake; it hands out one message per Read then, so that nothing is left in
// pgconn's own buffer when streaming begins and next takes over.
type moderatedReader struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] is read and not yet handed out
	left int // Read: bytes of the present message not yet handed out

	windowStart time.Time
	windowBytes int
	backlog     bool
	pause       func(time.Duration)
	total       uint64 // bytes read
}

func newModeratedReader(src io.Reader) *moderatedReader {
	return &moderatedReader{src: src, buf: make([]byte, readBuffer), pause: time.Sleep}
}

var _ io.Reader = (*moderatedReader)(nil)

// Read hands out bytes of one message at most.
func (m *moderatedReader) Read(p []byte) (int, error) {
	if m.left == 0 {
		for m.w-m.r < headerBytes {
			if err := m.fill(); err != nil {
				return 0, err
			}
		}
		m.left = 1 + int(binary.BigEndian.Uint32(m.buf[m.r+1:]))
	}
	if m.r == m.w {
		if err := m.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.buf[m.r:min(m.w, m.r+m.left)])
	m.r += n
	m.left -= n
	return n, nil
}

// next returns the next message that is there as a whole; ok is false when there is none. body is valid until fill.
func (m *moderatedReader) next() (kind byte, body []byte, ok bool, err error) {
	have := m.buf[m.r:m.w]
	if len(have) < headerBytes {
		return 0, nil, false, nil
	}
	size := int(binary.BigEndian.Uint32(have[1:]))
	if size < 4 || size > maxMessage {
		return 0, nil, false, fmt.Errorf("replication stream: message of kind %q claims %d bytes", have[0], size)
	}
	if len(have) < 1+size {
		return 0, nil, false, nil
	}
	m.r += 1 + size
	return have[0], have[headerBytes : 1+size], true, nil
}

// fill reads once. Every body that next returned becomes invalid.
func (m *moderatedReader) fill() error {
	m.makeRoom()
	if m.backlog {
		m.pause(moderationPause)
	}
	n, err := m.src.Read(m.buf[m.w:])
	m.w += n
	if n > 0 {
		m.total += uint64(n)
		m.measure(time.Now(), n)
		return nil
	}
	m.backlog = false
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (m *moderatedReader) makeRoom() {
	have := m.w - m.r
	if have == 0 {
		m.r, m.w = 0, 0
		if len(m.buf) > readBuffer {
			m.buf = make([]byte, readBuffer) // a single large row must not stay in memory for good
		}
		return
	}
	need := leastRead
	if have >= headerBytes {
		need = max(need, 1+int(binary.BigEndian.Uint32(m.buf[m.r+1:]))-have)
	}
	if len(m.buf)-m.w >= need {
		return
	}
	to := m.buf
	if have+need > len(to) {
		to = make([]byte, have+need)
	}
	copy(to, m.buf[m.r:m.w])
	m.buf, m.r, m.w = to, 0, have
}

// measure decides whether there is a backlog.
func (m *moderatedReader) measure(now time.Time, n int) {
	if m.backlog && n < moderationLeast {
		m.backlog, m.windowStart, m.windowBytes = false, now, 0
		return
	}
	m.windowBytes += n
	elapsed := now.Sub(m.windowStart)
	if elapsed < moderationWindow {
		return
	}
	// A window that began before a silence says nothing of the burst that ended it.
	m.backlog = elapsed < 4*moderationWindow && int64(m.windowBytes) >= moderationRate*elapsed.Microseconds()/1000
	m.windowStart, m.windowBytes = now, 0
}
