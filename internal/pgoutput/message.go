package pgoutput

import (
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Message is one of *Begin, *Commit, *Origin, *Relation, *Type, *Insert,
// *Update, *Delete, *Truncate and *LogicalMessage.
type Message interface{ message() }

// Begin starts a transaction.
type Begin struct {
	FinalLSN cdc.LSN   // the commit LSN, the transaction's identity
	Time     time.Time // commit time, UTC
	XID      uint32
}

// Commit ends a transaction.
type Commit struct {
	Flags byte
	LSN   cdc.LSN   // the commit LSN, equal to Begin.FinalLSN
	End   cdc.LSN   // the transaction's end LSN: what confirms it
	Time  time.Time // commit time, UTC
}

// Origin names the replication origin that a transaction came from.
type Origin struct {
	LSN  cdc.LSN // the commit LSN on the origin
	Name string
}

// Identity is a table's replica identity, as pg_class.relreplident spells it.
type Identity byte

// The replica identities.
const (
	IdentityDefault Identity = 'd' // the primary key, if there is one
	IdentityIndex   Identity = 'i' // the columns of a chosen unique index
	IdentityFull    Identity = 'f' // the whole row
	IdentityNothing Identity = 'n' // no old image
)

// Relation describes a table. It comes before the first row of the table in a
// connection, and again after the table changed. Its strings and Columns are
// fresh and may be kept; the struct is reused.
type Relation struct {
	OID       uint32
	Namespace string
	Name      string
	Identity  Identity
	Columns   []RelationColumn
}

// RelationColumn is a column of a Relation, in the order of the tuples. A
// stored generated column that the server does not send is not among them.
type RelationColumn struct {
	// Key says that the column belongs to the replica identity: with
	// IdentityFull every column does.
	Key      bool
	Name     string
	Type     uint32 // type OID: for a domain the domain's own
	Modifier int32  // atttypmod
}

// Type names a type that is not built in, before the relation that uses it.
// For a domain it has the domain's OID and the name of the type below it.
type Type struct {
	OID       uint32
	Namespace string
	Name      string
}

// Kind says how a column of a tuple was sent.
type Kind byte

// The kinds of tuple columns.
const (
	Null      Kind = 'n'
	Unchanged Kind = 'u' // an out-of-line value that did not change and was not sent
	Text      Kind = 't'
	Binary    Kind = 'b'
)

// Column is one column of a tuple. Data aliases the decoder's input and is nil
// for Null and Unchanged.
type Column struct {
	Kind Kind
	Data []byte
}

// Tuple is a row, its columns in the order of the relation's.
type Tuple []Column

// Insert is a new row.
type Insert struct {
	Relation uint32 // OID of the relation
	New      Tuple
}

// OldKind says which old image an Update or a Delete carries.
type OldKind byte

// The kinds of old images.
const (
	OldNone OldKind = 0
	OldKey  OldKind = 'K' // the identity's columns; all others are Null whatever they were
	OldFull OldKind = 'O' // the whole row
)

// Update is a changed row.
type Update struct {
	Relation uint32 // OID of the relation
	// OldKind is OldNone when the identity is not FULL and none of its columns
	// changed.
	OldKind OldKind
	Old     Tuple // nil with OldNone
	New     Tuple
}

// Delete is a removed row.
type Delete struct {
	Relation uint32  // OID of the relation
	OldKind  OldKind // OldKey or OldFull
	Old      Tuple
}

// Truncate empties tables.
type Truncate struct {
	Cascade         bool
	RestartIdentity bool
	Relations       []uint32 // OIDs; reused by the next call of Decode
}

// LogicalMessage is what pg_logical_emit_message wrote. It is sent only when
// the option "messages" asks for it.
type LogicalMessage struct {
	Transactional bool
	LSN           cdc.LSN
	Prefix        string
	Content       []byte // aliases the decoder's input
}

func (*Begin) message()          {}
func (*Commit) message()         {}
func (*Origin) message()         {}
func (*Relation) message()       {}
func (*Type) message()           {}
func (*Insert) message()         {}
func (*Update) message()         {}
func (*Delete) message()         {}
func (*Truncate) message()       {}
func (*LogicalMessage) message() {}
