package catalog_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

func fingerprint(t *testing.T, db *pgx.Conn, name string) *catalog.Fingerprint {
	t.Helper()
	all, err := catalog.Fingerprints(t.Context(), db, "fresh", []cdc.TableName{table(name)})
	if err != nil {
		t.Fatal(err)
	}
	// As it is kept between runs.
	text, err := json.Marshal(all[table(name)])
	if err != nil {
		t.Fatal(err)
	}
	var f catalog.Fingerprint
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return &f
}

func TestFingerprintShowsWhatRowEventsDoNot(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		table string
		sql   []string
		want  []catalog.Component
	}{
		{"rows", "a", []string{`INSERT INTO a VALUES (5, 'x')`, `UPDATE a SET note = 'y'`, `DELETE FROM a`, `ANALYZE a`, `VACUUM a`}, nil},
		{"another table", "a", []string{`ALTER TABLE b ADD COLUMN c int`, `TRUNCATE b`, `ALTER PUBLICATION fresh DROP TABLE b`}, nil},
		{"rewrite", "a", []string{`ALTER TABLE a ALTER COLUMN note TYPE text USING upper(note)`}, []catalog.Component{catalog.ComponentFilenode}},
		{"truncate", "a", []string{`TRUNCATE a`}, []catalog.Component{catalog.ComponentFilenode}},
		{"add column", "a", []string{`ALTER TABLE a ADD COLUMN c int`}, []catalog.Component{catalog.ComponentColumns}},
		{"rename column", "a", []string{`ALTER TABLE a RENAME COLUMN note TO remark`}, []catalog.Component{catalog.ComponentColumns}},
		{"drop column", "a", []string{`ALTER TABLE a DROP COLUMN note`}, []catalog.Component{catalog.ComponentColumns}},
		{"swap columns", "a", []string{`ALTER TABLE a DROP COLUMN note, ADD COLUMN note text`}, []catalog.Component{catalog.ComponentColumns}},
		{"enum label renamed", "typed", []string{`ALTER TYPE mood RENAME VALUE 'good' TO 'fine'`}, []catalog.Component{catalog.ComponentColumns}},
		{"enum label renamed, below a domain", "domained", []string{`ALTER TYPE mood RENAME VALUE 'good' TO 'fine'`}, []catalog.Component{catalog.ComponentColumns}},
		{"enum label renamed, in an array", "arrayed", []string{`ALTER TYPE mood RENAME VALUE 'good' TO 'fine'`}, []catalog.Component{catalog.ComponentColumns}},
		{"field of a composite type renamed", "typed", []string{`ALTER TYPE pair RENAME ATTRIBUTE a TO b`}, []catalog.Component{catalog.ComponentColumns}},
		{"another enum", "a", []string{`ALTER TYPE mood RENAME VALUE 'good' TO 'fine'`}, nil},
		{"identity", "a", []string{`ALTER TABLE a REPLICA IDENTITY FULL`}, []catalog.Component{catalog.ComponentIdentity}},
		{"out and in", "a", []string{`ALTER PUBLICATION fresh DROP TABLE a`, `ALTER PUBLICATION fresh ADD TABLE a`}, []catalog.Component{catalog.ComponentPublication}},
		{"operations off and on", "a", []string{
			`ALTER PUBLICATION fresh SET (publish = 'insert')`,
			`ALTER PUBLICATION fresh SET (publish = 'insert, update, delete, truncate')`,
		}, []catalog.Component{catalog.ComponentPublication}},
		{"publication dropped", "a", []string{`DROP PUBLICATION fresh`}, []catalog.Component{catalog.ComponentPublication}},
		{"re-created", "a", []string{`DROP TABLE a`, `CREATE TABLE a (id int PRIMARY KEY, note text)`}, []catalog.Component{catalog.ComponentTable}},
		{"dropped", "a", []string{`DROP TABLE a`}, []catalog.Component{catalog.ComponentTable}},
		{"replaced by rename", "a", []string{`ALTER TABLE a RENAME TO a_old`, `ALTER TABLE b RENAME TO a`}, []catalog.Component{catalog.ComponentTable}},
		{"new partition", "events", []string{
			`CREATE TABLE events_27 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')`,
		}, []catalog.Component{catalog.ComponentInheritance}},
		{"detached partition", "events", []string{`ALTER TABLE events DETACH PARTITION events_25`}, []catalog.Component{catalog.ComponentInheritance}},
		{"dropped leaf", "events", []string{`DROP TABLE events_26_us`}, []catalog.Component{catalog.ComponentInheritance}},
		{"truncated leaf", "events", []string{`TRUNCATE events_26_us`}, []catalog.Component{catalog.ComponentFilenode}},
		{"identity of a leaf", "events", []string{`ALTER TABLE events_25 REPLICA IDENTITY FULL`}, []catalog.Component{catalog.ComponentIdentity}},
	}
	_, db := start(t)
	for _, tt := range tests {
		run(t, db, `DROP SCHEMA public CASCADE`, `CREATE SCHEMA public`, `DROP PUBLICATION IF EXISTS fresh`)
		run(t, db, events...)
		run(t, db,
			`CREATE TABLE a (id int PRIMARY KEY, note text)`, `CREATE TABLE b (id int PRIMARY KEY, note text)`,
			`CREATE TYPE mood AS ENUM ('good', 'bad')`, `CREATE TYPE pair AS (a int)`, `CREATE DOMAIN temper AS mood`,
			`CREATE TABLE typed (id int PRIMARY KEY, m mood, p pair)`, `CREATE TABLE domained (id int PRIMARY KEY, m temper)`,
			`CREATE TABLE arrayed (id int PRIMARY KEY, m mood[])`,
			`INSERT INTO a VALUES (1, 'n')`, `CREATE PUBLICATION fresh FOR TABLE a, b, typed, domained, arrayed, events`)
		before := fingerprint(t, db, tt.table)
		run(t, db, tt.sql...)
		got := fingerprint(t, db, tt.table).Changed(before)
		// A new partition, or one that is gone, also counts in the other parts.
		if tt.want != nil && tt.want[0] == catalog.ComponentInheritance && slices.Contains(got, catalog.ComponentInheritance) {
			continue
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAdoptFilenodesOfOneRelation(t *testing.T) {
	t.Parallel()
	_, db := start(t, append(events, `CREATE PUBLICATION fresh FOR TABLE events`)...)
	kept := fingerprint(t, db, "events")
	run(t, db, `TRUNCATE events_26_us`)
	now := fingerprint(t, db, "events")
	kept.AdoptFilenodes(now, read(t, db, table("events_26_us")).OID)
	if got := now.Changed(kept); len(got) > 0 {
		t.Errorf("after adopting the truncated leaf: got %v", got)
	}
	run(t, db, `TRUNCATE events_26_us, events_25`)
	now = fingerprint(t, db, "events")
	kept.AdoptFilenodes(now, read(t, db, table("events_26_us")).OID)
	if got, want := now.Changed(kept), []catalog.Component{catalog.ComponentFilenode}; !slices.Equal(got, want) {
		t.Errorf("another leaf's file must not be adopted: got %v, want %v", got, want)
	}
}
