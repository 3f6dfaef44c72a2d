package cdc

// Field is a column as a Builder writes it: its name, encoded once, and the
// encoding of its values.
type Field struct {
	name     []byte // the quoted name
	encoding Encoding
}

// NewField returns the field of a column.
func NewField(name string, encoding Encoding) Field {
	return Field{name: appendString(nil, name), encoding: encoding}
}

// Builder writes one table's change message as its changes come, without
// holding rows: values go from Postgres' text form straight into JSON. It
// writes what Message.AppendJSON writes.
//
//	b := NewBuilder(source, epoch)
//	b.Reset(schema, table, key)
//	b.Transaction(tx)      // for the changes that follow
//	b.Open(Update)
//	b.New(&id, text)       // new values, then
//	b.Old(&client, text)   // old values
//	ok := b.Close(OldFull) // false: a value had no JSON form, the change is dropped
//	data := b.Finish()
//
// Its memory is used again after Finish, whose result is the caller's. It is
// not safe for concurrent use.
type Builder struct {
	head []byte // up to the message's LSN

	middle       []byte // from there to the transactions
	transactions []byte
	changes      []byte
	lsn          LSN
	rows         int
	count        int // transactions written

	tx      Transaction
	written bool // tx is in transactions

	// The open change.
	op        Op
	start     int     // where it begins in changes
	section   section // what is open in it
	unchanged []*Field
	bad       bool // a value had no JSON form
}

type section uint8

const (
	sectionNone section = iota
	sectionNew
	sectionOld
)

// NewBuilder returns a builder for messages of an instance and an epoch. Reset
// must be called before the first change.
func NewBuilder(source string, epoch Epoch) *Builder {
	return &Builder{head: appendHead(nil, source, epoch)}
}

// Reset begins a message for a table, dropping what was not finished. The key
// lists the published columns of the table's replica identity.
func (b *Builder) Reset(schema, table string, key []string) {
	b.middle = appendTable(b.middle[:0], schema, table, key)
	b.empty()
	b.tx, b.written = Transaction{}, false
}

func (b *Builder) empty() {
	b.transactions = b.transactions[:0]
	b.changes = b.changes[:0]
	b.lsn, b.rows, b.count = 0, 0, 0
	b.written = false
}

// Transaction names the transaction of the changes that follow. A transaction
// without a change leaves no trace.
func (b *Builder) Transaction(tx Transaction) {
	if tx.LSN == b.tx.LSN && tx.XID == b.tx.XID {
		return
	}
	b.tx, b.written = tx, false
}

// Open begins a change.
func (b *Builder) Open(op Op) {
	b.op = op
	b.start = len(b.changes)
	b.section = sectionNone
	b.unchanged = b.unchanged[:0]
	b.bad = false
	if b.start > 0 {
		b.changes = append(b.changes, ',')
	}
	tx := b.count
	if b.written {
		tx--
	}
	b.changes = appendOp(b.changes, tx, op)
}

// New adds a value of the new image in Postgres' text form.
func (b *Builder) New(f *Field, text []byte) {
	b.enter(sectionNew)
	b.value(f, text)
}

// NewNull adds a NULL of the new image.
func (b *Builder) NewNull(f *Field) {
	b.enter(sectionNew)
	b.null(f)
}

// Old adds a known value of the old image, after all of the new one.
func (b *Builder) Old(f *Field, text []byte) {
	b.enter(sectionOld)
	b.value(f, text)
}

// OldNull adds a NULL of the old image, after all of the new one.
func (b *Builder) OldNull(f *Field) {
	b.enter(sectionOld)
	b.null(f)
}

// Unchanged adds the name of a column that was not sent.
func (b *Builder) Unchanged(f *Field) { b.unchanged = append(b.unchanged, f) }

// enter goes on to the next field of a section.
func (b *Builder) enter(s section) {
	if b.section == s {
		b.changes = append(b.changes, ',')
		return
	}
	b.leave()
	b.section = s
	if s == sectionNew {
		b.changes = append(b.changes, `,"new":{`...)
	} else {
		b.changes = append(b.changes, `,"old":{`...)
	}
}

// leave ends the open section.
func (b *Builder) leave() {
	if b.section != sectionNone {
		b.changes = append(b.changes, '}')
		b.section = sectionNone
	}
}

func (b *Builder) value(f *Field, text []byte) {
	b.changes = append(b.changes, f.name...)
	b.changes = append(b.changes, ':')
	var ok bool
	if b.changes, ok = f.encoding.AppendValue(b.changes, text); !ok {
		b.bad = true
	}
}

func (b *Builder) null(f *Field) {
	b.changes = append(b.changes, f.name...)
	b.changes = append(b.changes, ":null"...)
}

// Close ends the change. It reports false and drops the change if one of its
// values had no JSON form: the caller says then by a Bulk change that some row
// changed.
func (b *Builder) Close(known OldKnown) bool {
	if b.bad {
		b.changes = b.changes[:b.start]
		return false
	}
	b.leave()
	b.changes = appendOldKnown(b.changes, b.op, known)
	if len(b.unchanged) > 0 {
		b.changes = append(b.changes, `,"unchanged":`...)
		for i, f := range b.unchanged {
			b.changes = append(b.changes, "[,"[min(i, 1)])
			b.changes = append(b.changes, f.name...)
		}
		b.changes = append(b.changes, ']')
	}
	b.changes = append(b.changes, '}')
	b.rows++
	if !b.written {
		b.written = true
		if b.count > 0 {
			b.transactions = append(b.transactions, ',')
		}
		b.transactions = appendTransaction(b.transactions, b.tx)
		b.count++
		b.lsn = max(b.lsn, b.tx.LSN)
	}
	return true
}

// Undo takes back the change that was closed last; it may be called once after
// each Close. Its transaction stays listed.
func (b *Builder) Undo() {
	b.changes = b.changes[:b.start]
	b.rows--
}

// Last returns the size in bytes of the change that was closed last.
func (b *Builder) Last() int { return len(b.changes) - b.start }

// Len returns the number of changes.
func (b *Builder) Len() int { return b.rows }

// LSN returns the highest commit LSN of the changes' transactions.
func (b *Builder) LSN() LSN { return b.lsn }

// frame bounds what Finish adds to the parts: an LSN and punctuation.
const frame = 17 + len(`,"transactions":[`) + len(`],"changes":[`) + len("]}")

// Size returns the message's size in bytes, or a little more.
func (b *Builder) Size() int {
	return len(b.head) + len(b.middle) + len(b.transactions) + len(b.changes) + frame
}

// Cap returns how many bytes of memory the builder holds on to.
func (b *Builder) Cap() int { return cap(b.transactions) + cap(b.changes) }

// Finish returns the message in memory of its own and begins the next for the
// same table and transaction.
func (b *Builder) Finish() []byte {
	data := make([]byte, 0, b.Size())
	data = append(data, b.head...)
	data, _ = b.lsn.AppendText(data)
	data = append(data, b.middle...)
	data = append(data, `,"transactions":[`...)
	data = append(data, b.transactions...)
	data = append(data, `],"changes":[`...)
	data = append(data, b.changes...)
	data = append(data, "]}"...)
	b.empty()
	return data
}
