package pgoutput_test

import (
	"encoding/binary"
	"time"

	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// encode writes a message as the server does. It is the decoder's inverse and
// knows nothing of it.
func encode(m pgoutput.Message) []byte {
	var b []byte
	switch m := m.(type) {
	case *pgoutput.Begin:
		b = append(b, 'B')
		b = binary.BigEndian.AppendUint64(b, uint64(m.FinalLSN))
		b = appendTime(b, m.Time)
		b = binary.BigEndian.AppendUint32(b, m.XID)
	case *pgoutput.Commit:
		b = append(b, 'C', m.Flags)
		b = binary.BigEndian.AppendUint64(b, uint64(m.LSN))
		b = binary.BigEndian.AppendUint64(b, uint64(m.End))
		b = appendTime(b, m.Time)
	case *pgoutput.Origin:
		b = append(b, 'O')
		b = binary.BigEndian.AppendUint64(b, uint64(m.LSN))
		b = appendString(b, m.Name)
	case *pgoutput.Relation:
		b = append(b, 'R')
		b = binary.BigEndian.AppendUint32(b, m.OID)
		b = appendString(b, m.Namespace)
		b = appendString(b, m.Name)
		b = append(b, byte(m.Identity))
		b = binary.BigEndian.AppendUint16(b, uint16(len(m.Columns)))
		for _, c := range m.Columns {
			b = append(b, bit(c.Key))
			b = appendString(b, c.Name)
			b = binary.BigEndian.AppendUint32(b, c.Type)
			b = binary.BigEndian.AppendUint32(b, uint32(c.Modifier))
		}
	case *pgoutput.Type:
		b = append(b, 'Y')
		b = binary.BigEndian.AppendUint32(b, m.OID)
		b = appendString(b, m.Namespace)
		b = appendString(b, m.Name)
	case *pgoutput.Insert:
		b = append(b, 'I')
		b = binary.BigEndian.AppendUint32(b, m.Relation)
		b = appendTuple(append(b, 'N'), m.New)
	case *pgoutput.Update:
		b = append(b, 'U')
		b = binary.BigEndian.AppendUint32(b, m.Relation)
		if m.OldKind != pgoutput.OldNone {
			b = appendTuple(append(b, byte(m.OldKind)), m.Old)
		}
		b = appendTuple(append(b, 'N'), m.New)
	case *pgoutput.Delete:
		b = append(b, 'D')
		b = binary.BigEndian.AppendUint32(b, m.Relation)
		b = appendTuple(append(b, byte(m.OldKind)), m.Old)
	case *pgoutput.Truncate:
		b = append(b, 'T')
		b = binary.BigEndian.AppendUint32(b, uint32(len(m.Relations)))
		b = append(b, bit(m.Cascade)|bit(m.RestartIdentity)<<1)
		for _, oid := range m.Relations {
			b = binary.BigEndian.AppendUint32(b, oid)
		}
	case *pgoutput.LogicalMessage:
		b = append(b, 'M', bit(m.Transactional))
		b = binary.BigEndian.AppendUint64(b, uint64(m.LSN))
		b = appendString(b, m.Prefix)
		b = binary.BigEndian.AppendUint32(b, uint32(len(m.Content)))
		b = append(b, m.Content...)
	}
	return b
}

func bit(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte { return append(append(b, s...), 0) }

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMicro()-y2k.UnixMicro()))
}

func appendTuple(b []byte, t pgoutput.Tuple) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(t)))
	for _, c := range t {
		b = append(b, byte(c.Kind))
		if c.Kind == pgoutput.Text || c.Kind == pgoutput.Binary {
			b = binary.BigEndian.AppendUint32(b, uint32(len(c.Data)))
			b = append(b, c.Data...)
		}
	}
	return b
}

var y2k = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// samples holds a message of every kind, and rows of every shape.
func samples() []pgoutput.Message {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
	text := func(s string) pgoutput.Column { return pgoutput.Column{Kind: pgoutput.Text, Data: []byte(s)} }
	null := pgoutput.Column{Kind: pgoutput.Null}
	toast := pgoutput.Column{Kind: pgoutput.Unchanged}
	binary := pgoutput.Column{Kind: pgoutput.Binary, Data: []byte{0, 1, 2}}
	row := pgoutput.Tuple{text("42"), text("9"), null, toast, text(""), text("naïve 🌊\nline"), binary}
	old := pgoutput.Tuple{text("42"), text("7"), null, text("long"), null, text("x"), null}
	key := pgoutput.Tuple{text("41"), null, null, null, null, null, null}
	return []pgoutput.Message{
		&pgoutput.Begin{FinalLSN: 0x1_0000_0010, Time: at, XID: 731},
		&pgoutput.Commit{LSN: 0x1_0000_0010, End: 0x1_0000_0040, Time: at},
		&pgoutput.Origin{LSN: 77, Name: "other"},
		&pgoutput.Relation{OID: 16385, Namespace: "public", Name: "Order", Identity: pgoutput.IdentityDefault, Columns: []pgoutput.RelationColumn{
			{Key: true, Name: "id", Type: 20, Modifier: -1},
			{Name: "clientId", Type: 1700, Modifier: 655366},
		}},
		&pgoutput.Relation{OID: 1, Namespace: "s", Name: "empty", Identity: pgoutput.IdentityNothing, Columns: []pgoutput.RelationColumn{}},
		&pgoutput.Type{OID: 16400, Namespace: "public", Name: "status"},
		&pgoutput.Insert{Relation: 16385, New: row},
		&pgoutput.Update{Relation: 16385, New: row},
		&pgoutput.Update{Relation: 16385, OldKind: pgoutput.OldKey, Old: key, New: row},
		&pgoutput.Update{Relation: 16385, OldKind: pgoutput.OldFull, Old: old, New: row},
		&pgoutput.Delete{Relation: 16385, OldKind: pgoutput.OldKey, Old: key},
		&pgoutput.Delete{Relation: 16385, OldKind: pgoutput.OldFull, Old: old},
		&pgoutput.Truncate{Cascade: true, Relations: []uint32{16385, 16390}},
		&pgoutput.Truncate{RestartIdentity: true, Relations: []uint32{1}},
		&pgoutput.LogicalMessage{Transactional: true, LSN: 5, Prefix: "freshet", Content: []byte("beat")},
		&pgoutput.LogicalMessage{LSN: 6, Prefix: "", Content: []byte{}},
	}
}
