package cdc

import (
	"strconv"
	"time"
)

// AppendJSON appends the message in its JSON form, which Decode reads. Text
// that is not valid UTF-8 is mended with U+FFFD, and a value whose text does
// not fit its kind is written as a string, so that the result is always valid
// JSON. OldKnown is written for updates and deletes, and elsewhere if it says
// more than nothing.
func (m *Message) AppendJSON(dst []byte) []byte {
	dst = appendHead(dst, m.Source, m.Epoch)
	dst = append(dst, m.LSN.String()...)
	dst = appendTable(dst, m.Schema, m.Table, m.Key)
	dst = append(dst, `,"transactions":[`...)
	for i, tx := range m.Transactions {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTransaction(dst, tx)
	}
	dst = append(dst, `],"changes":[`...)
	for i := range m.Changes {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.Changes[i].appendJSON(dst)
	}
	return append(dst, "]}"...)
}

// appendHead writes everything up to the message's LSN.
func appendHead(dst []byte, source string, epoch Epoch) []byte {
	dst = append(dst, `{"v":1,"source":`...)
	dst = appendString(dst, source)
	dst = append(dst, `,"epoch":`...)
	dst = appendString(dst, epoch.String())
	return append(dst, `,"lsn":"`...)
}

// appendTable writes everything between the message's LSN and its
// transactions.
func appendTable(dst []byte, schema, table string, key []string) []byte {
	dst = append(dst, `","schema":`...)
	dst = appendString(dst, schema)
	dst = append(dst, `,"table":`...)
	dst = appendString(dst, table)
	if len(key) > 0 {
		dst = append(dst, `,"key":`...)
		dst = appendNames(dst, key)
	}
	return dst
}

func appendTransaction(dst []byte, tx Transaction) []byte {
	dst = append(dst, `{"lsn":"`...)
	dst, _ = tx.LSN.AppendText(dst)
	dst = append(dst, `","xid":`...)
	dst = strconv.AppendUint(dst, uint64(tx.XID), 10)
	// RFC 3339 has years of four digits; no time stands for one that has none.
	if at := tx.Time.UTC(); !at.IsZero() && at.Year() >= 0 && at.Year() <= 9999 {
		dst = append(dst, `,"time":"`...)
		dst = at.AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func (c *Change) appendJSON(dst []byte) []byte {
	dst = appendOp(dst, c.Tx, c.Op)
	if len(c.New) > 0 {
		dst = append(dst, `,"new":`...)
		dst = c.New.appendJSON(dst)
	}
	if len(c.Old) > 0 {
		dst = append(dst, `,"old":`...)
		dst = c.Old.appendJSON(dst)
	}
	dst = appendOldKnown(dst, c.Op, c.OldKnown)
	if len(c.Unchanged) > 0 {
		dst = append(dst, `,"unchanged":`...)
		dst = appendNames(dst, c.Unchanged)
	}
	return append(dst, '}')
}

func appendOp(dst []byte, tx int, op Op) []byte {
	dst = append(dst, `{"tx":`...)
	dst = strconv.AppendInt(dst, int64(tx), 10)
	dst = append(dst, `,"op":"`...)
	dst = append(dst, op...)
	return append(dst, '"')
}

func appendOldKnown(dst []byte, op Op, known OldKnown) []byte {
	if known == "" {
		known = OldNone
	}
	if known == OldNone && op != Update && op != Delete {
		return dst
	}
	dst = append(dst, `,"old_known":"`...)
	dst = append(dst, known...)
	return append(dst, '"')
}

func (r Row) appendJSON(dst []byte) []byte {
	for i := range r {
		dst = append(dst, "{,"[min(i, 1)])
		dst = appendString(dst, r[i].Name)
		dst = append(dst, ':')
		dst = r[i].Value.appendJSON(dst)
	}
	return append(dst, '}')
}

func (v Value) appendJSON(dst []byte) []byte {
	text := bytesOf(v.Text)
	switch v.Kind {
	case Null:
		return append(dst, "null"...)
	case Number:
		if isNumber(text) {
			return append(dst, text...)
		}
	case Bool:
		if v.Text == "true" || v.Text == "false" {
			return append(dst, text...)
		}
	case JSON:
		if validJSON(text) && !plainDocument(text) {
			return append(dst, text...)
		}
	case String:
	}
	return appendString(dst, v.Text)
}

func appendNames(dst []byte, names []string) []byte {
	for i, name := range names {
		dst = append(dst, "[,"[min(i, 1)])
		dst = appendString(dst, name)
	}
	return append(dst, ']')
}
