package scaffold

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/rule"
)

// ErrNoTables is returned when no table can have a rule; the error says why
// for each.
var ErrNoTables = errors.New("no table can have a rule")

// Config says what to draft.
type Config struct {
	// Tables names the tables to draft rules for, as rules do. Defaults to all.
	Tables []string
}

// Draft is a configuration drafted from a schema.
type Draft struct {
	// YAML is the file, with comments.
	YAML string
	// Rules is how many rules it has.
	Rules int
	// SQL holds the statements that the rules need to have been run, without
	// semicolons. The file has them in its first comment.
	SQL []string
	// Left lists the tables without a rule. The file names them too.
	Left []Left
}

// New reads the schema and drafts a configuration. A table asked for that is
// not there is a *TableError.
func New(ctx context.Context, db catalog.DB, cfg Config) (*Draft, error) {
	var database string
	if err := db.QueryRow(ctx, "SELECT current_database()::text").Scan(&database); err != nil {
		return nil, fmt.Errorf("read the database's name: %w", err)
	}
	all, err := catalog.AllTables(ctx, db)
	if err != nil {
		return nil, err
	}
	only, err := resolve(all, cfg.Tables)
	if err != nil {
		return nil, err
	}
	keys, err := catalog.ReadKeys(ctx, db, all)
	if err != nil {
		return nil, err
	}
	extensions, err := catalog.ExtensionTables(ctx, db)
	if err != nil {
		return nil, err
	}
	tables, left := choose(all, extensions, only)
	drafter := &drafter{nouns: nouns(sorted(all)), keys: keys}
	var drafts []*draft
	var rules []rule.Config
	for _, t := range tables {
		d := drafter.rule(t)
		drafts, rules = append(drafts, d), append(rules, d.config())
	}
	if len(drafts) == 0 {
		return nil, noTables(database, left)
	}
	sql, mistakes := check.Identities(all, func(schema rule.Schema) check.Compiled { return compile(rules, schema) })
	if len(mistakes) > 0 {
		// It would be a mistake of this package; better known here than at `run`.
		return nil, fmt.Errorf("the rule drafted for %s does not fit: %s", mistakes[0].Where, mistakes[0].Message)
	}
	out := &Draft{Rules: len(drafts), SQL: sql, Left: left}
	out.YAML = render(database, drafts, out)
	return out, nil
}

func compile(rules []rule.Config, schema rule.Schema) check.Compiled {
	set, err := rule.Compile(rules, schema)
	var mistakes rule.Errors
	switch {
	case errors.As(err, &mistakes):
		compiled := check.Compiled{}
		for _, m := range mistakes {
			compiled.Mistakes = append(compiled.Mistakes, check.Mistake{Where: m.Path, Message: m.Message, Remedy: m.Remedy, SQL: m.SQL})
		}
		return compiled
	case err != nil:
		return check.Compiled{Mistakes: []check.Mistake{{Message: err.Error()}}}
	}
	return check.Compiled{Set: set}
}

func noTables(database string, left []Left) error {
	if len(left) == 0 {
		return fmt.Errorf("%w: database %s has none that this role can see; is it the right one?", ErrNoTables, database)
	}
	err := ErrNoTables
	for _, l := range left {
		err = fmt.Errorf("%w; %s: %s", err, rule.FormatTable(l.Table), l.Reason)
	}
	return err
}
