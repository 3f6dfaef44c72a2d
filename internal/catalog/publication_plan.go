package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Plan is what makes a publication publish the whole rows of some tables and
// of nothing else, without making any of the application's statements fail.
type Plan struct {
	// Statements lead from the publication as it is to the one wanted, and are
	// meant to be run in one transaction. None: nothing to do.
	Statements []string
	// Refused says which tables are left out, and what lets them in. A refused
	// table that is published already is taken out.
	Refused []*RemedyError
	// Foreign says why Statements are left to people: the publication was not
	// made for Freshet, and they change what its other subscribers get.
	Foreign []string
	// Extra lists tables that are published without being wanted, in a
	// publication from which Freshet takes nothing away.
	Extra []cdc.TableName

	created, altered bool
	added, dropped   []cdc.TableName
}

// PlanPublication compares the publication (nil: there is none) with the
// tables wanted. With mended, refused tables are planned for as if their
// remedies had been run, which is what a script of statements wants.
func PlanPublication(p *Publication, name string, tables []*Table, version int, mended bool) *Plan {
	plan := &Plan{}
	wanted := plan.relations(tables, mended)
	if p == nil {
		if len(wanted) > 0 {
			plan.create(name, wanted, version)
		}
		return plan
	}
	if p.AllTables {
		plan.replace(p, wanted, version)
		return plan
	}
	plan.options(p, tables, version)
	plan.schemas(p)
	plan.members(p, wanted)
	return plan
}

// relations lists what must be in the publication: each table, and the
// children of those that others inherit from, which no statement adds later.
// The leaves of a partitioned table come with their root, future ones too.
func (plan *Plan) relations(tables []*Table, mended bool) []cdc.TableName {
	var wanted []cdc.TableName
	for _, t := range tables {
		if refusal := t.Refusal(); refusal != nil {
			plan.Refused = append(plan.Refused, refusal)
			if !mended || len(refusal.SQL) == 0 {
				continue
			}
		}
		wanted = append(wanted, t.Name)
		if t.Kind == Partitioned {
			continue
		}
		for _, d := range t.Descendants {
			wanted = append(wanted, d.Name)
		}
	}
	slices.SortFunc(wanted, compareNames)
	return slices.Compact(wanted)
}

func (plan *Plan) create(name string, wanted []cdc.TableName, version int) {
	plan.created, plan.added = true, wanted
	plan.Statements = append(
		plan.Statements,
		fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (%s)", QuoteIdent(name), onlyList(wanted), publishOptions(version)),
		fmt.Sprintf("COMMENT ON PUBLICATION %s IS %s", QuoteIdent(name), quoteLiteral(ownComment+"the tables of its rules")),
	)
}

// replace stands for what no ALTER can do: a publication of all tables stays
// one. In one transaction, so that the slot finds the publication at every
// position that it reads.
func (plan *Plan) replace(p *Publication, wanted []cdc.TableName, version int) {
	plan.Foreign = append(plan.Foreign, "it publishes all tables, so that UPDATE and DELETE fail on every table without a replica identity")
	plan.Statements = append(plan.Statements, "DROP PUBLICATION "+QuoteIdent(p.Name))
	plan.create(p.Name, wanted, version)
}

func (plan *Plan) options(p *Publication, tables []*Table, version int) {
	var set []string
	if !p.publishesAll() {
		set = append(set, publishAll)
		plan.foreign(p, "it does not publish all of insert, update, delete and truncate")
	}
	if p.ViaRoot {
		set = append(set, viaRootOff)
		plan.foreign(p, "it publishes partitions as their root (publish_via_partition_root), which hides the truncation of a partition")
	}
	if version >= 180000 && !p.SendsGenerated && (p.Ours || hasStored(tables)) {
		set = append(set, sendGenerated)
		plan.foreign(p, "it does not send generated columns, without which UPDATE and DELETE fail under REPLICA IDENTITY FULL")
	}
	if len(set) > 0 {
		plan.altered = true
		plan.Statements = append(plan.Statements, fmt.Sprintf("ALTER PUBLICATION %s SET (%s)", QuoteIdent(p.Name), strings.Join(set, ", ")))
	}
}

func hasStored(tables []*Table) bool {
	return slices.ContainsFunc(tables, func(t *Table) bool {
		return len(t.generated) > len(t.virtual)
	})
}

func (plan *Plan) schemas(p *Publication) {
	if len(p.Schemas) == 0 {
		return
	}
	plan.altered = true
	plan.foreign(p, "it publishes whole schemas, so that UPDATE and DELETE fail on every table in them without a replica identity")
	plan.Statements = append(plan.Statements,
		fmt.Sprintf("ALTER PUBLICATION %s DROP TABLES IN SCHEMA %s", QuoteIdent(p.Name), quoteIdents(p.Schemas)))
}

// members plans what is added and taken away. Tables that stay are not
// touched, so that their entries in the catalog, which are watched, stay too.
func (plan *Plan) members(p *Publication, wanted []cdc.TableName) {
	var add, drop []cdc.TableName
	for _, name := range wanted {
		t, ok := p.table(name)
		switch {
		case !ok:
			add = append(add, name)
			plan.added = append(plan.added, name)
		case t.Columns:
			plan.foreign(p, fmt.Sprintf("it publishes %s with a column list, which can make UPDATE, DELETE, ALTER TYPE and DROP COLUMN fail", name))
		case t.Filter:
			plan.foreign(p, fmt.Sprintf("it publishes %s with a row filter, so changes are missing", name))
		}
		if ok && (t.Columns || t.Filter) {
			add, drop = append(add, name), append(drop, name)
			plan.altered = true
		}
	}
	for _, t := range p.Tables {
		switch {
		case slices.Contains(wanted, t.Name):
		case p.Ours:
			drop = append(drop, t.Name)
			plan.dropped = append(plan.dropped, t.Name)
		default:
			plan.Extra = append(plan.Extra, t.Name)
		}
	}
	if len(drop) > 0 {
		plan.Statements = append(plan.Statements, fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s", QuoteIdent(p.Name), onlyList(drop)))
	}
	if len(add) > 0 {
		plan.Statements = append(plan.Statements, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s", QuoteIdent(p.Name), onlyList(add)))
	}
}

// foreign notes a difference that is only mended by us where the publication
// is ours.
func (plan *Plan) foreign(p *Publication, reason string) {
	if !p.Ours {
		plan.Foreign = append(plan.Foreign, reason)
	}
}

const (
	publishAll    = "publish = 'insert, update, delete, truncate'"
	viaRootOff    = "publish_via_partition_root = false"
	sendGenerated = "publish_generated_columns = stored"
)

func publishOptions(version int) string {
	options := publishAll + ", " + viaRootOff
	if version >= 180000 {
		options += ", " + sendGenerated
	}
	return options
}

// onlyList names tables without the children that inherit from them, which are
// listed by name where they are wanted.
func onlyList(names []cdc.TableName) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = "ONLY " + Quote(name)
	}
	return strings.Join(parts, ", ")
}

// DropTableSQL is the statement that takes a table out of a publication.
func DropTableSQL(publication string, table cdc.TableName) string {
	return fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s", QuoteIdent(publication), onlyList([]cdc.TableName{table}))
}
