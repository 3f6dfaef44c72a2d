package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	slotPoll    = 300 * time.Millisecond // how often a standby looks whether the slot is free
	slotTimeout = time.Hour              // creating a slot waits for every transaction that writes now
	drainTime   = 3 * time.Second        // for everything that is done after Run's context has ended
)

// errSlotTaken is returned when another consumer was faster.
var errSlotTaken = errors.New("another consumer holds the slot")

// session is one span of streaming: from one slot, with one walsender, into one chain of the stream. When any of them is lost the
// session ends, and the next begins where the slot stands.
type session struct {
	c     *Consumer
	epoch cdc.Epoch
	from  cdc.LSN // every transaction with a commit LSN at or above it follows in this session

	// Owned by the reader.
	repl     *replication
	gate     *gate
	chain    *stream.Session
	decoder  pgoutput.Decoder
	batch    *batcher
	ledger   *ledger
	progress progress
	timers   timers
	sent     uint64 // messages accounted for
	rows     uint64 // published since then

	// Owned by the observer.
	db        *pgx.Conn
	store     evidenceStore
	evidence  *evidence
	confirmed cdc.LSN // what the slot was known to have forgotten when the session began
	geometry  walGeometry

	// Shared.
	clock     markClock
	gaps      gapBook
	truncated truncations
	marked    atomic.Uint64 // LSN of the last mark published
	received  atomic.Uint64 // LSN that the stream was read to
	flushed   atomic.Uint64 // LSN that the slot may forget; saved as evidence
	published atomic.Bool   // the governor confirms what is published
}

// opening is what open learns on the way.
type opening struct {
	server *catalog.Server
	system system
	slot   *catalog.Slot
	resend bool
	water  stream.Watermark
	mark   cdc.Mark // that the stream is verified to reach from the watermark; zero: none
}

// open connects, waits for the slot, compares what it finds with the evidence, and begins to stream.
func (c *Consumer) open(ctx context.Context) (_ *session, err error) {
	s := &session{c: c}
	defer func() {
		if err != nil {
			s.close(ctx)
		}
	}()
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	s.gate = &gate{conn: conn, slot: c.cfg.Slot, off: c.cfg.hooks.gateOff}
	if s.db, err = c.connect(ctx); err != nil {
		return nil, err
	}
	var o opening
	if o.server, err = c.prepare(ctx, s.db); err != nil {
		return nil, err
	}
	if err := c.awaitSlot(ctx, s.db); err != nil {
		return nil, err
	}
	c.status.enter(StateConnecting)
	if s.repl, err = openReplication(ctx, c.cfg.URL, c.cfg.Name); err != nil {
		return nil, err
	}
	s.gate.pid = s.repl.pid
	if o.system, err = s.repl.identify(ctx); err != nil {
		return nil, err
	}
	if err := s.examine(ctx, &o); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, &o); err != nil {
		return nil, err
	}
	return s, nil
}

// connect opens an ordinary connection.
func (c *Consumer) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(c.cfg.URL)
	if err != nil {
		return nil, hopeless("correct postgres.url", "parse connection string: %w", err)
	}
	cfg.RuntimeParams["application_name"] = applicationName(c.cfg.Name)
	cfg.RuntimeParams["default_transaction_read_only"] = "off"
	cfg.RuntimeParams["synchronous_commit"] = "local" // nothing of ours waits for standbys
	cfg.RuntimeParams["statement_timeout"] = "0"      // contexts limit what may not take long
	cfg.RuntimeParams["idle_session_timeout"] = "0"
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// prepare checks the server's settings and makes the publication match the tables.
func (c *Consumer) prepare(ctx context.Context, db *pgx.Conn) (*catalog.Server, error) {
	server, err := catalog.ReadServer(ctx, db)
	if err != nil {
		return nil, err
	}
	if server.InRecovery {
		return nil, errRecovery()
	}
	if server.WALLevel != "logical" {
		return nil, hopeless("ALTER SYSTEM SET wal_level = logical; and restart the server",
			"wal_level is %s: Postgres does not write what logical decoding needs", server.WALLevel)
	}
	if name, ok := namedSynchronous(server.SyncStandbys, applicationName(c.cfg.Name)); ok {
		return nil, hopeless(
			"name the standbys in synchronous_standby_names, without Freshet's application_name "+applicationName(c.cfg.Name),
			"synchronous_standby_names contains %s, which makes Freshet a synchronous standby: every commit would wait for it", name)
	}
	if _, err := c.publish(ctx, db); err != nil {
		return nil, err
	}
	return server, nil
}

