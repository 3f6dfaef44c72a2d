package catalog

import (
	"context"
	"slices"

	"github.com/freshet-dev/freshet/internal/cdc"
)

type parentRow struct {
	Relid, Parent uint32
	Schema, Name  string
}

func parentsOf(ctx context.Context, db DB, oids []uint32) (map[uint32][]cdc.TableName, error) {
	rows, err := collect[parentRow](ctx, db, "parent tables", parentsSQL, oids)
	if err != nil {
		return nil, err
	}
	out := make(map[uint32][]cdc.TableName)
	for _, row := range rows {
		out[row.Relid] = append(out[row.Relid], cdc.TableName{Schema: row.Schema, Table: row.Name})
	}
	return out, nil
}

// Leaves maps the relations that logical decoding names (tables, leaves of
// partitioned tables, inheriting children) to the tables that rules name. It
// is not safe for concurrent use.
type Leaves struct {
	wanted map[cdc.TableName]bool
	byOID  map[uint32][]cdc.TableName
}

// NewLeaves returns the mapping for tables.
func NewLeaves(tables map[cdc.TableName]*Table) *Leaves {
	l := &Leaves{wanted: make(map[cdc.TableName]bool), byOID: make(map[uint32][]cdc.TableName)}
	for name, t := range tables {
		l.wanted[name] = true
		for _, r := range t.Relations() {
			l.byOID[r.OID] = append(l.byOID[r.OID], name)
		}
	}
	for _, names := range l.byOID {
		slices.SortFunc(names, compareNames)
	}
	return l
}

// Tables returns the tables of the rules whose rows the relation holds, and
// whether the relation is known. Usually it is one; there are several when
// rules name a table and one of its partitions or parents.
func (l *Leaves) Tables(oid uint32) ([]cdc.TableName, bool) {
	names, ok := l.byOID[oid]
	return names, ok
}

// Resolve is Tables for a relation that may be new, such as a partition
// created a moment ago: one that is not known is looked up. name is the
// relation's own when its rows were written; a relation that is gone from the
// catalog by now is known by that name only, and is remembered as belonging to
// no table when rules do not name it. One that had another name for a while,
// as within a transaction of a migration, is known by the one that it has now.
func (l *Leaves) Resolve(ctx context.Context, db DB, oid uint32, name cdc.TableName) ([]cdc.TableName, error) {
	if names, ok := l.byOID[oid]; ok {
		return names, nil
	}
	parents, err := parentsOf(ctx, db, []uint32{oid})
	if err != nil {
		return nil, err
	}
	var names []cdc.TableName
	for _, candidate := range append([]cdc.TableName{name}, parents[oid]...) {
		if l.wanted[candidate] && !slices.Contains(names, candidate) {
			names = append(names, candidate)
		}
	}
	if len(names) == 0 {
		now, err := nameOf(ctx, db, oid)
		if err != nil {
			return nil, err
		}
		if l.wanted[now] {
			names = append(names, now)
		}
	}
	slices.SortFunc(names, compareNames)
	l.byOID[oid] = names
	return names, nil
}

// nameOf returns the name that a relation has now; zero if it is gone.
func nameOf(ctx context.Context, db DB, oid uint32) (cdc.TableName, error) {
	rows, err := collect[cdc.TableName](ctx, db, "name of a relation", `
SELECT n.nspname::text AS schema, c.relname::text AS "table"
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1`, oid)
	if err != nil || len(rows) == 0 {
		return cdc.TableName{}, err
	}
	return rows[0], nil
}

// Divided returns those of the names that may have held a relation which is not
// below them any more: partitioned tables, and those that others inherit from
// or did not long ago. It returns none for a relation that the publication
// publishes now, as it is there for somebody else's sake.
func Divided(ctx context.Context, db DB, publication string, relation uint32, names []cdc.TableName) ([]cdc.TableName, error) {
	schemas, tables := split(names)
	return collect[cdc.TableName](ctx, db, "tables with partitions", `
SELECT want.nsp AS schema, want.rel AS "table"
FROM unnest($1::text[], $2::text[]) AS want(nsp, rel)
JOIN pg_catalog.pg_namespace n ON n.nspname = want.nsp
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = want.rel
WHERE (c.relkind = 'p' OR c.relhassubclass)
  AND NOT EXISTS (SELECT FROM pg_get_publication_tables($3::text) AS p WHERE p.relid = $4)
ORDER BY 1, 2`, schemas, tables, publication, relation)
}

func compareNames(a, b cdc.TableName) int {
	if a.Schema != b.Schema {
		if a.Schema < b.Schema {
			return -1
		}
		return 1
	}
	switch {
	case a.Table < b.Table:
		return -1
	case a.Table > b.Table:
		return 1
	}
	return 0
}
