package consumer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

const (
	// tick is how long the reader waits for bytes at most before it looks after everything else.
	tick = 100 * time.Millisecond
	// silence is how long a walsender may leave a request unanswered, which it looks for only now and then while it decodes.
	silence = time.Minute

	// backlogAge is how old the oldest WAL not yet read has to be for the receive moderation, which delays by a fraction of that.
	backlogAge = 50 * time.Millisecond

	gateBackoffLeast = 100 * time.Microsecond
	gateBackoffMost  = 50 * time.Millisecond
	pausePoll        = 20 * time.Millisecond
)

// progress is where the reader is in the stream.
type progress struct {
	open bool    // between BEGIN and COMMIT
	tx   cdc.LSN // commit LSN of the present transaction, or of the one before
	last cdc.LSN // every transaction with a lower commit LSN was handed to the batcher
	// committed is true when last was moved by a transaction since the last mark.
	committed bool
	fresh     bool    // a keepalive told last since the last mark
	marked    cdc.LSN // LSN of the last mark
	markedAt  time.Time
}

// timers say when the walsender has to hear from us.
type timers struct {
	statusEvery time.Duration
	status      time.Time // when the last one was sent
	flushed     cdc.LSN   // what it said
	reply       bool      // the walsender wants to hear from us now
	asked       time.Time // when we asked for a keepalive last
	unanswered  time.Time // when we asked first without having received anything since; zero: not at all
}

// read reads, publishes and reports until ctx ends or something is lost. It is the only user of the replication connection.
func (s *session) read(ctx context.Context) error {
	s.batch = s.newBatcher(ctx)
	if err := s.publishGaps(ctx); err != nil {
		return err
	}
	for {
		kind, body, ok, err := s.repl.reader.next()
		if err != nil {
			return err
		}
		if !ok {
			if err := s.settle(ctx); err != nil {
				return err
			}
			wait := min(tick, s.c.cfg.MarkInterval)
			some, err := s.repl.fill(time.Now().Add(wait))
			if err != nil {
				return err
			}
			if some {
				s.timers.unanswered = time.Time{}
			}
			continue
		}
		switch kind {
		case 'd':
			if err := s.copyData(ctx, body); err != nil {
				return err
			}
		case 'E':
			return serverError(body)
		case 'c':
			return errors.New("the walsender ended the stream")
		}
	}
}

// copyData takes one message of the replication protocol.
func (s *session) copyData(ctx context.Context, body []byte) error {
	const walHeader, keepalive = 1 + 3*8, 1 + 2*8 + 1
	switch {
	case len(body) >= walHeader && body[0] == 'w':
		return s.walData(ctx, body[walHeader:])
	case len(body) >= keepalive && body[0] == 'k':
		// In the middle of a transaction the position is that transaction's commit LSN or lower: nothing to learn from.
		if p := &s.progress; !p.open {
			p.last = max(p.last, cdc.LSN(binary.BigEndian.Uint64(body[1:])))
			p.fresh = true
		}
		s.timers.reply = s.timers.reply || body[17] != 0
		return nil
	}
	return fmt.Errorf("replication stream: message of %d bytes that starts with %q", len(body), body[:min(1, len(body))])
}

// walData takes one message of the output plugin.
func (s *session) walData(ctx context.Context, data []byte) error {
	msg, err := s.decoder.Decode(data)
	if err != nil {
		return err
	}
	switch m := msg.(type) {
	case *pgoutput.Begin:
		return s.transactionBegins(ctx, m)
	case *pgoutput.Commit:
		if !s.progress.open {
			return fmt.Errorf("replication stream: commit %s without begin", m.LSN)
		}
		s.progress.open, s.progress.committed = false, true
		s.progress.last = m.End
		return nil
	case *pgoutput.Truncate:
		s.truncated.add(m.Relations, time.Now())
	}
	return s.batch.apply(msg)
}

// transactionBegins holds the stream until the transaction is visible to every new snapshot.
func (s *session) transactionBegins(ctx context.Context, b *pgoutput.Begin) error {
	if s.progress.open || b.FinalLSN <= s.progress.tx {
		return fmt.Errorf("replication stream: transaction %d with commit LSN %s begins behind %s", b.XID, b.FinalLSN, s.progress.tx)
	}
	if err := s.awaitVisible(ctx, b.XID); err != nil {
		return err
	}
	s.progress.open, s.progress.tx = true, b.FinalLSN
	s.batch.begin(cdc.Transaction{LSN: b.FinalLSN, XID: b.XID, Time: b.Time})
	return nil
}

