package stream

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	sessionWindow      = 4096     // messages sent and not acknowledged
	sessionWindowBytes = 64 << 20 // likewise, bytes
	// sessionTimeout is how long an acknowledgement may stay out. A new
	// session costs little, but a disk that syncs slowly should not cause one.
	sessionTimeout = 10 * time.Second

	errCodeWrongSequence = 10071

	// headerRoom is more than the headers of a message take, whose longest
	// part is two ids.
	headerRoom = 512
)

// sent is a message that is not acknowledged yet.
type sent struct {
	data int     // bytes of payload
	mark cdc.LSN // of a mark; zero for others
}

// Session is the chained publisher: one writer, every message naming the one
// before. Publish, Mark, Gap, Flush and Close are used by one goroutine; the
// other methods by any.
type Session struct {
	s  *Stream
	id string
	// base is the sequence of the stream's last message before the session:
	// message n has the sequence base + n, or the session has ended.
	base       uint64
	reconnects uint64 // of the connection when the session began

	// The message under construction; only used by the publishing goroutine.
	msg     nats.Msg
	header  struct{ id, prev, lsn, expected []string }
	scratch []byte

	subs *nats.Subscription
	wg   sync.WaitGroup
	room chan struct{} // signalled when an acknowledgement came

	done   chan struct{}
	marked atomic.Uint64 // AckedMark

	mu      sync.Mutex
	err     error               // guarded by mu; set before done is closed
	ring    [sessionWindow]sent // guarded by mu
	sent    uint64              // messages sent, guarded by mu
	acked   uint64              // messages acknowledged, without a hole; guarded by mu
	pending int                 // bytes not acknowledged, guarded by mu
	bytes   uint64              // bytes sent, guarded by mu
	moved   time.Time           // when something was last acknowledged, or sent into an empty window; guarded by mu
}

// NewSession publishes the start message chained to the stream's end, waits
// for its acknowledgement, and returns the session.
func (s *Stream) NewSession(ctx context.Context, start cdc.Start) (*Session, error) {
	for attempt := 0; ; attempt++ {
		x, err := s.newSession(ctx, start)
		if err == nil {
			return x, nil
		}
		// Somebody wrote between the look at the end and the start: a session
		// of ours that just ended, most likely.
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == errCodeWrongSequence && attempt < 3 {
			continue
		}
		return nil, fmt.Errorf("begin publishing session: %w", err)
	}
}

func (s *Stream) newSession(ctx context.Context, start cdc.Start) (*Session, error) {
	x := &Session{s: s, id: rand.Text()[:16], room: make(chan struct{}, 1), done: make(chan struct{})}
	// Before the look at the end: what happens to the connection from here on
	// ends the session.
	x.reconnects = s.nc.Stats().Reconnects
	status := s.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	info, err := s.Info(ctx)
	prev := found{}
	if err == nil && info.LastSeq > 0 {
		prev, err = s.find(ctx, info.LastSeq)
	}
	if err == nil {
		inbox := s.nc.NewInbox()
		x.msg.Reply = inbox
		x.subs, err = s.nc.Subscribe(inbox, x.acknowledge)
	}
	if err == nil {
		// Without a limit: the window bounds it, and a dropped
		// acknowledgement would end the session.
		err = x.subs.SetPendingLimits(-1, -1)
	}
	if err != nil {
		s.nc.RemoveStatusListener(status)
		return nil, err
	}
	x.base = info.LastSeq
	x.header.id, x.header.prev = []string{""}, []string{prev.id}
	x.header.lsn, x.header.expected = []string{""}, []string{""}
	x.msg.Header = nats.Header{headerID: x.header.id, headerLSN: x.header.lsn, headerExpected: x.header.expected}
	if prev.id != "" {
		x.msg.Header[headerPrev] = x.header.prev
	}
	x.wg.Go(func() { x.watch(status) })
	data, err := json.Marshal(start)
	if err == nil {
		err = x.publish(ctx, s.Subjects().Start(), start.From, data, 0)
	}
	if err == nil {
		err = x.Flush(ctx)
	}
	if err != nil {
		x.end(err)
		x.wg.Wait()
		return nil, err
	}
	return x, nil
}

// Publish sends asynchronously; it blocks while the window of outstanding
// acknowledgements is full. After any rejection, time-out or reconnect every
// call returns an error that wraps ErrSessionEnded, and nothing more is sent.
// ErrTooLarge and the end of ctx leave the session as it was, with the message
// not sent. data is not kept.
func (x *Session) Publish(ctx context.Context, subject string, lsn cdc.LSN, data []byte) error {
	return x.publish(ctx, subject, lsn, data, 0)
}

// Mark publishes a mark.
func (x *Session) Mark(ctx context.Context, m cdc.Mark) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	return x.publish(ctx, x.s.Subjects().Mark(), m.LSN, data, m.LSN)
}

// Gap publishes a gap.
func (x *Session) Gap(ctx context.Context, g cdc.Gap) error {
	data, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode gap: %w", err)
	}
	return x.publish(ctx, x.s.Subjects().Gap(), g.LSN, data, 0)
}

