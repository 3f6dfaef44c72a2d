package catalog_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestTablesReadsColumnsAndNamesAsTheyAre(t *testing.T) {
	t.Parallel()
	_, db := start(t,
		`CREATE SCHEMA "Shop.Floor"`,
		`CREATE TYPE mood AS ENUM ('good', 'bad')`,
		`CREATE DOMAIN small AS int CHECK (VALUE < 1000)`,
		`CREATE DOMAIN "tinY" AS small`,
		`CREATE TABLE "Shop.Floor"."Order" (
			"clientId" "tinY" NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone text, price numeric(10,2),
			twice numeric GENERATED ALWAYS AS (price * 2) STORED, moods mood[], "a ""b""" mood)`,
		`ALTER TABLE "Shop.Floor"."Order" DROP COLUMN gone`,
	)
	name := cdc.TableName{Schema: "Shop.Floor", Table: "Order"}
	got := read(t, db, name)

	var columns [][2]string
	for _, c := range got.Columns {
		columns = append(columns, [2]string{c.Name, c.Type})
	}
	want := [][2]string{{"clientId", `"tinY"`}, {"id", "bigint"}, {"price", "numeric(10,2)"}, {"twice", "numeric"}, {"moods", "mood[]"}, {`a "b"`, "mood"}}
	if !reflect.DeepEqual(columns, want) {
		t.Errorf("columns: got %v, want %v", columns, want)
	}
	client, _ := got.Column("clientId")
	if client.BaseOID != 23 || client.TypeOID == 23 || !client.NotNull {
		t.Errorf("domain over domain: got %+v, want base type 23 (int4)", client)
	}
	twice, _ := got.Column("twice")
	if want := version(t, db) >= 180000; twice.Generated != catalog.Stored || twice.Sent != want {
		t.Errorf("generated column: got %+v, want stored and Sent %v", twice, want)
	}
	if !slices.Equal(got.PrimaryKey, []string{"id"}) || got.Kind != catalog.Ordinary || !got.Owned || !got.Readable || !got.Logged {
		t.Errorf("table: got %+v", got.Relation)
	}
	base, err := catalog.BaseTypes(t.Context(), db, []uint32{client.TypeOID, 25, 4294967295})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[uint32]uint32{client.TypeOID: 23, 25: 25}; !reflect.DeepEqual(base, want) {
		t.Errorf("base types: got %v, want %v", base, want)
	}
	if none, err := catalog.Tables(t.Context(), db, []cdc.TableName{{Schema: "shop.floor", Table: "order"}}); err != nil || len(none) > 0 {
		t.Errorf("names must match exactly: got %v, %v", none, err)
	}
	all, err := catalog.AllTables(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || !reflect.DeepEqual(all[name], got) {
		t.Errorf("all tables: got %v, want only %v", all, name)
	}
}

func TestTablesReadsIdentities(t *testing.T) {
	t.Parallel()
	_, db := start(t,
		`CREATE TABLE pk (id int, part int, PRIMARY KEY (part, id))`,
		`CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE)`,
		`CREATE TABLE bare (id int)`,
		`CREATE TABLE full_ (id int)`, `ALTER TABLE full_ REPLICA IDENTITY FULL`,
		`CREATE TABLE nothing (id int PRIMARY KEY)`, `ALTER TABLE nothing REPLICA IDENTITY NOTHING`,
		`CREATE TABLE idx (id int PRIMARY KEY, a int NOT NULL, b text NOT NULL, c int)`,
		`CREATE UNIQUE INDEX idx_ab ON idx (b, a) INCLUDE (c)`,
		`CREATE UNIQUE INDEX idx_nullable ON idx (c)`,
		`CREATE UNIQUE INDEX idx_partial ON idx (a) WHERE c > 0`,
		`CREATE UNIQUE INDEX idx_expr ON idx (lower(b))`,
		`ALTER TABLE idx REPLICA IDENTITY USING INDEX idx_ab`,
		`CREATE TABLE orphan (id int NOT NULL)`, `CREATE UNIQUE INDEX orphan_i ON orphan (id)`,
		`ALTER TABLE orphan REPLICA IDENTITY USING INDEX orphan_i`, `DROP INDEX orphan_i`,
	)
	tests := []struct {
		table  string
		want   catalog.Identity
		usable bool
	}{
		{"pk", catalog.Identity{Kind: catalog.IdentityDefault, Columns: []string{"part", "id"}, Index: "pk_pkey"}, true},
		{"deferred", catalog.Identity{Kind: catalog.IdentityDefault}, false},
		{"bare", catalog.Identity{Kind: catalog.IdentityDefault}, false},
		{"full_", catalog.Identity{Kind: catalog.IdentityFull}, true},
		{"nothing", catalog.Identity{Kind: catalog.IdentityNothing}, false},
		{"idx", catalog.Identity{Kind: catalog.IdentityIndex, Columns: []string{"b", "a"}, Index: "idx_ab"}, true},
		{"orphan", catalog.Identity{Kind: catalog.IdentityIndex}, false},
	}
	for _, tt := range tests {
		got := read(t, db, table(tt.table)).Identity
		if !reflect.DeepEqual(got, tt.want) || got.Usable() != tt.usable {
			t.Errorf("%s: got %+v (usable %v), want %+v (usable %v)", tt.table, got, got.Usable(), tt.want, tt.usable)
		}
	}
	want := []catalog.Index{{Name: "idx_pkey", Columns: []string{"id"}}, {Name: "idx_ab", Columns: []string{"b", "a"}}}
	if got := read(t, db, table("idx")).Unique; !reflect.DeepEqual(got, want) {
		t.Errorf("usable unique indexes: got %v, want %v", got, want)
	}
}

// events is partitioned over two levels; its leaves differ in identity.
var events = []string{
	`CREATE TABLE events (id int, at date, region text, note text, PRIMARY KEY (id, at, region)) PARTITION BY RANGE (at)`,
	`CREATE TABLE events_25 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')`,
	`CREATE TABLE events_26 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (region)`,
	`CREATE TABLE events_26_eu PARTITION OF events_26 FOR VALUES IN ('eu')`,
	`CREATE TABLE events_26_us PARTITION OF events_26 FOR VALUES IN ('us')`,
	`ALTER TABLE events_26_us REPLICA IDENTITY FULL`,
}

func TestTablesReadsPartitionTrees(t *testing.T) {
	t.Parallel()
	_, db := start(t, events...)
	got := read(t, db, table("events"))
	var leaves []string
	for _, r := range got.Relations() {
		leaves = append(leaves, r.Name.Table)
	}
	if want := []string{"events_25", "events_26_eu", "events_26_us"}; !slices.Equal(leaves, want) {
		t.Errorf("leaves: got %v, want %v", leaves, want)
	}
	if !slices.Equal(got.Partitions, []cdc.TableName{table("events_26")}) || got.Kind != catalog.Partitioned {
		t.Errorf("got kind %s, partitions %v", got.Kind, got.Partitions)
	}
	weakest, by := got.Weakest()
	if !slices.Equal(weakest.Columns, []string{"id", "at", "region"}) || by.Name != table("events_25") {
		t.Errorf("weakest: got %+v by %s, want the primary key by events_25", weakest, by.Name)
	}
	run(t, db, `ALTER TABLE events_26_eu REPLICA IDENTITY NOTHING`)
	if weakest, by = read(t, db, table("events")).Weakest(); weakest.Usable() || by.Name != table("events_26_eu") {
		t.Errorf("weakest: got %+v by %s, want an unusable one by events_26_eu", weakest, by.Name)
	}
	run(t, db, `ALTER TABLE events_25 REPLICA IDENTITY FULL`, `ALTER TABLE events_26_eu REPLICA IDENTITY FULL`)
	if weakest, _ = read(t, db, table("events")).Weakest(); weakest.Kind != catalog.IdentityFull {
		t.Errorf("weakest: got %+v, want full", weakest)
	}
	leaf := read(t, db, table("events_26_eu"))
	if want := []cdc.TableName{table("events_26"), table("events")}; !slices.Equal(leaf.Parents, want) || !leaf.Partition {
		t.Errorf("parents: got %v, want %v", leaf.Parents, want)
	}
}

func TestLeavesMapRelationsToTheTablesOfRules(t *testing.T) {
	t.Parallel()
	_, db := start(t, append(events,
		`CREATE TABLE base (id int PRIMARY KEY)`,
		`CREATE TABLE child (PRIMARY KEY (id)) INHERITS (base)`,
		`CREATE TABLE other (id int PRIMARY KEY)`,
	)...)
	names := []cdc.TableName{table("events"), table("base"), table("events_26_us")}
	tables, err := catalog.Tables(t.Context(), db, names)
	if err != nil {
		t.Fatal(err)
	}
	leaves := catalog.NewLeaves(tables)
	run(t, db, `CREATE TABLE events_27 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')`)
	tests := []struct {
		relation string
		known    bool
		want     []cdc.TableName
	}{
		{"events_25", true, []cdc.TableName{table("events")}},
		{"events_26_us", true, []cdc.TableName{table("events"), table("events_26_us")}},
		{"base", true, []cdc.TableName{table("base")}},
		{"child", true, []cdc.TableName{table("base")}},
		{"events_27", false, []cdc.TableName{table("events")}},
		{"other", false, nil},
	}
	for _, tt := range tests {
		oid := read(t, db, table(tt.relation)).OID
		if _, ok := leaves.Tables(oid); ok != tt.known {
			t.Errorf("%s: known %v, want %v", tt.relation, ok, tt.known)
		}
		got, err := leaves.Resolve(t.Context(), db, oid, table(tt.relation))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.relation, got, tt.want)
		}
	}
	// Gone from the catalog, and known by the name that the stream gave it.
	if got, err := leaves.Resolve(t.Context(), db, 999999, table("base")); err != nil || !slices.Equal(got, []cdc.TableName{table("base")}) {
		t.Errorf("dropped table: got %v, %v, want base", got, err)
	}
}

// Usable each, with no identity column in common.
func TestWeakestOfLeavesWithDifferentIdentities(t *testing.T) {
	t.Parallel()
	_, db := start(
		t,
		`CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL) PARTITION BY LIST (id)`,
		`CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)`, `CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)`,
		`CREATE UNIQUE INDEX t2_other ON t2 (other)`, `ALTER TABLE t2 REPLICA IDENTITY USING INDEX t2_other`,
	)
	weakest, by := read(t, db, table("t")).Weakest()
	if len(weakest.Columns) != 0 || !by.Identity.Usable() || by.Name != table("t2") {
		t.Errorf("got %+v by %s, want no column by t2", weakest, by.Name)
	}
	if refusal := read(t, db, table("t")).Refusal(); refusal != nil {
		t.Errorf("refused: %v", refusal)
	}
	run(t, db, `CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3)`, `ALTER TABLE t3 REPLICA IDENTITY NOTHING`)
	if weakest, by = read(t, db, table("t")).Weakest(); weakest.Usable() || by.Name != table("t3") {
		t.Errorf("got %+v by %s, want nothing by t3", weakest, by.Name)
	}
}
