package consumer

import (
	"fmt"
	"slices"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

const (
	// defaultMessageBytes is the size at which a message goes out. With the
	// largest change it stays below NATS' default payload limit of 1 MiB.
	defaultMessageBytes = 256 << 10
	// defaultChangeBytes is the size beyond which one change is published as
	// a bulk change.
	defaultChangeBytes = 512 << 10
	// defaultOpenBytes bounds what messages of many tables hold together
	// before they all go out.
	defaultOpenBytes = 8 << 20
	// spareBuilders bounds the memory that is kept for the next batch.
	spareBuilders = 16
)

// batcherConfig says what a batcher publishes.
type batcherConfig struct {
	source string    // the instance's name
	epoch  cdc.Epoch // of the session
	tables []Table
	chunk  int // rows of a message at most; 0: 256

	messageBytes int // size at which a message goes out; 0: 256 KiB
	changeBytes  int // size of one change beyond which it is published as bulk; 0: 512 KiB
	openBytes    int // size of all open messages at which they go out; 0: 8 MiB

	// rootOf returns the table whose changes a relation's are: the root for a
	// leaf of a partitioned table, otherwise the relation itself. It is called
	// once for each description of a relation, so it may ask the catalog, and
	// must for a relation that it has not seen: a partition may be newer than
	// the session. With false the relation's rows are dropped, but for what
	// strays says.
	rootOf func(oid uint32, schema, name string) (cdc.TableName, bool, error)

	// strays, if set, returns the tables that a relation without a root may
	// have been a part of when its rows were written, and is not now: it was
	// dropped or detached before it was decoded. Its rows are published as bulk
	// changes of all of them.
	strays func(oid uint32) ([]cdc.TableName, error)

	// bulk, if set, is told once in a transaction that a table's rows beyond the
	// limit are published as one change.
	bulk func(table cdc.TableName, limit int64, tx cdc.Transaction)

	// emit takes a message, which is its own from then on.
	emit func(schema, table string, lsn cdc.LSN, rows int, data []byte) error
}

// batcher turns the stream's rows into change messages: it drops tables and
// columns that no rule needs, maps partitions to their root, tells what is
// known of old images, and groups changes by table. Messages go out as they
// fill and with flush; nothing is kept per row, so that memory does not depend
// on the size of a transaction.
//
// A change that cannot be published as it is (too large, or text that is not
// UTF-8) is published as a bulk change of its table, never dropped (I8).
//
// A batcher serves one session. After an error it must not be used again.
type batcher struct {
	cfg    batcherConfig
	tables map[cdc.TableName]*openTable

	plans   map[uint32]*plan   // by relation; nil: its rows are dropped
	astray  map[uint32][]*plan // plans of the tables that the rows of a relation without a root may be of
	types   map[uint32]cdc.Encoding
	last    *plan // the plan of lastOID, as rows come in runs
	lastOID uint32

	tx        cdc.Transaction
	serial    uint64 // counts transactions, to see which ones a table has seen
	truncates uint64 // counts TRUNCATE statements, likewise

	opened []*openTable // in the order of their first change since flush
	size   int          // bytes in open messages
	spare  []*cdc.Builder
}

// openTable is a table of the configuration with its open message.
type openTable struct {
	name    cdc.TableName
	columns map[string]bool
	all     bool
	ops     []cdc.Op
	bulk    int64

	message *cdc.Builder // nil: none since flush
	shape   *plan        // that the message was begun with
	size    int          // of the message, as counted in batcher.size

	serial    uint64 // the transaction that rows and widened belong to
	rows      int64
	widened   bool // a bulk change of this transaction was written
	truncates uint64

	published [5]uint64 // changes by operation, in the order of publishedOps
}

var publishedOps = [...]cdc.Op{cdc.Insert, cdc.Update, cdc.Delete, cdc.Truncate, cdc.Bulk}

func (t *openTable) wants(op cdc.Op) bool { return len(t.ops) == 0 || slices.Contains(t.ops, op) }

func newBatcher(cfg batcherConfig) *batcher {
	setDefault(&cfg.chunk, defaultChunk)
	setDefault(&cfg.messageBytes, defaultMessageBytes)
	setDefault(&cfg.changeBytes, defaultChangeBytes)
	setDefault(&cfg.openBytes, defaultOpenBytes)
	b := &batcher{
		cfg:    cfg,
		tables: make(map[cdc.TableName]*openTable, len(cfg.tables)),
		plans:  make(map[uint32]*plan),
		astray: make(map[uint32][]*plan),
		types:  make(map[uint32]cdc.Encoding),
	}
	for _, t := range cfg.tables {
		open := &openTable{
			name:    cdc.TableName{Schema: t.Schema, Table: t.Name},
			columns: make(map[string]bool, len(t.Columns)),
			all:     t.All, ops: t.Ops, bulk: t.Bulk,
		}
		for _, c := range t.Columns {
			open.columns[c] = true
		}
		b.tables[open.name] = open
	}
	return b
}

func setDefault(v *int, value int) {
	if *v == 0 {
		*v = value
	}
}

// apply takes one message of the stream. It ignores what is neither a row nor
// describes one; begin must be called for each transaction.
func (b *batcher) apply(m pgoutput.Message) error {
	switch m := m.(type) {
	case *pgoutput.Insert:
		return b.insert(m)
	case *pgoutput.Update:
		return b.update(m)
	case *pgoutput.Delete:
		return b.delete(m)
	case *pgoutput.Truncate:
		return b.truncate(m)
	case *pgoutput.Relation:
		return b.relation(m)
	case *pgoutput.Type:
		b.types[m.OID] = encodingOfType(m)
	}
	return nil
}

// begin names the transaction of what follows.
func (b *batcher) begin(tx cdc.Transaction) {
	b.tx = tx
	b.serial++
}

// relation takes the description of a relation: the first in the session, or
// one that differs because the table was altered.
func (b *batcher) relation(r *pgoutput.Relation) error {
	b.last, b.lastOID = nil, 0
	root, ok, err := b.cfg.rootOf(r.OID, r.Namespace, r.Name)
	if err != nil {
		return fmt.Errorf("find the root of %s.%s: %w", r.Namespace, r.Name, err)
	}
	t := b.tables[root]
	delete(b.astray, r.OID)
	if !ok || t == nil {
		b.plans[r.OID] = nil
		return b.stray(r)
	}
	leaf := root != cdc.TableName{Schema: r.Namespace, Table: r.Name}
	p := newPlan(r, t, leaf, b.encoding)
	p.shape = p
	for _, other := range b.plans {
		if other != nil && p.same(other) {
			p.shape = other.shape
			break
		}
	}
	b.plans[r.OID] = p
	return nil
}

// stray notes which tables a relation without a root may have been a part of.
func (b *batcher) stray(r *pgoutput.Relation) error {
	if b.cfg.strays == nil {
		return nil
	}
	names, err := b.cfg.strays(r.OID)
	if err != nil {
		return fmt.Errorf("find what %s.%s was a part of: %w", r.Namespace, r.Name, err)
	}
	for _, name := range names {
		if t := b.tables[name]; t != nil {
			p := &plan{table: t}
			p.shape = p
			b.astray[r.OID] = append(b.astray[r.OID], p)
		}
	}
	return nil
}

// widenStrays widens what a row of a relation without a root may be of.
func (b *batcher) widenStrays(oid uint32) error {
	for _, p := range b.astray[oid] {
		b.enter(p.table)
		if err := b.widen(p); err != nil {
			return err
		}
	}
	return nil
}

func (b *batcher) encoding(oid uint32) cdc.Encoding {
	if e, ok := b.types[oid]; ok {
		return e
	}
	return encodingOf(oid)
}

// planOf returns the relation's plan, nil if its rows are dropped, or have been
// widened by now.
func (b *batcher) planOf(oid uint32) (*plan, error) {
	if oid == b.lastOID && oid != 0 {
		return b.last, nil
	}
	if len(b.astray[oid]) > 0 {
		return nil, b.widenStrays(oid)
	}
	p, ok := b.plans[oid]
	if !ok {
		return nil, fmt.Errorf("row of relation %d, which was not described", oid)
	}
	b.last, b.lastOID = p, oid
	return p, nil
}

func (b *batcher) insert(m *pgoutput.Insert) error {
	p, err := b.planOf(m.Relation)
	if err != nil || p == nil || !p.insert {
		return err
	}
	if err := p.check(m.New); err != nil {
		return err
	}
	return b.row(p, cdc.Insert, p.size(m.New), func(w *cdc.Builder) cdc.OldKnown {
		p.writeNew(w, m.New)
		return cdc.OldNone
	})
}

func (b *batcher) update(m *pgoutput.Update) error {
	p, err := b.planOf(m.Relation)
	if err != nil || p == nil || !p.update {
		return err
	}
	if err := p.check(m.New); err != nil {
		return err
	}
	size := p.size(m.New)
	if m.OldKind != pgoutput.OldNone {
		if err := p.check(m.Old); err != nil {
			return err
		}
		size += p.size(m.Old)
	}
	return b.row(p, cdc.Update, size, func(w *cdc.Builder) cdc.OldKnown {
		return p.writeUpdate(w, m)
	})
}

func (b *batcher) delete(m *pgoutput.Delete) error {
	p, err := b.planOf(m.Relation)
	if err != nil || p == nil || !p.del {
		return err
	}
	if err := p.check(m.Old); err != nil {
		return err
	}
	return b.row(p, cdc.Delete, p.size(m.Old), func(w *cdc.Builder) cdc.OldKnown {
		return p.writeDelete(w, m)
	})
}

// row writes one row's change. The size is that of its values as they came: a
// row that cannot fit is not even written.
func (b *batcher) row(p *plan, op cdc.Op, size int, write func(*cdc.Builder) cdc.OldKnown) error {
	t := p.table
	b.enter(t)
	t.rows++
	if t.bulk > 0 && t.rows > t.bulk {
		if t.rows == t.bulk+1 && b.cfg.bulk != nil {
			b.cfg.bulk(t.name, t.bulk, b.tx)
		}
		return b.widen(p)
	}
	if size > b.cfg.changeBytes {
		return b.widen(p)
	}
	w, err := b.builder(p)
	if err != nil {
		return err
	}
	w.Open(op)
	if !w.Close(write(w)) {
		return b.widen(p)
	}
	if w.Last() > b.cfg.changeBytes {
		w.Undo()
		return b.widen(p)
	}
	return b.written(t, op)
}

// truncate writes one change for each table that lost rows. TRUNCATE of one
// partition empties only a part of its root, but whoever reads the change can
// no more tell which rows went than after TRUNCATE of the root: both are a
// truncate of the root.
func (b *batcher) truncate(m *pgoutput.Truncate) error {
	b.truncates++
	for _, oid := range m.Relations {
		p, err := b.planOf(oid)
		if err != nil {
			return err
		}
		if p == nil || !p.truncate || p.table.truncates == b.truncates {
			continue
		}
		p.table.truncates = b.truncates
		b.enter(p.table)
		if err := b.whole(p, cdc.Truncate); err != nil {
			return err
		}
	}
	return nil
}

// enter notes that the table is touched by the transaction.
func (b *batcher) enter(t *openTable) {
	if t.serial != b.serial {
		t.serial, t.rows, t.widened = b.serial, 0, false
	}
}

// widen says that some row of the table changed, once in a transaction.
func (b *batcher) widen(p *plan) error {
	if p.table.widened {
		return nil
	}
	p.table.widened = true
	return b.whole(p, cdc.Bulk)
}

// whole writes a change of the table rather than of a row.
func (b *batcher) whole(p *plan, op cdc.Op) error {
	w, err := b.builder(p)
	if err != nil {
		return err
	}
	w.Open(op)
	w.Close(cdc.OldNone)
	return b.written(p.table, op)
}

// builder returns the table's open message, with a key that is the plan's: the
// message before goes out if the table was altered, or if partitions differ in
// their identities.
func (b *batcher) builder(p *plan) (*cdc.Builder, error) {
	t := p.table
	if t.message == nil {
		t.message = b.takeSpare()
		b.opened = append(b.opened, t)
	}
	if t.shape != p.shape {
		if t.shape != nil {
			if err := b.send(t); err != nil {
				return nil, err
			}
		}
		t.message.Reset(t.name.Schema, t.name.Table, p.key)
		t.shape = p.shape
	}
	t.message.Transaction(b.tx)
	return t.message, nil
}

// written accounts for a change and sends what is full.
func (b *batcher) written(t *openTable, op cdc.Op) error {
	t.published[slices.Index(publishedOps[:], op)]++
	size := t.message.Size()
	b.size += size - t.size
	t.size = size
	if t.message.Len() >= b.cfg.chunk || size >= b.cfg.messageBytes {
		return b.send(t)
	}
	if b.size >= b.cfg.openBytes {
		return b.flush()
	}
	return nil
}

// send hands the table's message out if there is a change in it.
func (b *batcher) send(t *openTable) error {
	b.size -= t.size
	t.size = 0
	rows, lsn := t.message.Len(), t.message.LSN()
	if rows == 0 {
		return nil
	}
	return b.cfg.emit(t.name.Schema, t.name.Table, lsn, rows, t.message.Finish())
}

// flush hands out all open messages, in the order in which their tables first
// changed.
func (b *batcher) flush() error {
	for _, t := range b.opened {
		if err := b.send(t); err != nil {
			return err
		}
		b.putSpare(t.message)
		t.message, t.shape = nil, nil
	}
	b.opened = b.opened[:0]
	return nil
}

// pending returns the number of bytes in open messages.
func (b *batcher) pending() int { return b.size }

// counts calls f for each table and operation with the number of changes
// written so far.
func (b *batcher) counts(f func(table cdc.TableName, op cdc.Op, n uint64)) {
	for name, t := range b.tables {
		for i, n := range t.published {
			if n > 0 {
				f(name, publishedOps[i], n)
			}
		}
	}
}

func (b *batcher) takeSpare() *cdc.Builder {
	if n := len(b.spare); n > 0 {
		w := b.spare[n-1]
		b.spare = b.spare[:n-1]
		return w
	}
	return cdc.NewBuilder(b.cfg.source, b.cfg.epoch)
}

// putSpare keeps a message's memory for the next one, unless that is large for
// a large row's sake.
func (b *batcher) putSpare(w *cdc.Builder) {
	if len(b.spare) < spareBuilders && w.Cap() <= 4*b.cfg.messageBytes {
		b.spare = append(b.spare, w)
	}
}
