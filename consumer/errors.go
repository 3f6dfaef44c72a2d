package consumer

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrConfiguration is what Run's error wraps: it cannot work until somebody changes the configuration of Freshet or of Postgres.
var ErrConfiguration = errors.New("configuration cannot work")

// problem is an error with what to do about it.
type problem struct {
	err    error
	remedy string
	final  bool // no retry can help
}

func (p *problem) Error() string {
	if p.remedy == "" {
		return p.err.Error()
	}
	return p.err.Error() + ": " + p.remedy
}

func (p *problem) Unwrap() []error {
	if p.final {
		return []error{p.err, ErrConfiguration}
	}
	return []error{p.err}
}

// withRemedy returns an error that passes, or that somebody mends while the consumer retries.
func withRemedy(remedy, format string, args ...any) error {
	return &problem{err: fmt.Errorf(format, args...), remedy: remedy}
}

// hopeless returns an error that ends Run.
func hopeless(remedy, format string, args ...any) error {
	return &problem{err: fmt.Errorf(format, args...), remedy: remedy, final: true}
}

// remedyOf returns the remedy that err carries, or "".
func remedyOf(err error) string {
	if p, ok := errors.AsType[*problem](err); ok {
		return p.remedy
	}
	return ""
}

// Postgres' error codes that mean something here.
const (
	codeObjectInUse     = "55006" // the slot is in use
	codeUndefinedObject = "42704" // the slot or the publication is gone
	codeDuplicateObject = "42710"
	codeNoPrivilege     = "42501"
	codeTooManySlots    = "53400"
	codeTooManyConns    = "53300"
)

// hasCode reports whether err is Postgres' error with one of codes.
func hasCode(err error, codes ...string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	for _, c := range codes {
		if pg.Code == c {
			return true
		}
	}
	return false
}
