package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// queries warns of tables that a lookup or a warm query reads without a rule of their
// own: when they change, nothing is invalidated.
func (c *postgresCheck) queries(ctx context.Context, all map[cdc.TableName]*catalog.Table, ruled []cdc.TableName) {
	for _, lookup := range c.set.Lookups() {
		c.query(ctx, "lookup of "+lookup.Name, lookup.SQL, "mend the lookup in the rule", false, all, ruled)
	}
	for _, warm := range c.set.WarmQueries() {
		c.query(ctx, "warm query of "+warm.Rule+" for "+warm.Key, warm.SQL, "mend the warm query in the rule", true, all, ruled)
	}
}

func (c *postgresCheck) query(ctx context.Context, check, sql, remedy string, warm bool, all map[cdc.TableName]*catalog.Table, ruled []cdc.TableName) {
	read, columns, err := explain(ctx, c.db, sql)
	if err != nil {
		c.refused(check, sql, remedy, err, all)
		return
	}
	if warm && columns != 1 {
		c.rules.fail(check, fmt.Sprintf("it returns %d columns, and what is stored is one", columns), "put them together with to_jsonb or jsonb_build_object")
		c.invalid = true
		return
	}
	var missing []string
	for _, name := range read {
		if !hasRule(name, all, ruled) {
			missing = append(missing, name.String())
		}
	}
	if len(missing) > 0 {
		c.rules.warn(check, fmt.Sprintf("it reads %s, for which there is no rule: their changes invalidate nothing", strings.Join(missing, ", ")),
			"add a rule for each, unless the columns used never change")
		return
	}
	c.rules.ok(check, "every table that it reads has a rule")
}

// refused reports a query that was not explained.
func (c *postgresCheck) refused(check, sql, remedy string, err error, all map[cdc.TableName]*catalog.Table) {
	text := "Postgres refuses the query: " + oneLine(err)
	missing := unreadableIn(sql, all)
	switch {
	case c.unreadable && len(missing) > 0:
		c.rules.warn(check, "not tried, as the role may not read what it reads", "check again when the role may")
	case len(missing) > 0:
		c.rules.fail(check, text, "", grants(missing, c.role.Name)...)
	case hidesRows(err):
		c.rules.fail(check, text, remedyHidden, bypass(c.role.Name))
	case sqlState(err) == insufficientPrivilege:
		c.rules.fail(check, text, "grant the role what the query needs")
	case sqlState(err) == lockNotAvailable:
		c.rules.fail(check, text, "a migration holds a table that it reads: check again afterwards")
	default:
		c.rules.fail(check, text, remedy)
		c.invalid = true
	}
}

// unreadableIn returns the tables that our role may not read and whose names
// occur in a query. Postgres does not say which table it was about, and one in a
// schema that the role may not use does not even exist for it.
func unreadableIn(sql string, all map[cdc.TableName]*catalog.Table) []cdc.TableName {
	words := strings.FieldsFunc(sql, func(r rune) bool {
		return r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	named := make(map[cdc.TableName]*catalog.Table)
	for name, t := range all {
		if !t.Partition && slices.ContainsFunc(words, func(word string) bool { return strings.EqualFold(word, name.Table) }) {
			named[name] = t
		}
	}
	return unreadable(named)
}

// hasRule reports whether a rule names the relation or a table that it is a
// part of.
func hasRule(name cdc.TableName, all map[cdc.TableName]*catalog.Table, ruled []cdc.TableName) bool {
	if slices.Contains(ruled, name) {
		return true
	}
	t := all[name]
	return t != nil && slices.ContainsFunc(t.Parents, func(parent cdc.TableName) bool { return slices.Contains(ruled, parent) })
}

// explain returns the relations that the plan of a query reads, and how many columns
// it returns. Nothing is executed, and the transaction ends without a trace.
func explain(ctx context.Context, db *pgx.Conn, sql string) (read []cdc.TableName, columns int, err error) {
	tx, err := db.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing was written
	// A migration may hold a table for long; neither the check nor a start waits for it.
	// Where row security would hide rows, the query is refused, as the connections that run it refuse it.
	if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '2s'; SET LOCAL row_security = off", pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, 0, err
	}
	prepared, err := tx.Prepare(ctx, "freshet_check", sql)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = db.Deallocate(context.WithoutCancel(ctx), "freshet_check") }() // ends with the connection anyhow
	execute := "EXECUTE freshet_check"
	if n := len(prepared.ParamOIDs); n > 0 {
		execute += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
	}
	// A plan made for NULL would read nothing at all.
	if _, err := tx.Exec(ctx, "SET LOCAL plan_cache_mode = force_generic_plan", pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, 0, err
	}
	rows, err := tx.Query(ctx, "EXPLAIN (FORMAT JSON, VERBOSE, COSTS OFF) "+execute, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, 0, err
	}
	text, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return nil, 0, err
	}
	var plan any
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return nil, 0, fmt.Errorf("read the plan: %w", err)
	}
	return relations(plan, nil), len(prepared.Fields), nil
}

// Lookups returns a *catalog.RemedyError for the first lookup that Postgres
// refuses, as it will every time: the role may not read what it reads, or it
// names what is not there. Run it before rules are relied on, since each row that
// needs such a lookup widens. Any other error may pass.
func Lookups(ctx context.Context, db *pgx.Conn, tables map[cdc.TableName]*catalog.Table, set *rule.Set) error {
	for _, lookup := range set.Lookups() {
		_, _, err := explain(ctx, db, lookup.SQL)
		if !strings.HasPrefix(sqlState(err), "42") { // syntax error or access rule violation
			if err != nil && sqlState(err) != lockNotAvailable {
				return fmt.Errorf("explain the lookup of rule %s: %w", lookup.Name, err)
			}
			continue
		}
		refused := &catalog.RemedyError{Problem: "Postgres refuses the lookup of rule " + lookup.Name, Err: err, Note: "mend the lookup in the rule"}
		if missing := unreadableIn(lookup.SQL, tables); len(missing) > 0 || sqlState(err) == insufficientPrivilege {
			role, roleErr := catalog.ReadRole(ctx, db)
			if roleErr != nil {
				return roleErr
			}
			refused.Note = "it takes SELECT on the tables that it reads"
			refused.SQL = grants(missing, role.Name)
			if hidesRows(err) {
				refused.Note = remedyHidden
				refused.SQL = []string{bypass(role.Name)}
			}
		}
		return refused
	}
	return nil
}

// remedyHidden is what to do where row security hides rows from our role.
const remedyHidden = "let the role see all rows: what a lookup does not see is not removed, and what a warm query does not see is missing for all readers"

// hidesRows reports whether Postgres refused a query because row security would
// hide rows from it.
func hidesRows(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == insufficientPrivilege && pg.Routine == "check_enable_rls"
}

// bypass returns the statement that lets a role see all rows.
func bypass(role string) string {
	return "ALTER ROLE " + catalog.QuoteIdent(role) + " BYPASSRLS"
}

// relations collects the relations named anywhere in a plan.
func relations(node any, found []cdc.TableName) []cdc.TableName {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			found = relations(child, found)
		}
	case map[string]any:
		schema, _ := n["Schema"].(string)
		table, _ := n["Relation Name"].(string)
		if name := (cdc.TableName{Schema: schema, Table: table}); table != "" && !slices.Contains(found, name) {
			found = append(found, name)
		}
		for _, child := range n {
			found = relations(child, found)
		}
	}
	return found
}
