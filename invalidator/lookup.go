package invalidator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

const (
	// lookupTime bounds one attempt at a lookup. A row whose lookup takes
	// longer is widened.
	lookupTime = 2 * time.Second
	// lookupAttempts is how often a lookup is tried.
	lookupAttempts = 2
	// awayTime bounds the one attempt while the database has not been
	// answering: everything else in the batch waits for it.
	awayTime = 300 * time.Millisecond
)

// kept is a message that waits for the answers to its lookups.
type kept struct {
	message *cdc.Message
	data    []byte
}

// answers holds the rows of each distinct lookup of one batch. They are never
// kept longer: the next batch may stand behind a change of what they read.
type answers map[string]answer

type answer struct {
	rows []cdc.Row
	err  error
}

// Rows implements rule.LookupResults.
func (a answers) Rows(l rule.Lookup) ([]cdc.Row, error) {
	found, ok := a[l.Key()]
	if !ok {
		return nil, errors.New("lookup was not queried")
	}
	return found.rows, found.err
}

var _ rule.LookupResults = answers(nil)

// answer queries the batch's lookups, which the evaluator has made distinct,
// and evaluates the messages that waited for them. A query comes after the
// change became visible, so it reads at least the state that the change left.
func (in *intake) answer(ctx context.Context, b *batch) {
	if len(in.kept) == 0 {
		return
	}
	found := make(answers, len(in.wanted))
	var away error
	for _, l := range in.wanted {
		var a answer
		if a.err = away; away == nil {
			a.rows, a.err = in.query(ctx, l)
			if a.err != nil && !refused(a.err) {
				away = a.err // the others would wait for the same
			}
		}
		found[l.Key()] = a
	}
	in.away = away != nil
	for i, k := range in.kept {
		in.evaluate(ctx, b, k.message, k.data, found)
		in.spare = append(in.spare, k.message)
		in.kept[i] = kept{}
	}
	in.kept, in.wanted = in.kept[:0], in.wanted[:0]
}

// query runs one lookup, and once more when the connection may have been at
// fault: an error widens every row that needs the answer.
func (in *intake) query(ctx context.Context, l rule.Lookup) ([]cdc.Row, error) {
	if in.v.lookups == nil {
		return nil, errors.New("no database connection for lookups")
	}
	if in.away {
		return in.v.queryOnce(ctx, awayTime, l)
	}
	retry := backoff{min: 50 * time.Millisecond, max: time.Second}
	for attempt := 1; ; attempt++ {
		rows, err := in.v.queryOnce(ctx, lookupTime, l)
		if err == nil || attempt == lookupAttempts || ctx.Err() != nil || refused(err) {
			return rows, err
		}
		retry.wait(ctx)
	}
}

// refused reports whether the database answered, and would answer the same a
// moment later. Connection exceptions, a server that stops or starts, a
// serialization failure and too many connections are not that.
func refused(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", "40", "53", "57":
		return false
	}
	return true
}

func (v *Invalidator) queryOnce(ctx context.Context, limit time.Duration, l rule.Lookup) ([]cdc.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	args := make([]any, 0, len(l.Args)+1)
	args = append(args, pgx.QueryResultFormats{pgx.TextFormatCode})
	for i, arg := range l.Args {
		if i < len(l.Null) && l.Null[i] {
			args = append(args, nil)
			continue
		}
		args = append(args, arg)
	}
	rows, err := v.lookups.Query(ctx, l.SQL, args...)
	if err != nil {
		return nil, fmt.Errorf("lookup: %w", err)
	}
	defer rows.Close()
	var out []cdc.Row
	for rows.Next() {
		fields, raw := rows.FieldDescriptions(), rows.RawValues()
		row := make(cdc.Row, len(fields))
		for i, f := range fields {
			value, err := textValue(f.DataTypeOID, raw[i])
			if err != nil {
				return nil, fmt.Errorf("lookup column %q: %w", f.Name, err)
			}
			row[i] = cdc.Column{Name: f.Name, Value: value}
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("lookup: %w", err)
	}
	return out, nil
}

// textValue turns a column's text form into the form that change messages
// carry, so that a template renders the same for both.
func textValue(oid uint32, raw []byte) (cdc.Value, error) {
	if raw == nil {
		return cdc.Value{Kind: cdc.Null}, nil
	}
	text := string(raw)
	switch oid {
	case pgtype.BoolOID:
		if text == "t" {
			return cdc.Value{Kind: cdc.Bool, Text: "true"}, nil
		}
		return cdc.Value{Kind: cdc.Bool, Text: "false"}, nil
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return cdc.Value{Kind: cdc.Number, Text: text}, nil
	case pgtype.Float4OID, pgtype.Float8OID:
		switch text {
		case "NaN", "Infinity", "-Infinity":
			return cdc.Value{Kind: cdc.String, Text: text}, nil
		}
		return cdc.Value{Kind: cdc.Number, Text: text}, nil
	case pgtype.JSONOID, pgtype.JSONBOID:
		return cdc.Value{Kind: cdc.JSON, Text: text}, nil
	case pgtype.TimestamptzOID:
		return timestamp(text, "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999Z07:00")
	case pgtype.TimestampOID:
		return timestamp(text, "2006-01-02 15:04:05.999999999")
	}
	return cdc.Value{Kind: cdc.String, Text: text}, nil
}

func timestamp(text string, layouts ...string) (cdc.Value, error) {
	switch text {
	case "infinity", "-infinity":
		return cdc.Value{Kind: cdc.String, Text: text}, nil
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return cdc.Value{Kind: cdc.String, Text: t.UTC().Format(time.RFC3339Nano)}, nil
		}
	}
	return cdc.Value{}, fmt.Errorf("time %q is not in ISO form: the connection's DateStyle must be ISO", text)
}
