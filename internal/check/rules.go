package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// aboutRules checks the rules against the schema, the replica identity of
// each table, the publication, and what queries read.
func (c *postgresCheck) aboutRules(ctx context.Context) {
	all, err := catalog.AllTables(ctx, c.db)
	if err != nil {
		c.rules.fail("schema", err.Error(), "")
		return
	}
	var names []cdc.TableName
	for _, need := range c.set.Needs() {
		names = append(names, need.Table)
	}
	// Also what is no table: a view deserves better than "does not exist".
	named, err := catalog.Tables(ctx, c.db, names)
	if err != nil {
		c.rules.fail("schema", err.Error(), "")
		return
	}

	mend := newMending(all, c.cfg.Compile)
	c.mistakes(mend, len(names))
	var tables []*catalog.Table // as they will be
	for _, name := range names {
		t := named[name]
		if t == nil {
			continue // among the mistakes
		}
		c.table(t, mend)
		if mended := mend.tables[name]; mended != nil {
			t = mended
		}
		tables = append(tables, t)
	}
	c.readable(named)
	c.rowSecurity(ctx, named)
	c.queries(ctx, all, names)
	c.publication(ctx, tables)
}

// mistakes reports what is wrong with the rules and is not mended in the
// database.
func (c *postgresCheck) mistakes(mend *mending, tables int) {
	rules := len(c.set.Names())
	if len(mend.left) == 0 {
		c.rules.ok("rules", "all fit the schema; rules: %d, tables: %d", rules, tables)
	}
	for _, m := range mend.left {
		line := Line{Check: "rules", Status: Fail, Text: m.Where + ": " + m.Message, Remedy: m.Remedy}
		if m.SQL != "" {
			line.SQL = []string{statement(m.SQL)}
		} else {
			c.invalid = true
		}
		c.rules.add(line)
	}
	for _, m := range mend.warnings {
		c.rules.warn("rules", m.Where+": "+m.Message, m.Remedy)
	}
}

// table reports whether a table's changes can be had, with the old values that
// its rules need.
func (c *postgresCheck) table(t *catalog.Table, mend *mending) {
	check := t.Name.String()
	if found := mend.found[t.Name]; found != nil {
		line := Line{Check: check, Status: Fail, Text: found.messages[0], Details: found.messages[1:], Remedy: found.remedy, SQL: found.sql}
		c.rules.add(line)
		return
	}
	if refusal := t.Refusal(); refusal != nil {
		c.rules.fail(check, refusal.Problem, refusal.Note, refusal.SQL...)
		return
	}
	weakest, _ := t.Weakest()
	text := "replica identity " + describe(weakest) + c.oldValues(t.Name, weakest)
	switch {
	case t.Kind == catalog.Partitioned:
		text += fmt.Sprintf(", as far as all %d partitions have it", len(t.Descendants))
	case len(t.Descendants) > 0:
		text += fmt.Sprintf(", as far as it and its %d children have it", len(t.Descendants))
	}
	if message := mend.later[t.Name]; message != "" {
		c.rules.add(Line{
			Check: check, Status: Warn, Text: text + "; a partition created later has the primary key only",
			Details: []string{message},
			Remedy:  "give each new partition the identity of the others when it is created, or let its rules say old: widen",
		})
		return
	}
	c.rules.ok(check, "%s", text)
}

// oldValues says of which columns of the rules the old value is known.
func (c *postgresCheck) oldValues(name cdc.TableName, identity catalog.Identity) string {
	var known, unknown []string
	for _, need := range c.set.Needs() {
		for _, column := range need.Columns {
			switch {
			case need.Table != name:
			case identity.Covers(column):
				known = append(known, column)
			default:
				unknown = append(unknown, column)
			}
		}
	}
	text := ""
	if len(known) > 0 {
		text = ", which tells the old " + strings.Join(known, ", ")
	}
	if len(unknown) > 0 {
		// Or else the rules would have been refused.
		text += fmt.Sprintf("; not %s, which no rule needs to be exact", strings.Join(unknown, ", "))
	}
	return text
}

func describe(i catalog.Identity) string {
	if i.Kind == catalog.IdentityFull {
		return "full"
	}
	return fmt.Sprintf("%s (%s)", i.Kind, strings.Join(i.Columns, ", "))
}

// readable checks SELECT on the tables, all in one line.
func (c *postgresCheck) readable(named map[cdc.TableName]*catalog.Table) {
	missing := unreadable(named)
	if len(missing) == 0 {
		c.rules.ok("select", "the role may read all tables of the rules")
		return
	}
	c.unreadable = true
	quoted := make([]string, len(missing))
	for i, name := range missing {
		quoted[i] = catalog.Quote(name)
	}
	c.rules.fail("select", fmt.Sprintf("the role may not read %s", strings.Join(quoted, ", ")), "", grants(missing, c.role.Name)...)
}

// rowSecurity warns of policies that hide rows from our role. Replication has
// all of them; only what queries see differs.
func (c *postgresCheck) rowSecurity(ctx context.Context, named map[cdc.TableName]*catalog.Table) {
	var hidden []string
	for name, t := range named {
		var active bool
		if err := c.db.QueryRow(ctx, "SELECT row_security_active($1::oid)", t.OID).Scan(&active); err != nil {
			c.rules.fail("row security", oneLine(err), "")
			return
		}
		if active {
			hidden = append(hidden, name.String())
		}
	}
	if len(hidden) == 0 {
		return
	}
	slices.Sort(hidden)
	c.rules.warn("row security", fmt.Sprintf("policies may hide rows of %s from the role: lookups and warm queries that read them are refused", strings.Join(hidden, ", ")),
		"let the role see all rows", bypass(c.role.Name))
}

// unreadable returns the tables that our role may not read, sorted.
func unreadable(named map[cdc.TableName]*catalog.Table) []cdc.TableName {
	var missing []cdc.TableName
	for name, t := range named {
		if !t.Readable {
			missing = append(missing, name)
		}
	}
	slices.SortFunc(missing, func(a, b cdc.TableName) int { return strings.Compare(catalog.Quote(a), catalog.Quote(b)) })
	return missing
}

// grants returns the statements that let a role read tables.
func grants(tables []cdc.TableName, role string) []string {
	var sql, quoted []string
	for _, name := range tables {
		usage := fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", catalog.QuoteIdent(name.Schema), catalog.QuoteIdent(role))
		if !slices.Contains(sql, usage) {
			sql = append(sql, usage)
		}
		quoted = append(quoted, catalog.Quote(name))
	}
	if len(quoted) == 0 {
		return nil
	}
	return append(sql, fmt.Sprintf("GRANT SELECT ON TABLE %s TO %s", strings.Join(quoted, ", "), catalog.QuoteIdent(role)))
}

// statement strips what ends a statement, as lines add it again.
func statement(sql string) string { return strings.TrimRight(strings.TrimSpace(sql), ";") }
