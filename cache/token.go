package cache

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Token names a moment in a Postgres server's history. A read with
// AtLeast(token) sees every transaction whose COMMIT had returned when the
// token was taken. Tokens are short strings that travel in a header or a
// cookie.
type Token struct { //nolint:recvcheck // what reads into a token needs a pointer
	system   uint64
	timeline uint32
	lsn      LSN
}

// TokenQuery is the query that TokenFrom runs, for those who use another
// client: its one column is read by Token's Scan.
const TokenQuery = `select case when pg_current_xact_id_if_assigned() is not null then 'written' else concat_ws(':',
 (select system_identifier from pg_control_system()), substr(pg_walfile_name(lsn), 1, 8), lsn, current_setting('wal_block_size')) end
 from pg_current_wal_insert_lsn() as lsn`

// errWritten is returned for a token asked for too early.
var errWritten = errors.New("cache: the transaction has written and is not committed: take the token after COMMIT")

// TokenFrom asks the primary for a token. Call it after COMMIT has returned; in
// a transaction that has written it is an error. q is a pgx pool, connection or
// transaction; for database/sql scan TokenQuery's column into a Token.
func TokenFrom[R interface{ Scan(dest ...any) error }](
	ctx context.Context, q interface {
		QueryRow(ctx context.Context, sql string, args ...any) R
	},
) (Token, error) {
	var text string
	if err := q.QueryRow(ctx, TokenQuery).Scan(&text); err != nil {
		return Token{}, fmt.Errorf("ask for a token: %w", err)
	}
	var t Token
	if err := t.Scan(text); err != nil {
		return Token{}, err
	}
	return t, nil
}

// headerSize is the size of the largest header of a page of WAL. No record that
// begins on a page ends within so many bytes of its start.
const headerSize = 40

// Scan reads the column of TokenQuery.
func (t *Token) Scan(src any) error {
	var text string
	switch src := src.(type) {
	case string:
		text = src
	case []byte:
		text = string(src)
	default:
		return fmt.Errorf("scan token: got a %T, want the text of TokenQuery's column", src)
	}
	if text == "written" {
		return errWritten
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return fmt.Errorf("scan token: %q is not what TokenQuery returns", text)
	}
	block, err := strconv.ParseUint(text[i+1:], 10, 32)
	if err != nil || block == 0 {
		return fmt.Errorf("scan token: %q is not what TokenQuery returns", text)
	}
	parsed, err := ParseToken(text[:i])
	if err != nil {
		return err
	}
	// Behind a full page the next record begins after the next page's header,
	// a position that the stream of an idle server never reaches.
	if offset := uint64(parsed.lsn) % block; offset <= headerSize {
		parsed.lsn -= LSN(offset)
	}
	*t = parsed
	return nil
}

// String returns the token as text, for ParseToken.
func (t Token) String() string {
	if t == (Token{}) {
		return ""
	}
	return fmt.Sprintf("%d:%08X:%s", t.system, t.timeline, t.lsn)
}

// ParseToken reads what String returned. An empty text is the zero Token, which
// any cache satisfies that is being kept fresh.
func ParseToken(text string) (Token, error) {
	if text == "" {
		return Token{}, nil
	}
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Token{}, fmt.Errorf("token %q: want system:timeline:lsn", text)
	}
	system, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return Token{}, fmt.Errorf("token %q: system: %w", text, err)
	}
	timeline, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return Token{}, fmt.Errorf("token %q: timeline: %w", text, err)
	}
	lsn, err := ParseLSN(parts[2])
	if err != nil {
		return Token{}, fmt.Errorf("token %q: %w", text, err)
	}
	return Token{system: system, timeline: uint32(timeline), lsn: lsn}, nil
}

// MarshalText writes what String returns.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what String returned.
func (t *Token) UnmarshalText(text []byte) error {
	parsed, err := ParseToken(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// reached reports whether everything before the token has been applied where
// the position stands. LSNs of another server or timeline say nothing.
func (t Token) reached(p Position) bool {
	if t == (Token{}) {
		return true
	}
	system, rest, _ := strings.Cut(p.Epoch, ":")
	timeline, _, _ := strings.Cut(rest, ":")
	return system == strconv.FormatUint(t.system, 10) && timeline == strconv.FormatUint(uint64(t.timeline), 10) &&
		p.Watermark() >= t.lsn
}
