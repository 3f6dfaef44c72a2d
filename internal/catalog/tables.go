package catalog

import (
	"context"
	_ "embed"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
)

var (
	//go:embed sql/relations.sql
	relationsSQL string
	//go:embed sql/columns.sql
	columnsSQL string
	//go:embed sql/indexes.sql
	indexesSQL string
	//go:embed sql/parents.sql
	parentsSQL string
)

type relationRow struct {
	Root, OID         uint32
	Depth             int
	Schema, Name      string
	Relkind           string
	Partition, Logged bool
	Identity, Owner   string
	Owned, Readable   bool
}

type columnRow struct {
	Relid            uint32
	Num              int16
	Name, Type       string
	Typeoid, Baseoid uint32
	Notnull          bool
	Generated        string
}

type indexRow struct {
	Relid           uint32
	Name            string
	Primary, Chosen bool
	Columns         []string
}

// Tables reads the named tables. A name that does not exist is absent from the
// result.
func Tables(ctx context.Context, db DB, names []cdc.TableName) (map[cdc.TableName]*Table, error) {
	out := make(map[cdc.TableName]*Table, len(names))
	if len(names) == 0 {
		return out, nil
	}
	schemas, tables := split(names)
	relations, err := collect[relationRow](ctx, db, "tables", relationsSQL, schemas, tables)
	if err != nil {
		return nil, err
	}
	oids := make([]uint32, 0, len(relations))
	for _, r := range relations {
		oids = append(oids, r.OID)
	}
	columns, err := collect[columnRow](ctx, db, "columns", columnsSQL, oids)
	if err != nil {
		return nil, err
	}
	indexes, err := collect[indexRow](ctx, db, "indexes", indexesSQL, oids)
	if err != nil {
		return nil, err
	}
	parents, err := parentsOf(ctx, db, oids)
	if err != nil {
		return nil, err
	}
	version, err := ServerVersion(ctx, db)
	if err != nil {
		return nil, err
	}
	columnsOf, indexesOf := make(map[uint32][]columnRow), make(map[uint32][]indexRow)
	for _, c := range columns {
		columnsOf[c.Relid] = append(columnsOf[c.Relid], c)
	}
	for _, i := range indexes {
		indexesOf[i.Relid] = append(indexesOf[i.Relid], i)
	}

	byRoot := make(map[uint32]*Table)
	for _, row := range relations {
		r := newRelation(row, columnsOf[row.OID], indexesOf[row.OID])
		if row.OID == row.Root {
			t := &Table{Relation: r, Parents: parents[row.OID]}
			for _, c := range columnsOf[row.OID] {
				t.Columns = append(t.Columns, newColumn(c, version))
			}
			byRoot[row.Root] = t
			out[t.Name] = t
			continue
		}
		// Rows come by depth, so the root has been seen.
		t := byRoot[row.Root]
		if r.Kind == Partitioned {
			t.Partitions = append(t.Partitions, r.Name)
			continue
		}
		t.Descendants = append(t.Descendants, &r)
	}
	return out, nil
}

func split(names []cdc.TableName) (schemas, tables []string) {
	for _, name := range names {
		schemas = append(schemas, name.Schema)
		tables = append(tables, name.Table)
	}
	return schemas, tables
}

func newRelation(row relationRow, columns []columnRow, indexes []indexRow) Relation {
	r := Relation{
		Name:      cdc.TableName{Schema: row.Schema, Table: row.Name},
		OID:       row.OID,
		Kind:      kindOf(row.Relkind),
		Partition: row.Partition,
		Logged:    row.Logged,
		Owner:     row.Owner,
		Owned:     row.Owned,
		Readable:  row.Readable,
	}
	for _, c := range columns {
		switch generationOf(c.Generated) {
		case NotGenerated:
		case Virtual:
			r.virtual = append(r.virtual, c.Name)
			r.generated = append(r.generated, c.Name)
		case Stored:
			r.generated = append(r.generated, c.Name)
		}
	}
	switch row.Identity {
	case "f":
		r.Identity.Kind = IdentityFull
	case "n":
		r.Identity.Kind = IdentityNothing
	case "i":
		r.Identity.Kind = IdentityIndex
	default:
		r.Identity.Kind = IdentityDefault
	}
	for _, i := range indexes {
		r.Unique = append(r.Unique, Index{Name: i.Name, Columns: i.Columns})
		if i.Primary {
			r.PrimaryKey = i.Columns
		}
		if i.Primary && r.Identity.Kind == IdentityDefault || i.Chosen && r.Identity.Kind == IdentityIndex {
			r.Identity.Index, r.Identity.Columns = i.Name, slices.Clone(i.Columns)
		}
	}
	return r
}

func newColumn(c columnRow, version int) Column {
	out := Column{
		Name: c.Name, Num: c.Num, Type: c.Type, TypeOID: c.Typeoid, BaseOID: c.Baseoid,
		NotNull: c.Notnull, Generated: generationOf(c.Generated),
	}
	out.Sent = out.Generated == NotGenerated || out.Generated == Stored && version >= 180000
	return out
}

func kindOf(relkind string) Kind {
	switch relkind {
	case "r":
		return Ordinary
	case "p":
		return Partitioned
	case "f":
		return Foreign
	case "v":
		return View
	case "m":
		return MatView
	}
	return OtherKind
}

func generationOf(attgenerated string) Generation {
	switch attgenerated {
	case "s":
		return Stored
	case "v":
		return Virtual
	}
	return NotGenerated
}

// AllTables reads every table that a rule could name: ordinary and partitioned
// ones outside the system's schemas, partitions among them. Rules are compiled
// against it, as it also tells the nearest name of one that does not exist.
func AllTables(ctx context.Context, db DB) (map[cdc.TableName]*Table, error) {
	rows, err := db.Query(ctx, `
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowToStructByPos[cdc.TableName])
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return Tables(ctx, db, names)
}

// ExtensionTables lists the tables that belong to extensions, which come and go
// with them.
func ExtensionTables(ctx context.Context, db DB) ([]cdc.TableName, error) {
	rows, err := db.Query(ctx, `
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class c ON c.oid = d.objid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e'`)
	if err != nil {
		return nil, fmt.Errorf("list the tables of extensions: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowToStructByPos[cdc.TableName])
	if err != nil {
		return nil, fmt.Errorf("list the tables of extensions: %w", err)
	}
	return names, nil
}

// BaseTypes returns for each type the one that its values are of, through any
// number of domains. Types that are no domains map to themselves; unknown ones
// are absent.
func BaseTypes(ctx context.Context, db DB, oids []uint32) (map[uint32]uint32, error) {
	rows, err := db.Query(ctx, `
WITH RECURSIVE base AS (
    SELECT oid AS typid, oid AS base, typtype, typbasetype FROM pg_catalog.pg_type WHERE oid = ANY ($1::oid[])
    UNION ALL
    SELECT b.typid, t.oid, t.typtype, t.typbasetype
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd'
)
SELECT typid, base FROM base WHERE typtype <> 'd'`, oids)
	if err != nil {
		return nil, fmt.Errorf("read base types: %w", err)
	}
	out := make(map[uint32]uint32, len(oids))
	var oid, base uint32
	_, err = pgx.ForEachRow(rows, []any{&oid, &base}, func() error {
		out[oid] = base
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read base types: %w", err)
	}
	return out, nil
}