func (x *Session) publish(ctx context.Context, subject string, lsn cdc.LSN, data []byte, mark cdc.LSN) error {
	size := len(data) + headerRoom
	if limit := x.s.nc.MaxPayload(); int64(size) > limit {
		return fmt.Errorf("publish %s: %d bytes with headers, limit %d: %w", subject, size, limit, ErrTooLarge)
	}
	n, err := x.reserve(ctx, sent{data: len(data), mark: mark})
	if err != nil {
		return err
	}
	x.msg.Subject, x.msg.Data = subject, data
	id := x.numbered(n)
	x.header.id[0] = id
	x.header.lsn[0] = x.lsnText(lsn)
	x.scratch = strconv.AppendUint(x.scratch[:0], x.base+n-1, 10)
	x.header.expected[0] = string(x.scratch)
	// Between a reconnect and its announcement the session must not go on
	// behind what was lost on the way.
	if x.s.nc.Stats().Reconnects != x.reconnects {
		x.end(nats.ErrDisconnected)
		return x.Err()
	}
	err = x.s.nc.PublishMsg(&x.msg)
	x.msg.Data = nil
	if err != nil {
		x.end(err)
		return x.Err()
	}
	if n == 1 {
		x.msg.Header[headerPrev] = x.header.prev
	}
	x.header.prev[0] = id
	return nil
}

// reserve waits for room in the window and takes the next number.
func (x *Session) reserve(ctx context.Context, m sent) (uint64, error) {
	for {
		x.mu.Lock()
		if x.err != nil {
			defer x.mu.Unlock()
			return 0, x.err
		}
		outstanding := x.sent - x.acked
		if outstanding == 0 || outstanding < sessionWindow && x.pending+m.data <= sessionWindowBytes {
			if outstanding == 0 {
				x.moved = time.Now()
			}
			x.ring[x.sent%sessionWindow] = m
			x.sent++
			x.pending += m.data
			x.bytes += uint64(m.data)
			n := x.sent
			x.mu.Unlock()
			return n, nil
		}
		x.mu.Unlock()
		if err := x.wait(ctx); err != nil {
			return 0, err
		}
	}
}

// wait returns after an acknowledgement came, or with the error that makes
// waiting pointless.
func (x *Session) wait(ctx context.Context) error {
	select {
	case <-x.room:
		return nil
	case <-x.done:
		return x.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (x *Session) numbered(n uint64) string {
	x.scratch = append(append(x.scratch[:0], x.id...), ':')
	x.scratch = strconv.AppendUint(x.scratch, n, 10)
	return string(x.scratch)
}

func (x *Session) lsnText(lsn cdc.LSN) string {
	x.scratch = strconv.AppendUint(x.scratch[:0], uint64(lsn>>32), 16)
	x.scratch = append(x.scratch, '/')
	x.scratch = strconv.AppendUint(x.scratch, uint64(uint32(lsn)), 16)
	return strings.ToUpper(string(x.scratch))
}

// AckedMark returns the LSN of the highest mark that, with everything before
// it in the session, is acknowledged; zero for none.
func (x *Session) AckedMark() cdc.LSN { return cdc.LSN(x.marked.Load()) }

// Flush waits until everything published is acknowledged.
func (x *Session) Flush(ctx context.Context) error {
	for {
		x.mu.Lock()
		err, flushed := x.err, x.sent == x.acked
		x.mu.Unlock()
		if err != nil || flushed {
			return err
		}
		if err := x.wait(ctx); err != nil {
			return err
		}
	}
}

// Done is closed when the session has ended; Err then says why.
func (x *Session) Done() <-chan struct{} { return x.done }

// Err is nil while the session lives, and then wraps ErrSessionEnded.
func (x *Session) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// Published returns messages and bytes sent in this session, and the last
// stream sequence acknowledged.
func (x *Session) Published() (messages, bytes, lastSeq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent, x.bytes, x.base + x.acked
}

// Close ends the session after awaiting outstanding acknowledgements until ctx
// ends. It returns nil when all of them came.
func (x *Session) Close(ctx context.Context) error {
	err := x.Flush(ctx)
	x.end(errors.New("closed"))
	x.wg.Wait()
	return err
}

// end ends the session; the first cause stays.
func (x *Session) end(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.endLocked(cause)
}

func (x *Session) endLocked(cause error) {
	if x.err != nil {
		return
	}
	x.err = fmt.Errorf("%w: %w", ErrSessionEnded, cause)
	close(x.done)
}

// watch ends the session when the connection is interrupted or an
// acknowledgement stays out, and cleans up when it has ended.
func (x *Session) watch(status chan nats.Status) {
	ticker := time.NewTicker(sessionTimeout / 20)
	defer ticker.Stop()
	defer func() {
		x.s.nc.RemoveStatusListener(status)
		_ = x.subs.Unsubscribe() // fails only on a closed connection, which has no subscriptions
	}()
	for {
		select {
		case <-x.done:
			return
		case <-status:
			x.end(nats.ErrDisconnected)
		case now := <-ticker.C:
			x.mu.Lock()
			if x.sent > x.acked && now.Sub(x.moved) > sessionTimeout {
				x.endLocked(errNoAck)
			}
			x.mu.Unlock()
		}
	}
}
