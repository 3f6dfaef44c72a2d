package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	// lockTimeout bounds how long a statement of ours stands in a table's lock
	// queue, where a migration of the application could wait behind it. It is
	// longer than deadlock_timeout's default of a second, after which an
	// autovacuum in our way gives up.
	lockTimeout = "3s"
	// ensureAttempts is how often a publication is tried that is being altered
	// by somebody else, or whose tables are locked.
	ensureAttempts = 5
)

// Change is what EnsurePublication did.
type Change struct {
	Created bool // the publication was made
	Altered bool // options, column lists, row filters or schemas were changed
	Added   []cdc.TableName
	Dropped []cdc.TableName
	// Statements were run, in one transaction.
	Statements []string
}

// Any reports whether anything was changed.
func (c Change) Any() bool { return len(c.Statements) > 0 }

// EnsurePublication makes the publication publish whole rows of tables: it
// creates or alters it where manage allows and our role may, and otherwise
// returns a RemedyError with the SQL. A table whose publication would make the
// application's statements fail is left out, or taken out, and reported in a
// RemedyError beside the Change that was made for the others. Any other error
// may pass: try again.
func EnsurePublication(ctx context.Context, db DB, name string, tables []cdc.TableName, manage bool) (Change, error) {
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		change, err := ensurePublication(ctx, db, name, tables, manage)
		if attempt == ensureAttempts || !contended(err) {
			return change, err
		}
		select {
		case <-ctx.Done():
			return change, err
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// contended reports whether somebody else was in the way.
func contended(err error) bool {
	switch sqlState(err) {
	case stateLockNotAvailable, stateDeadlock, stateDuplicateObject, stateConcurrentUpdate:
		return true
	}
	return false
}

func ensurePublication(ctx context.Context, db DB, name string, tables []cdc.TableName, manage bool) (Change, error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return Change{}, fmt.Errorf("ensure publication %q: %w", name, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // fails after Commit, as it should
	if manage {
		// One of several processes that start together plans and alters at a time.
		_, err = tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockTimeout+"'")
		if err == nil {
			_, err = tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "freshet publication "+name)
		}
		if err != nil {
			return Change{}, fmt.Errorf("ensure publication %q: %w", name, err)
		}
	}
	plan, err := planFor(ctx, tx, name, tables)
	if err != nil {
		return Change{}, err
	}
	if len(plan.Statements) == 0 {
		return Change{}, mergeRemedies(plan.Refused)
	}
	if reason := plan.leftToPeople(manage); reason != "" {
		return Change{}, mergeRemedies(append(plan.Refused, &RemedyError{
			Problem: fmt.Sprintf("publication %q does not match the rules", name),
			SQL:     Transaction(plan.Statements), Note: reason,
		}))
	}
	for _, statement := range plan.Statements {
		if _, err := tx.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			if sqlState(err) == stateInsufficientPrivilege {
				return Change{}, mergeRemedies(append(plan.Refused, &RemedyError{
					Problem: fmt.Sprintf("publication %q does not match the rules and may not be changed", name),
					SQL:     Transaction(plan.Statements), Err: err,
					Note: "it takes the owner of the tables, with CREATE on the database",
				}))
			}
			return Change{}, fmt.Errorf("ensure publication %q: %w", name, err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return Change{}, fmt.Errorf("ensure publication %q: %w", name, err)
	}
	return Change{
		Created: plan.created, Altered: plan.altered, Added: plan.added, Dropped: plan.dropped, Statements: plan.Statements,
	}, mergeRemedies(plan.Refused)
}

func planFor(ctx context.Context, db DB, name string, names []cdc.TableName) (*Plan, error) {
	found, err := Tables(ctx, db, names)
	if err != nil {
		return nil, err
	}
	p, err := ReadPublication(ctx, db, name)
	if err != nil {
		return nil, err
	}
	version, err := ServerVersion(ctx, db)
	if err != nil {
		return nil, err
	}
	var missing []*RemedyError
	var tables []*Table
	for _, n := range names {
		if t, ok := found[n]; ok {
			tables = append(tables, t)
			continue
		}
		missing = append(missing, &RemedyError{Problem: fmt.Sprintf("table %s does not exist", n)})
	}
	plan := PlanPublication(p, name, tables, version, false)
	plan.Refused = append(missing, plan.Refused...)
	return plan, nil
}

func (plan *Plan) leftToPeople(manage bool) string {
	switch {
	case !manage:
		return "postgres.manage is false"
	case len(plan.Foreign) > 0:
		return strings.Join(plan.Foreign, "; ") +
			"; it was not made by Freshet, so look at who else subscribes to it, or set postgres.publication to another name"
	}
	return ""
}

// Transaction puts statements between BEGIN and COMMIT if there are several. A
// slot reads the publication as it was at each position, so it must never see
// half of a change.
func Transaction(statements []string) []string {
	if len(statements) < 2 {
		return statements
	}
	return append(append([]string{"BEGIN"}, statements...), "COMMIT")
}

// mergeRemedies makes one error of several; nil of none.
func mergeRemedies(all []*RemedyError) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	merged := &RemedyError{}
	var problems []string
	var errs []error
	for _, r := range all {
		problem := r.Problem
		if r.Note != "" {
			problem += " (" + r.Note + ")"
		}
		problems = append(problems, problem)
		merged.SQL = append(merged.SQL, r.SQL...)
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	merged.Problem, merged.Err = strings.Join(problems, "; "), errors.Join(errs...)
	return merged
}