// awaitVisible returns when every new snapshot shows the transaction. What follows stays in the receive buffer and then in the
// socket; the walsender hears from us by the timer, whatever it asked for behind the transaction. There is no time-out: the
// writer's COMMIT has not returned either, so holding loses nothing (I1, I9).
func (s *session) awaitVisible(ctx context.Context, xid uint32) error {
	if s.gate.visible(xid) {
		return nil
	}
	began := time.Now()
	if err := s.gate.poll(ctx, false); err != nil {
		return err
	}
	if s.gate.visible(xid) {
		s.c.visibility.observe(time.Since(began))
		return nil
	}
	// What came before it is visible and must not wait.
	if err := s.publishBatch(ctx); err != nil {
		return err
	}
	defer s.c.status.enter(StateStreaming)
	for backoff := gateBackoffLeast; ; backoff = min(2*backoff, gateBackoffMost) {
		if backoff >= 10*time.Millisecond {
			s.c.status.enter(StateInvisible)
		}
		if err := s.maintain(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, backoff); err != nil {
			return err
		}
		if err := s.gate.poll(ctx, true); err != nil {
			return err
		}
		if s.gate.visible(xid) {
			s.timers.unanswered = time.Time{} // the answer may be behind what was held
			s.c.visibility.observe(time.Since(began))
			return nil
		}
	}
}

// settle is called when everything received has been taken: what one burst brought goes out together.
func (s *session) settle(ctx context.Context) error {
	if err := s.maintain(ctx); err != nil {
		return err
	}
	if !s.progress.open {
		if err := s.publishBatch(ctx); err != nil {
			return err
		}
		if err := s.publishGaps(ctx); err != nil {
			return err
		}
	}
	if err := s.ask(); err != nil {
		return err
	}
	s.repl.moderate(s.clock.behind(s.progress.last, time.Now()) > backlogAge)
	return s.holdBack(ctx)
}

// publishBatch publishes the changes of whole transactions, and a mark behind them.
func (s *session) publishBatch(ctx context.Context) error {
	if err := s.batch.flush(); err != nil {
		return err
	}
	now := time.Now()
	p := &s.progress
	s.received.Store(uint64(p.last))
	if !p.committed && (!p.fresh || now.Sub(p.markedAt) < s.c.cfg.MarkInterval) {
		return nil
	}
	p.committed, p.fresh = false, false
	return s.mark(ctx, p.last, now)
}

// mark publishes that every transaction with a commit LSN below lsn stands in the stream.
func (s *session) mark(ctx context.Context, lsn cdc.LSN, now time.Time) error {
	m := cdc.Mark{Epoch: s.epoch, LSN: lsn, Time: s.clock.at(lsn)}
	if err := s.inTime(ctx, func(ctx context.Context) error { return s.chain.Mark(ctx, m) }); err != nil {
		return err
	}
	s.progress.marked, s.progress.markedAt = lsn, now
	s.marked.Store(uint64(lsn))
	s.account(now)
	return nil
}

// newBatcher returns the batcher of the session. What it emits is behind the gate and in the order of commits.
func (s *session) newBatcher(ctx context.Context) *batcher {
	subjects := s.c.stream.Subjects()
	names := make(map[cdc.TableName]string, len(s.c.cfg.Tables))
	for _, t := range s.c.tableNames() {
		names[t] = subjects.Changes(t.Schema, t.Table)
	}
	// A message holds at most what makes it go out and one more change; the server must take it, headers included.
	largest := int(s.c.stream.Conn().MaxPayload())
	return newBatcher(batcherConfig{
		source: s.c.cfg.Name, epoch: s.epoch, tables: s.c.cfg.Tables, chunk: s.c.cfg.Chunk,
		messageBytes: min(defaultMessageBytes, largest/4), changeBytes: min(defaultChangeBytes, largest/2),
		rootOf: func(oid uint32, schema, name string) (cdc.TableName, bool, error) {
			return s.rootOf(ctx, oid, cdc.TableName{Schema: schema, Table: name})
		},
		strays: func(oid uint32) ([]cdc.TableName, error) {
			return catalog.Divided(ctx, s.gate.conn, s.c.cfg.Publication, oid, s.c.tableNames())
		},
		bulk: func(table cdc.TableName, limit int64, tx cdc.Transaction) {
			s.c.emit("bulk", fmt.Sprintf("a transaction changed more than %d rows of %s: for the rest, everything that depends on the table is invalidated; the limit is invalidator.bulk, or bulk of a rule", limit, table),
				map[string]any{"table": table.String(), "rows": limit, "lsn": tx.LSN.String(), "xid": tx.XID})
		},
		emit: func(schema, table string, lsn cdc.LSN, rows int, data []byte) error {
			s.rows += uint64(rows)
			subject := names[cdc.TableName{Schema: schema, Table: table}]
			err := s.inTime(ctx, func(ctx context.Context) error { return s.chain.Publish(ctx, subject, lsn, data) })
			if err != nil {
				return err
			}
			s.account(time.Now())
			return s.holdBack(ctx) // here too: one transaction may be larger than the stream
		},
	})
}

