package cdc

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Version is the version of the change message that this package writes and
// reads.
const Version = 1

// Decode reads a change message into m, reusing the memory of its slices.
// Strings alias data wherever nothing in them is escaped: data must not be
// written for as long as m is used, and a string that is kept keeps data.
//
// Unknown fields are skipped, so that fields can be added. A version other
// than Version, or an operation that is not known, is an error: the reader
// must then take it that anything in the table may have changed.
func Decode(data []byte, m *Message) error {
	m.reset()
	d := decoder{scanner: scanner{data: data}, m: m}
	if err := d.decode(); err != nil {
		return fmt.Errorf("decode change message: %w", err)
	}
	return nil
}

func (m *Message) reset() {
	*m = Message{
		Key:          m.Key[:0],
		Transactions: m.Transactions[:0],
		Changes:      m.Changes[:0],
	}
}

type decoder struct {
	scanner
	m       *Message
	version bool
}

func (d *decoder) decode() error {
	if !utf8.Valid(d.data) {
		return errors.New("not valid UTF-8")
	}
	if d.peek() != '{' {
		d.fail("a message")
		return d.err
	}
	if !d.object("a message", d.field) || !d.end() {
		return d.err
	}
	if !d.version {
		return errors.New("no version")
	}
	for i := range d.m.Changes {
		if tx := d.m.Changes[i].Tx; tx >= len(d.m.Transactions) {
			return fmt.Errorf("change %d: no transaction %d", i, tx)
		}
	}
	return nil
}

func (d *decoder) field(name []byte) bool {
	m := d.m
	switch string(name) {
	case "v":
		return d.readVersion()
	case "source":
		return d.text(&m.Source)
	case "epoch":
		return d.parsed(func(s string) (err error) { m.Epoch, err = ParseEpoch(s); return err })
	case "lsn":
		return d.parsed(func(s string) (err error) { m.LSN, err = ParseLSN(s); return err })
	case "schema":
		return d.text(&m.Schema)
	case "table":
		return d.text(&m.Table)
	case "key":
		m.Key = m.Key[:0]
		return d.names(&m.Key)
	case "transactions":
		m.Transactions = m.Transactions[:0]
		return d.array("transactions", d.transaction)
	case "changes":
		m.Changes = m.Changes[:0]
		return d.array("changes", d.change)
	}
	return d.skip()
}

func (d *decoder) readVersion() bool {
	start := d.pos
	literal, ok := d.number("a version")
	if !ok {
		return false
	}
	if string(literal) != "1" {
		d.err = fmt.Errorf("byte %d: version %s, this program reads %d", start, literal, Version)
		return false
	}
	d.version = true
	return true
}

func (d *decoder) transaction() bool {
	tx := extend(&d.m.Transactions)
	*tx = Transaction{}
	return d.object("a transaction", func(name []byte) bool {
		switch string(name) {
		case "lsn":
			return d.parsed(func(s string) (err error) { tx.LSN, err = ParseLSN(s); return err })
		case "xid":
			n, ok := d.integer(32)
			tx.XID = uint32(n)
			return ok
		case "time":
			return d.parsed(func(s string) (err error) { tx.Time, err = time.Parse(time.RFC3339Nano, s); return err })
		}
		return d.skip()
	})
}

func (d *decoder) change() bool {
	c := extend(&d.m.Changes)
	*c = Change{OldKnown: OldNone, New: c.New[:0], Old: c.Old[:0], Unchanged: c.Unchanged[:0]}
	ok := d.object("a change", func(name []byte) bool {
		switch string(name) {
		case "tx":
			n, ok := d.integer(31)
			c.Tx = int(n)
			return ok
		case "op":
			return d.parsed(func(s string) (err error) { c.Op, err = parseOp(s); return err })
		case "new":
			c.New = c.New[:0]
			return d.row(&c.New)
		case "old":
			c.Old = c.Old[:0]
			return d.row(&c.Old)
		case "old_known":
			return d.parsed(func(s string) (err error) { c.OldKnown, err = parseOldKnown(s); return err })
		case "unchanged":
			c.Unchanged = c.Unchanged[:0]
			return d.names(&c.Unchanged)
		}
		return d.skip()
	})
	if ok && c.Op == "" {
		return d.fail("a change with an op before this")
	}
	return ok
}

// parseOp returns the constant, so that an Op never keeps a message's memory.
func parseOp(s string) (Op, error) {
	for _, op := range [...]Op{Update, Insert, Delete, Truncate, Bulk} {
		if s == string(op) {
			return op, nil
		}
	}
	return "", fmt.Errorf("unknown op %q", s)
}

func parseOldKnown(s string) (OldKnown, error) {
	for _, known := range [...]OldKnown{OldFull, OldKey, OldNone} {
		if s == string(known) {
			return known, nil
		}
	}
	return "", fmt.Errorf("unknown old_known %q", s)
}

func (d *decoder) row(row *Row) bool {
	return d.object("a row", func(name []byte) bool {
		c := extend((*[]Column)(row))
		c.Name = stringOf(name)
		return d.value(&c.Value)
	})
}

func (d *decoder) value(v *Value) bool {
	c := d.peek()
	start := d.pos
	switch c {
	case '"':
		text, ok := d.string("a string")
		*v = Value{Kind: String, Text: stringOf(text)}
		return ok
	case 't':
		*v = Value{Kind: Bool, Text: "true"}
		return d.literal("true") || d.fail("a value")
	case 'f':
		*v = Value{Kind: Bool, Text: "false"}
		return d.literal("false") || d.fail("a value")
	case 'n':
		*v = Value{}
		return d.null() || d.fail("a value")
	case '{', '[':
		ok := d.skip()
		*v = Value{Kind: JSON, Text: stringOf(d.data[start:d.pos])}
		return ok
	default:
		literal, ok := d.number("a value")
		*v = Value{Kind: Number, Text: stringOf(literal)}
		return ok
	}
}

func (d *decoder) names(names *[]string) bool {
	return d.array("names", func() bool { return d.text(extend(names)) })
}

func (d *decoder) text(dst *string) bool {
	text, ok := d.string("a string")
	*dst = stringOf(text)
	return ok
}

// parsed reads a string and hands it to parse; its error is reported with the
// place.
func (d *decoder) parsed(parse func(string) error) bool {
	d.peek()
	start := d.pos
	text, ok := d.string("a string")
	if !ok {
		return false
	}
	if err := parse(stringOf(text)); err != nil {
		d.err = fmt.Errorf("byte %d: %w", start, err)
		return false
	}
	return true
}

// integer reads a number that is not negative and fits the given bits.
func (d *decoder) integer(bits int) (uint64, bool) {
	d.peek()
	start := d.pos
	literal, ok := d.number("a number")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(stringOf(literal), 10, bits)
	if err != nil {
		d.pos = start
		return 0, d.fail(fmt.Sprintf("an integer of %d bits", bits))
	}
	return n, true
}

// extend makes room for one more element and returns it. What the memory held
// before is still in it, for its slices to be used again.
func extend[T any](s *[]T) *T {
	if len(*s) < cap(*s) {
		*s = (*s)[:len(*s)+1]
	} else {
		var zero T
		*s = append(*s, zero)
	}
	return &(*s)[len(*s)-1]
}
