package rule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// ChangeText is a row change as people describe it, to be explained.
type ChangeText struct {
	// Table is schema.table; public if the schema is omitted.
	Table string `json:"table"`
	// Op is insert, update, delete or truncate. Empty is update where Old is given,
	// else insert.
	Op string `json:"op,omitempty"`
	// Row is the row after the change, as a JSON object; for a delete the row before it.
	Row json.RawMessage `json:"row"`
	// Old is the row before an update; only the columns that differ need be given.
	Old json.RawMessage `json:"old,omitempty"`
}

// Message builds the change message that the text describes.
func (c ChangeText) Message() (*cdc.Message, error) {
	name, err := ParseTable(c.Table)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	row, err := rowOf(c.Row)
	if err != nil {
		return nil, fmt.Errorf("row %s: %w", c.Row, err)
	}
	var old cdc.Row
	if len(c.Old) > 0 {
		if old, err = rowOf(c.Old); err != nil {
			return nil, fmt.Errorf("old row %s: %w", c.Old, err)
		}
	}
	op := c.Op
	switch {
	case op != "":
	case len(c.Old) > 0:
		op = string(cdc.Update)
	default:
		op = string(cdc.Insert)
	}
	change := cdc.Change{Op: cdc.Op(op)}
	switch change.Op {
	case cdc.Insert:
		change.New, change.OldKnown = row, cdc.OldNone
	case cdc.Update:
		change.New, change.Old, change.OldKnown = row, old, cdc.OldFull
	case cdc.Delete:
		change.Old, change.OldKnown = row, cdc.OldFull
		if len(c.Old) > 0 {
			change.Old = old
		}
	case cdc.Truncate:
		change.OldKnown = cdc.OldNone
	case cdc.Bulk:
		fallthrough
	default:
		return nil, fmt.Errorf("op %q: want insert, update, delete or truncate", op)
	}
	return &cdc.Message{
		Schema: name.Schema, Table: name.Table,
		Transactions: []cdc.Transaction{{}},
		Changes:      []cdc.Change{change},
	}, nil
}

// rowOf reads a JSON object as a row, keeping its order and its numbers as
// they are written.
func rowOf(text []byte) (cdc.Row, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	token, err := decoder.Token()
	if err != nil || token != json.Delim('{') {
		return nil, errors.New("want a JSON object such as '{\"id\":42}'")
	}
	var row cdc.Row
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil {
			return nil, fmt.Errorf("not a JSON object: %w", err)
		}
		if !ok {
			return nil, errors.New("not a JSON object")
		}
		var raw json.RawMessage
		switch err := decoder.Decode(&raw); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("column %s: the JSON ends too early", name)
		case err != nil:
			return nil, fmt.Errorf("column %s: not JSON: %w", name, err)
		}
		value, err := jsonValue(raw)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		row = append(row, cdc.Column{Name: name, Value: value})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	return row, nil
}

func jsonValue(raw json.RawMessage) (cdc.Value, error) {
	switch raw[0] {
	case 'n':
		return cdc.Value{}, nil
	case 't', 'f':
		return cdc.Value{Kind: cdc.Bool, Text: string(raw)}, nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return cdc.Value{Kind: cdc.String, Text: text}, err
	case '{', '[':
		return cdc.Value{Kind: cdc.JSON, Text: string(raw)}, nil
	}
	return cdc.Value{Kind: cdc.Number, Text: string(raw)}, nil
}
