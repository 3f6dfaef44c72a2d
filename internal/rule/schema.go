package rule

import "github.com/freshet-dev/freshet/internal/cdc"

// Schema is what the compiler needs to know of the database. A nil Schema
// compiles without it: the syntax is checked, tables and columns are not.
type Schema interface {
	// Table describes a table, spelled exactly as in the catalog.
	Table(schema, name string) (*Table, bool)
	// Tables lists the tables there are, to suggest the nearest valid name.
	Tables() []cdc.TableName
}

// The values of Table.Identity.
const (
	IdentityDefault = "default" // the primary key
	IdentityIndex   = "index"   // a unique index
	IdentityFull    = "full"    // the whole row
	IdentityNothing = "nothing" // no old value at all
)

// Table describes a table. For a partitioned table it is the root, and the
// identity is what every leaf supports.
type Table struct {
	Schema, Name string
	Columns      []Column
	// Identity is default, index, full or nothing.
	Identity string
	// IdentityColumns are the identity's columns; empty for full and nothing,
	// and for default without a primary key.
	IdentityColumns []string
	// Partitioned is true for the root of a partition tree, whether or not it
	// has partitions yet.
	Partitioned bool
	// Leaf names the partition that supports least, as schema.table. Empty
	// for a table without partitions.
	Leaf string
	// Unique lists the indexes usable by REPLICA IDENTITY USING INDEX: unique,
	// not partial, not deferrable, on NOT NULL columns.
	Unique []Index
	// PrimaryKey lists the primary key's columns; empty for none.
	PrimaryKey []string
}

// Column describes a column of a table.
type Column struct {
	Name      string
	Type      string // as regtype prints it
	NotNull   bool
	Generated bool // a stored generated column
	Sent      bool // false for a generated column that the server does not send
}

// Index names an index and its columns.
type Index struct {
	Name    string
	Columns []string
}

func (t *Table) column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

func (t *Table) columnNames() []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}
