package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// queries warns of tables that a lookup or a warm query reads without a rule of their
// own: when they change, nothing is invalidated.
func (c *postgresCheck) queries(ctx context.Context, all map[cdc.TableName]*catalog.Table, ruled []cdc.TableName) {
	for _, lookup := range c.set.Lookups() {
		c.query(ctx, "lookup of "+lookup.Name, lookup.SQL, false, all, ruled)
	}
	for _, warm := range c.set.WarmQueries() {
		c.query(ctx, "warm query of "+warm.Rule+" for "+warm.Key, warm.SQL, true, all, ruled)
	}
}

func (c *postgresCheck) query(ctx context.Context, check, sql string, warm bool, all map[cdc.TableName]*catalog.Table, ruled []cdc.TableName) {
	read, columns, err := c.explain(ctx, sql)
	if err != nil {
		c.rules.fail(check, "Postgres refuses the query: "+oneLine(err), "mend the query in the rule")
		c.invalid = true
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
func (c *postgresCheck) explain(ctx context.Context, sql string) (read []cdc.TableName, columns int, err error) {
	tx, err := c.db.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing was written
	prepared, err := tx.Prepare(ctx, "freshet_check", sql)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = c.db.Deallocate(context.WithoutCancel(ctx), "freshet_check") }() // ends with the connection anyhow
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