// rootOf returns the table whose changes a relation's are. It asks the catalog each time, as a relation is described only once
// in a session and again after it was altered, perhaps by becoming a partition.
func (s *session) rootOf(ctx context.Context, oid uint32, relation cdc.TableName) (cdc.TableName, bool, error) {
	wanted := make(map[cdc.TableName]*catalog.Table, len(s.c.cfg.Tables))
	for _, name := range s.c.tableNames() {
		wanted[name] = &catalog.Table{}
	}
	tables, err := catalog.NewLeaves(wanted).Resolve(ctx, s.gate.conn, oid, relation)
	switch {
	case err != nil:
		return cdc.TableName{}, false, err
	case len(tables) == 0:
		return cdc.TableName{}, false, nil
	case len(tables) > 1:
		return cdc.TableName{}, false, hopeless("write the rules for one of them", "rows of %s belong to %s and to %s, which both have rules", relation, tables[0], tables[1])
	}
	return tables[0], true, nil
}

// inTime calls send, which may wait for room in the publisher's window, and meanwhile keeps the walsender informed.
func (s *session) inTime(ctx context.Context, send func(context.Context) error) error {
	for {
		due := s.timers.status.Add(s.timers.statusEvery)
		limited, cancel := context.WithDeadline(ctx, due)
		err := send(limited)
		cancel()
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		if err := s.sendStatus(false); err != nil {
			return err
		}
	}
}

// maintain does what must go on whatever the reader waits for.
func (s *session) maintain(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-s.chain.Done():
		return s.chain.Err()
	default:
	}
	t := &s.timers
	since := time.Since(t.status)
	if t.reply || since >= t.statusEvery || since >= observeInterval && cdc.LSN(s.flushed.Load()) != t.flushed {
		return s.sendStatus(false)
	}
	return nil
}

// ask asks the walsender for a keepalive when nothing flows: for its position, and in the middle of a transaction for a sign of life.
func (s *session) ask() error {
	t := &s.timers
	now := time.Now()
	if !t.unanswered.IsZero() && now.Sub(t.unanswered) > silence {
		return fmt.Errorf("the walsender has not answered for %s", silence)
	}
	interval := s.c.cfg.MarkInterval
	if s.progress.open {
		interval = max(interval, observeInterval)
	}
	if now.Sub(s.progress.markedAt) < interval || now.Sub(t.asked) < interval {
		return nil
	}
	t.asked = now
	if t.unanswered.IsZero() {
		t.unanswered = now
	}
	return s.sendStatus(true)
}

// sendStatus tells the walsender what may be forgotten: what the observer has saved as evidence, never more.
func (s *session) sendStatus(ask bool) error {
	flushed := cdc.LSN(s.flushed.Load())
	if err := s.repl.status(cdc.LSN(s.received.Load()), flushed, ask); err != nil {
		return err
	}
	s.timers.status, s.timers.reply, s.timers.flushed = time.Now(), false, flushed
	return nil
}

// holdBack waits while the stream is too far ahead of the invalidator.
func (s *session) holdBack(ctx context.Context) error {
	paused := false
	for {
		if w := s.c.watermark.Load(); w != nil {
			s.ledger.update(*w)
		}
		now := time.Now()
		if !s.ledger.full(now) {
			break
		}
		if !paused {
			paused = true
			s.c.status.enter(StatePaused)
		}
		if err := s.maintain(ctx); err != nil {
			return err
		}
		if err := sleep(ctx, pausePoll); err != nil {
			return err
		}
	}
	if paused {
		s.timers.unanswered = time.Time{}
		s.c.status.enter(StateStreaming)
	}
	return nil
}

// account notes what was published.
func (s *session) account(now time.Time) {
	messages, bytes, _ := s.chain.Published()
	s.ledger.wrote(messages, bytes, now)
	sent, rows := messages-s.sent, s.rows
	s.sent, s.rows = messages, 0
	marked, at := s.progress.marked, s.clock.last()
	s.c.status.update(func(st *Status) {
		st.Messages += sent
		st.Changes += rows
		st.Received = s.progress.last
		if marked != 0 {
			st.Published = marked
		}
		if !at.IsZero() {
			st.MarkTime = at
		}
	})
	s.c.tally.record(s.batch, now)
}

// publishGaps publishes what gaps are due. They stand between transactions, at the position of the last mark.
func (s *session) publishGaps(ctx context.Context) error {
	for {
		at := max(s.progress.marked, s.from)
		g, final := s.gaps.unpublished(at)
		if g == nil {
			return nil
		}
		m := g.message(s.epoch, at, final)
		if err := s.inTime(ctx, func(ctx context.Context) error { return s.chain.Gap(ctx, m) }); err != nil {
			return err
		}
		if err := s.inTime(ctx, s.chain.Flush); err != nil {
			return err
		}
		_, _, seq := s.chain.Published()
		s.gaps.published(g, final, seq)
	}
}
