package cache

import "time"

// CallOption changes one call.
type CallOption interface{ apply(s *settings) }

// ReadOption changes one call that reads.
type ReadOption interface {
	CallOption
	read()
}

// WriteOption changes one call that stores.
type WriteOption interface {
	CallOption
	write()
}

// settings is what the options of one call say.
type settings struct {
	noFill     bool
	bounded    bool // token or within is set
	token      *Token
	within     *time.Duration
	staleError bool
}

func settingsOf[O CallOption](opts []O) settings {
	var s settings
	for _, o := range opts {
		o.apply(&s)
	}
	return s
}

type writeOption func(*settings)

func (o writeOption) apply(s *settings) { o(s) }
func (writeOption) write()              {}

// NoFill makes a loading call read through: what is in the cache is returned,
// else the loader's value, which is not stored and not shared with other
// callers. Use it where the loader's view of the database does not begin with
// the call or holds uncommitted rows: inside an open REPEATABLE READ or
// SERIALIZABLE transaction, and inside any transaction that has written.
func NoFill() WriteOption { return writeOption(func(s *settings) { s.noFill = true }) }
