package catalog_test

import (
	"reflect"
	"testing"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestReadKeys(t *testing.T) {
	t.Parallel()
	_, db := start(t,
		`CREATE TABLE clients (id int PRIMARY KEY, email text UNIQUE, parent int REFERENCES clients)`,
		`CREATE UNIQUE INDEX lower_email ON clients (lower(email))`,
		`CREATE UNIQUE INDEX some_email ON clients (email) WHERE id > 7`,
		`CREATE TABLE "Order" (a int, b int, "clientId" int NOT NULL, note text, PRIMARY KEY (b, a)) PARTITION BY RANGE (a)`,
		`ALTER TABLE "Order" ADD CONSTRAINT "byClient" FOREIGN KEY ("clientId") REFERENCES clients`,
		`CREATE TABLE order_1 PARTITION OF "Order" FOR VALUES FROM (0) TO (10)`,
		`CREATE TABLE lines (id int PRIMARY KEY, y int, x int, note text, FOREIGN KEY (y, x) REFERENCES "Order" (b, a))`,
		`CREATE UNIQUE INDEX wide ON lines (x, y) INCLUDE (note)`,
	)
	tables, err := catalog.AllTables(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	got, err := catalog.ReadKeys(t.Context(), db, tables)
	if err != nil {
		t.Fatal(err)
	}
	want := map[cdc.TableName]*catalog.Keys{
		table("clients"): {
			Unique:  []catalog.Index{{Name: "clients_email_key", Columns: []string{"email"}}},
			Foreign: []catalog.ForeignKey{{Name: "clients_parent_fkey", Columns: []string{"parent"}, Parent: table("clients")}},
		},
		table("Order"): {Foreign: []catalog.ForeignKey{{Name: "byClient", Columns: []string{"clientId"}, Parent: table("clients")}}},
		// The leaf's is the root's.
		table("order_1"): {},
		table("lines"): {
			Unique:  []catalog.Index{{Name: "wide", Columns: []string{"x", "y"}}},
			Foreign: []catalog.ForeignKey{{Name: "lines_y_x_fkey", Columns: []string{"y", "x"}, Parent: table("Order")}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		for name := range want {
			t.Errorf("%s: got %+v, want %+v", name, got[name], want[name])
		}
	}
}