// publish makes the publication match the tables, and reports whether it did not.
func (c *Consumer) publish(ctx context.Context, db *pgx.Conn) (changed bool, err error) {
	change, err := catalog.EnsurePublication(ctx, db, c.cfg.Publication, c.tableNames(), c.cfg.Manage)
	if change.Any() {
		c.log.Info("publication changed", "publication", c.cfg.Publication, "statements", strings.Join(change.Statements, "; "))
	}
	return change.Any(), err
}

// namedSynchronous reports whether synchronous_standby_names covers application.
func namedSynchronous(setting, application string) (string, bool) {
	names := strings.FieldsFunc(setting, func(r rune) bool {
		return r == ' ' || r == ',' || r == '(' || r == ')' || r == '\t' || r == '\n'
	})
	for _, name := range names {
		name = strings.Trim(name, `"`)
		if name == "*" || strings.EqualFold(name, application) {
			return "'" + name + "'", true
		}
	}
	return "", false
}

// awaitSlot returns when nobody reads the slot.
func (c *Consumer) awaitSlot(ctx context.Context, db *pgx.Conn) error {
	for {
		slot, err := catalog.ReadSlot(ctx, db, c.cfg.Slot)
		if err != nil {
			return err
		}
		if slot == nil || !slot.Active {
			return nil
		}
		c.status.enter(StateWaiting)
		if err := sleep(ctx, slotPoll); err != nil {
			return err
		}
	}
}

// examine compares history with the evidence and decides epoch and starting point. It creates the slot when there is none.
func (s *session) examine(ctx context.Context, o *opening) error {
	c := s.c
	// Somebody may have deleted the stream, or the bucket with the evidence.
	if err := c.stream.Ensure(ctx); err != nil {
		return err
	}
	s.store = evidenceStore{kv: c.stream.KV()}
	kept, err := s.store.load(ctx)
	if err != nil {
		return err
	}
	if err := s.verify(ctx, o); err != nil {
		return err
	}
	h := history{system: o.system, crash: o.server.CrashMarker}
	if kept != nil && o.water.Epoch == kept.Epoch {
		h.marked = o.water.LSN
		if o.mark.Epoch == kept.Epoch {
			h.marked = max(h.marked, o.mark.LSN)
		}
	}
	if h.slot, h.created, err = s.slot(ctx); err != nil {
		return err
	}
	o.slot = h.slot
	found := kept.compare(h)
	if found.reason == "" {
		if found = c.hopelessBacklog(o); found.reason != "" {
			if err := s.giveUp(ctx, kept, o, found); err != nil {
				return err
			}
			c.lostPublication.Store(false)
		}
	}
	next := &evidence{
		Slot: c.cfg.Slot, Epoch: kept.next(found, o.system, time.Now()), Crash: o.server.CrashMarker, Confirmed: o.slot.Confirmed,
	}
	if kept != nil {
		next.Gaps = kept.Gaps
		next.Tables = kept.published(c.cfg.Tables)
		if found.reason == "" {
			next.Confirmed = max(kept.Confirmed, o.slot.Confirmed)
		}
	}
	s.evidence, s.epoch = next, next.Epoch
	s.confirmed, s.from = o.slot.Confirmed, o.slot.Confirmed
	if found.reason != "" {
		if err := s.declare(ctx, found); err != nil {
			return err
		}
	}
	s.geometry, err = readGeometry(ctx, s.db)
	return err
}

// declare notes a gap of all tables that was found while connecting.
func (s *session) declare(ctx context.Context, found verdict) error {
	prints, err := catalog.Fingerprints(ctx, s.db, s.c.cfg.Publication, s.c.tableNames())
	if err != nil {
		return err
	}
	s.evidence.Tables = nil
	for _, t := range s.c.cfg.Tables {
		s.evidence.setTable(t, prints[t.name()])
	}
	_, xmax, err := straddlers(ctx, s.db)
	if err != nil {
		return err
	}
	s.evidence.Gaps = withGap(s.evidence.Gaps, newGap(found, nil, xmax))
	s.c.announceGap(s.evidence.Gaps[0])
	return nil
}

