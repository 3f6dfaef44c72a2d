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

	// While the stream is behind, the socket is left to fill before each read. The walsender makes one send per message: a reader that
	// waits in read is woken for each of them, and both sides spend their time in the kernel. The pause follows what it
	// brings, since a walsender that shares its processor needs longer for the same.
	pauseLeast = 200 * time.Microsecond
	pauseMost  = 2 * time.Millisecond
	pauseAim   = 256 << 10 // bytes that a read should bring
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

	backlog bool // the stream is behind: pause before reading
	pause   time.Duration
	sleep   func(time.Duration)
}

func newModeratedReader(src io.Reader) *moderatedReader {
	return &moderatedReader{src: src, buf: make([]byte, readBuffer), pause: pauseLeast, sleep: time.Sleep} //nolint:forbidigo // for microseconds, amid a read that no context ends
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
		m.sleep(m.pause)
	}
	n, err := m.src.Read(m.buf[m.w:])
	m.w += n
	if m.backlog {
		m.adapt(n)
	}
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// adapt fits the pause to what the last one brought.
func (m *moderatedReader) adapt(n int) {
	switch {
	case n < pauseAim/2:
		m.pause = min(m.pause*2, pauseMost)
	case n > pauseAim:
		m.pause = max(m.pause/2, pauseLeast)
	}
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
	need := headerBytes - have
	if have >= headerBytes {
		need = 1 + int(binary.BigEndian.Uint32(m.buf[m.r+1:])) - have
	}
	// A little is moved for the sake of large reads, much only when it must be.
	if free := len(m.buf) - m.w; free >= need && (free >= leastRead || have > leastRead) {
		return
	}
	need = max(need, leastRead)
	to := m.buf
	if have+need > len(to) {
		to = make([]byte, have+need)
	}
	copy(to, m.buf[m.r:m.w])
	m.buf, m.r, m.w = to, 0, have
}
