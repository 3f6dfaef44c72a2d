package cdc

import "time"

// Op is what happened to a row or a table.
type Op string

// The operations of a change message.
const (
	Insert   Op = "insert"
	Update   Op = "update"
	Delete   Op = "delete"
	Truncate Op = "truncate" // the whole table was emptied
	Bulk     Op = "bulk"     // some rows of the table changed, and it is not said which
)

// OldKnown says how much of a row's old image a change carries.
type OldKnown string

// The degrees of knowledge of an old image.
const (
	OldNone OldKnown = "none" // nothing is known
	OldKey  OldKnown = "key"  // the columns in Message.Key are known
	OldFull OldKnown = "full" // every published column is known
)

// Kind is the JSON form of a column's value.
type Kind uint8

// The kinds of values.
const (
	Null   Kind = iota
	String      // a JSON string: text in Postgres' text form, timestamps as RFC 3339
	Number      // a JSON number: an integer of any size or a finite float
	Bool        // true or false
	JSON        // an embedded document of a json or jsonb column
)

// Value is one column's value.
type Value struct {
	Kind Kind
	// Text is the unescaped text of a String, the literal of a Number or a
	// Bool, and the document of a JSON value. It is empty for Null. It may
	// alias the buffer that it was decoded from.
	Text string
}

// Column is a named value.
type Column struct {
	Name  string
	Value Value
}

// Row is an ordered list of columns, each name once. Rows are narrow (only the
// columns that rules need), so a list is searched faster than a map.
type Row []Column

// Get returns the value of the named column and whether the row has it.
func (r Row) Get(name string) (Value, bool) {
	for i := range r {
		if r[i].Name == name {
			return r[i].Value, true
		}
	}
	return Value{}, false
}

// Transaction identifies a committed transaction.
type Transaction struct {
	LSN  LSN       // the commit LSN (BEGIN's final LSN): the transaction's identity within its epoch
	XID  uint32    // Postgres' transaction id
	Time time.Time // Postgres' commit time
}

// Change is one change of a row or of a table.
type Change struct {
	Tx  int // index into Message.Transactions
	Op  Op
	New Row // the new image; empty for delete, truncate and bulk
	// Old holds the known old values that differ from New, and for a delete
	// all known ones.
	Old      Row
	OldKnown OldKnown
	// Unchanged names columns that were not sent because their out-of-line
	// value did not change and whose value is not known.
	Unchanged []string
}

// Message is a change message: changes of one table.
type Message struct {
	Source       string // the instance's name
	Epoch        Epoch
	LSN          LSN // the highest commit LSN among Transactions
	Schema       string
	Table        string
	Key          []string // the published columns of the replica identity when the changes were made; empty for FULL and NOTHING
	Transactions []Transaction
	Changes      []Change
}

// Start is a session's first message: every transaction with commit LSN ≥
// From follows in this session.
type Start struct {
	Epoch Epoch `json:"epoch"`
	From  LSN   `json:"from"`
}

// Mark says that every transaction with commit LSN below LSN stands before it
// in the stream.
type Mark struct {
	Epoch Epoch     `json:"epoch"`
	LSN   LSN       `json:"lsn"`
	Time  time.Time `json:"time"` // the consumer's clock, read before a WAL position that the stream has since passed
}

// Gap declares that changes may be missing. Whoever reads it flushes what the
// gap may have touched. A gap is flushed twice: at once, and when the last
// transaction that could straddle its cause has ended.
type Gap struct {
	ID     string `json:"id"`     // the same for the first and the final message of one gap
	Epoch  Epoch  `json:"epoch"`  // the epoch that holds from here on
	LSN    LSN    `json:"lsn"`    // history continues from here in that epoch
	Reason string `json:"reason"` // slot_lost, slot_recreated, timeline, crash, table_changed, governor, …
	// Tables lists the tables whose coverage is flushed; none means all.
	Tables []TableName `json:"tables,omitempty"`
	// Final is false in the first message and true in the one that is sent
	// when no transaction that straddles the cause can still be running.
	Final bool      `json:"final"`
	Time  time.Time `json:"time"`
}

// TableName is a table with its schema, spelled as in the catalog.
type TableName struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
}

// String returns schema.table, unquoted, for people.
func (t TableName) String() string { return t.Schema + "." + t.Table }