// hopelessBacklog returns why what the slot still holds has to be given up; no reason when it need not.
func (c *Consumer) hopelessBacklog(o *opening) verdict {
	switch {
	case c.mustGiveUp(o.slot, o.system.walEnd):
		return verdict{reason: reasonGovernor, detail: fmt.Sprintf(
			"the slot retained %d bytes of WAL, more than twice max_wal (%d) or all that the server keeps: the backlog was given up",
			o.slot.Retained, c.cfg.MaxWAL)}
	case c.lostPublication.Load():
		return verdict{reason: reasonPublication, detail: fmt.Sprintf(
			"publication %q was dropped: Postgres cannot decode what was written without it", c.cfg.Publication)}
	}
	return verdict{}
}

// slot reads the slot, or creates it when it is missing or can never be read again.
func (s *session) slot(ctx context.Context) (_ *catalog.Slot, created bool, err error) {
	c := s.c
	slot, err := catalog.ReadSlot(ctx, s.db, c.cfg.Slot)
	if err != nil {
		return nil, false, err
	}
	var problem string
	switch {
	case slot == nil:
		problem = fmt.Sprintf("replication slot %q does not exist", c.cfg.Slot)
	case slot.Lost():
		problem = fmt.Sprintf("replication slot %q was invalidated by the server (%s%s)", c.cfg.Slot, slot.WALStatus, slot.Invalidation)
	case slot.Plugin != "pgoutput":
		return nil, false, hopeless("choose another name in postgres.slot", "replication slot %q belongs to something else (plugin %q)", c.cfg.Slot, slot.Plugin)
	case slot.Database != s.db.Config().Database:
		return nil, false, hopeless("choose another name in postgres.slot", "replication slot %q is of database %q", c.cfg.Slot, slot.Database)
	default:
		return slot, false, nil
	}
	if !c.cfg.Manage {
		statements := []string{catalog.CreateSlotSQL(c.cfg.Slot)}
		if slot != nil {
			statements = []string{catalog.DropSlotSQL(c.cfg.Slot), statements[0]}
		}
		return nil, false, &catalog.RemedyError{Problem: problem, SQL: statements, Note: "postgres.manage is false"}
	}
	if slot != nil {
		if _, err := s.db.Exec(ctx, "SELECT pg_drop_replication_slot($1)", c.cfg.Slot); err != nil {
			return nil, false, fmt.Errorf("drop invalidated slot %q: %w", c.cfg.Slot, err)
		}
		c.emit("slot_lost", problem+"; it is created again and the caches are flushed", map[string]any{"slot": c.cfg.Slot})
	}
	c.status.enter(StateCreating)
	defer c.status.enter(StateConnecting)
	create, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	if _, err := catalog.CreateSlot(create, s.db, c.cfg.Slot); err != nil {
		if hasCode(err, codeDuplicateObject) {
			return nil, false, errSlotTaken
		}
		if hasCode(err, codeTooManySlots) {
			return nil, false, withRemedy("raise max_replication_slots, or drop a slot that nobody reads", "%w", err)
		}
		return nil, false, err
	}
	c.emit("slot_created", fmt.Sprintf("replication slot %q was created", c.cfg.Slot), map[string]any{"slot": c.cfg.Slot})
	slot, err = catalog.ReadSlot(ctx, s.db, c.cfg.Slot)
	if err == nil && slot == nil {
		err = fmt.Errorf("slot %q vanished after it was created", c.cfg.Slot)
	}
	return slot, true, err
}

