package catalog

import (
	"context"
	_ "embed"

	"github.com/freshet-dev/freshet/internal/cdc"
)

var (
	//go:embed sql/unique.sql
	uniqueSQL string
	//go:embed sql/foreign_keys.sql
	foreignKeysSQL string
)

// Keys is what the schema says of how a table's rows are looked up.
type Keys struct {
	// Unique holds the unique indexes over whole rows but the primary key's,
	// in the order of their names. Unlike those of a Relation their columns may
	// be NULL.
	Unique []Index
	// Foreign holds the foreign keys, in the order of their columns.
	Foreign []ForeignKey
}

// ForeignKey is a reference to another table, or to the table itself.
type ForeignKey struct {
	Name    string
	Columns []string // of the table that refers
	Parent  cdc.TableName
}

type uniqueRow struct {
	Relid   uint32
	Name    string
	Primary bool
	Columns []string
}

type foreignKeyRow struct {
	Relid                    uint32
	Name                     string
	Parentschema, Parentname string
	Columns                  []string
}

// ReadKeys reads the keys of tables. Every table has an entry.
func ReadKeys(ctx context.Context, db DB, tables map[cdc.TableName]*Table) (map[cdc.TableName]*Keys, error) {
	out := make(map[cdc.TableName]*Keys, len(tables))
	byOID := make(map[uint32]*Keys, len(tables))
	oids := make([]uint32, 0, len(tables))
	for name, t := range tables {
		keys := &Keys{}
		out[name], byOID[t.OID] = keys, keys
		oids = append(oids, t.OID)
	}
	unique, err := collect[uniqueRow](ctx, db, "unique indexes", uniqueSQL, oids)
	if err != nil {
		return nil, err
	}
	for _, row := range unique {
		if !row.Primary {
			byOID[row.Relid].Unique = append(byOID[row.Relid].Unique, Index{Name: row.Name, Columns: row.Columns})
		}
	}
	foreign, err := collect[foreignKeyRow](ctx, db, "foreign keys", foreignKeysSQL, oids)
	if err != nil {
		return nil, err
	}
	for _, row := range foreign {
		byOID[row.Relid].Foreign = append(byOID[row.Relid].Foreign, ForeignKey{
			Name: row.Name, Columns: row.Columns, Parent: cdc.TableName{Schema: row.Parentschema, Table: row.Parentname},
		})
	}
	return out, nil
}
