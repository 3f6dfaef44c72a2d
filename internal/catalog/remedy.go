package catalog

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// RemedyError says that the server must be changed before Freshet can work, by
// somebody else or with more rights, and how. It is final: trying again changes
// nothing until the statements have been run.
type RemedyError struct {
	// Problem is one sentence: what is wrong, with the object's name.
	Problem string
	// SQL holds the statements that mend it, in order, without semicolons. It
	// is empty where no statement does.
	SQL []string
	// Note says what else to know or do; empty for nothing.
	Note string
	// Err is the server's error, if it refused a statement.
	Err error
}

// Error returns the problem, the note and the statements on lines of their own.
func (e *RemedyError) Error() string {
	var b strings.Builder
	b.WriteString(e.Problem)
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Note != "" {
		b.WriteString("; ")
		b.WriteString(e.Note)
	}
	if len(e.SQL) > 0 {
		b.WriteString("; run:\n")
		b.WriteString(Script(e.SQL))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Unwrap returns the server's error.
func (e *RemedyError) Unwrap() error { return e.Err }

// Script joins statements to something that psql runs.
func Script(statements []string) string {
	var b strings.Builder
	for _, s := range statements {
		b.WriteString(s)
		b.WriteString(";\n")
	}
	return b.String()
}

// sqlState returns the server's error code, or "".
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// SQLSTATE codes that are decided on here.
const (
	stateInsufficientPrivilege = "42501"
	stateDuplicateObject       = "42710"
	stateUndefinedObject       = "42704"
	stateLockNotAvailable      = "55P03"
	stateDeadlock              = "40P01"
	stateConcurrentUpdate      = "XX000" // "tuple concurrently updated", when two processes alter one publication
)
