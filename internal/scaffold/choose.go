package scaffold

import (
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// Left is a table without a rule, and why.
type Left struct {
	Table  cdc.TableName
	Reason string
}

// bookkeeping are the tables in which tools note which migrations have run.
var bookkeeping = []string{
	"_prisma_migrations", "schema_migrations", "ar_internal_metadata", "flyway_schema_history", "goose_db_version",
	"alembic_version", "django_migrations", "knex_migrations", "knex_migrations_lock", "_sqlx_migrations",
	"__efmigrationshistory", "databasechangelog", "databasechangeloglock", "__drizzle_migrations", "__diesel_schema_migrations",
	"sequelizemeta", "typeorm_metadata", "gorp_migrations", "atlas_schema_revisions",
}

// choose divides tables into those that get a rule and those that do not. A
// partition belongs to its root and is in neither.
func choose(all map[cdc.TableName]*catalog.Table, extensions, only []cdc.TableName) (chosen []*catalog.Table, left []Left) {
	for _, name := range sorted(all) {
		t := all[name]
		named := slices.Contains(only, name)
		if t.Partition && !named || len(only) > 0 && !named {
			continue
		}
		reason := unfit(t, named)
		if reason == "" && !named && slices.Contains(extensions, name) {
			reason = "it belongs to an extension"
		}
		if reason != "" {
			left = append(left, Left{name, reason})
			continue
		}
		chosen = append(chosen, t)
	}
	return chosen, left
}

// unfit says why a table gets no rule; "" for one that does.
func unfit(t *catalog.Table, named bool) string {
	switch {
	case t.Partition:
		return fmt.Sprintf("a partition of %s: a rule names the whole table", rule.FormatTable(t.Parents[len(t.Parents)-1]))
	case !named && slices.Contains(bookkeeping, strings.ToLower(t.Name.Table)):
		return "the notes of a migration tool"
	case !named && len(t.Parents) > 0:
		return fmt.Sprintf("its rows are rows of %s too, from which it inherits", rule.FormatTable(t.Parents[0]))
	}
	if refusal := t.Refusal(); refusal != nil && (len(refusal.SQL) == 0 || t.Kind == catalog.Partitioned && len(t.PrimaryKey) == 0) {
		return refusal.Problem
	}
	for _, r := range t.Relations() {
		if !r.Logged {
			return "not logged, so that its changes are not decoded"
		}
	}
	key, _ := rowKey(t)
	if len(key) == 0 {
		return "no primary key, and no unique index on NOT NULL columns, by which a cached row could be named"
	}
	if !sent(t, key) {
		return fmt.Sprintf("its key has a generated column (%s), which this server does not send", strings.Join(key, ", "))
	}
	return ""
}

// rowKey returns the columns that name a row, and the unique index that stands
// for a missing primary key.
func rowKey(t *catalog.Table) (columns []string, index string) {
	if len(t.PrimaryKey) > 0 || len(t.Unique) == 0 {
		return t.PrimaryKey, ""
	}
	return t.Unique[0].Columns, t.Unique[0].Name
}

// sent reports whether changes carry all of the columns.
func sent(t *catalog.Table, columns []string) bool {
	return !slices.ContainsFunc(columns, func(name string) bool {
		c, found := t.Column(name)
		return !found || !c.Sent
	})
}

func sorted(all map[cdc.TableName]*catalog.Table) []cdc.TableName {
	names := make([]cdc.TableName, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b cdc.TableName) int {
		if c := strings.Compare(a.Schema, b.Schema); c != 0 {
			return c
		}
		return strings.Compare(a.Table, b.Table)
	})
	return names
}

// resolve finds the tables that --tables names.
func resolve(all map[cdc.TableName]*catalog.Table, wanted []string) ([]cdc.TableName, error) {
	var known []string
	for _, name := range sorted(all) {
		known = append(known, rule.FormatTable(name))
	}
	var out []cdc.TableName
	for _, text := range wanted {
		name, err := rule.ParseTable(text)
		if err != nil {
			return nil, &TableError{text, err.Error()}
		}
		if all[name] == nil {
			hint := "there are " + strings.Join(known, ", ")
			if near := rule.Nearest(text, known); near != "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return nil, &TableError{text, "there is no such table; " + hint}
		}
		out = append(out, name)
	}
	return out, nil
}

// TableError says that a table asked for is not there.
type TableError struct{ Table, Problem string }

// Error names the table and the way out.
func (e *TableError) Error() string { return fmt.Sprintf("table %s: %s", e.Table, e.Problem) }