// begin starts replication, makes sure that what was examined still holds, and begins the chain.
func (s *session) begin(ctx context.Context, o *opening) error {
	c := s.c
	var err error
	if o.resend, err = c.stream.ResendRequested(ctx); err != nil {
		return err
	}
	if !o.resend && o.water.Epoch == s.epoch && o.mark.Epoch == s.epoch {
		s.from = max(s.from, o.mark.LSN) // what is verified to stand in the stream is not sent again
	}
	if err := s.repl.start(ctx, c.cfg.Slot, c.cfg.Publication, s.from); err != nil {
		if hasCode(err, codeObjectInUse) {
			return errSlotTaken
		}
		return err
	}
	// The slot is ours now. Between the comparison and this moment it was not.
	slot, err := catalog.ReadSlot(ctx, s.db, c.cfg.Slot)
	if err != nil {
		return err
	}
	if slot == nil || slot.Confirmed != o.slot.Confirmed {
		return fmt.Errorf("slot %q moved while it was examined", c.cfg.Slot)
	}
	// So is the publication: while this process waited, one with other rules may have made it fit those.
	switch changed, err := c.publish(ctx, s.db); {
	case err != nil:
		return err
	case changed:
		return fmt.Errorf("publication %q did not match the rules any more; it does now", c.cfg.Publication)
	}
	if err := s.gate.poll(ctx, true); err != nil {
		return err
	}
	s.gaps.list = s.evidence.Gaps
	s.evidence.Gaps = s.gaps.snapshot()
	if err := s.store.save(ctx, s.evidence); err != nil {
		return err
	}
	s.flushed.Store(uint64(s.confirmed))
	s.received.Store(uint64(s.from))
	s.marked.Store(uint64(s.from))
	s.timers.statusEvery = statusInterval(o.server.SenderTimeout)
	return s.chainUp(ctx, o.resend, o.water)
}

// verify looks up the watermark, and how far the stream is whole from there.
func (s *session) verify(ctx context.Context, o *opening) error {
	water, known, err := s.c.stream.LastWatermark(ctx)
	if err != nil || !known {
		return err
	}
	s.c.watermark.Store(&water)
	o.water = water
	mark, ok, err := s.c.stream.Verified(ctx, water.Point())
	if ok {
		o.mark = mark
	}
	return err
}

// chainUp publishes the start and opens the books.
func (s *session) chainUp(ctx context.Context, resend bool, w stream.Watermark) error {
	c := s.c
	info, err := c.stream.Info(ctx)
	if err != nil {
		return err
	}
	s.chain, err = c.stream.NewSession(ctx, cdc.Start{Epoch: s.epoch, From: s.from})
	if err != nil {
		return err
	}
	if resend {
		// A request made from here on is for the next session.
		if err := c.stream.ClearResend(ctx); err != nil {
			return err
		}
	}
	_, _, base := s.chain.Published()
	s.ledger = openLedger(info, w, base)
	s.progress.last = s.from
	c.status.update(func(st *Status) {
		st.Epoch, st.Received, st.Published, st.Confirmed = s.epoch, s.from, s.from, s.confirmed
		st.LastError, st.Remedy, st.ErrorAt, st.TablesAt = "", "", time.Time{}, time.Time{}
	})
	return nil
}

// close ends whatever is open.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if s.chain != nil {
		_ = s.chain.Close(ctx) // what is not acknowledged is sent again by the next session
	}
	if s.repl != nil {
		if s.repl.conn != nil {
			s.repl.leave()
		} else {
			_ = s.repl.close(ctx)
		}
	}
	for _, conn := range []*pgx.Conn{s.db, s.gateConn()} {
		if conn != nil {
			_ = conn.Close(ctx)
		}
	}
}

func (s *session) gateConn() *pgx.Conn {
	if s.gate == nil {
		return nil
	}
	return s.gate.conn
}

// statusInterval is how often the walsender hears from us at least.
func statusInterval(senderTimeout time.Duration) time.Duration {
	const most = 10 * time.Second
	if senderTimeout <= 0 {
		return most
	}
	return min(most, senderTimeout/3)
}

func readGeometry(ctx context.Context, db catalog.DB) (walGeometry, error) {
	var g walGeometry
	var block, segment int64
	err := db.QueryRow(ctx, `SELECT current_setting('wal_block_size')::int8, pg_size_bytes(current_setting('wal_segment_size'))`).
		Scan(&block, &segment)
	if err != nil {
		return g, fmt.Errorf("read sizes of wal: %w", err)
	}
	g.block, g.segment = uint64(block), uint64(segment)
	return g, nil
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
