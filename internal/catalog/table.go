package catalog

import "github.com/freshet-dev/freshet/internal/cdc"

// Kind is what sort of relation a name stands for.
type Kind string

// The kinds of relations.
const (
	Ordinary    Kind = "table"
	Partitioned Kind = "partitioned table"
	Foreign     Kind = "foreign table"
	View        Kind = "view"
	MatView     Kind = "materialized view"
	OtherKind   Kind = "relation of another kind"
)

// Table is a relation that a rule may name.
type Table struct {
	Relation
	Columns []Column
	// Descendants are the relations that hold rows of this table besides
	// itself: all leaves of a partitioned table at any depth, and all children
	// of a table that others inherit from. A partitioned table in between
	// holds no rows and is not listed.
	Descendants []*Relation
	// Partitions lists the partitioned tables between this one and its leaves.
	Partitions []cdc.TableName
	// Parents are the tables that this one is a partition or child of, nearest
	// first.
	Parents []cdc.TableName
}

// Relation is what matters of one relation that may hold rows.
type Relation struct {
	Name cdc.TableName
	OID  uint32
	Kind Kind
	// Partition is true for a partition of another table, false for a table
	// of its own or one that merely inherits.
	Partition bool
	// Logged is false for unlogged and temporary tables, which are never
	// decoded.
	Logged bool
	// Owner is the role that owns the relation, and Owned whether our role has
	// its rights.
	Owner string
	Owned bool
	// Readable is whether our role may select every column.
	Readable bool
	Identity Identity
	// PrimaryKey holds the columns of the primary key; none without one, and
	// none when it is deferrable, as such a key identifies nothing to
	// replication.
	PrimaryKey []string
	// Unique holds the indexes that REPLICA IDENTITY USING INDEX accepts, the
	// primary key's among them.
	Unique []Index
	// generated holds the columns that the server computes.
	generated []string
	virtual   []string
}

// Column is a column of a table, in the table's order.
type Column struct {
	Name string
	Num  int16
	// Type is the type as SQL writes it, such as "numeric(10,2)".
	Type    string
	TypeOID uint32
	// BaseOID is the type that the values are of, through any number of
	// domains; TypeOID for a column without.
	BaseOID   uint32
	NotNull   bool
	Generated Generation
	// Sent is false when a publication of ours does not send the column:
	// stored generated columns before Postgres 18, virtual ones always.
	Sent bool
}

// Generation says how a column is computed.
type Generation string

// The ways in which a column's value comes about.
const (
	NotGenerated Generation = ""
	Stored       Generation = "stored"
	Virtual      Generation = "virtual"
)

// Index is a unique index.
type Index struct {
	Name    string
	Columns []string
}

// Relations returns every relation that holds rows of the table: itself unless
// it is partitioned, and its descendants.
func (t *Table) Relations() []*Relation {
	if t.Kind == Partitioned {
		return t.Descendants
	}
	return append([]*Relation{&t.Relation}, t.Descendants...)
}

// Column returns the named column.
func (t *Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}
