package pgoutput_test

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// compare parses data with pglogrepl and says how its message differs from m;
// empty for not at all. It is called only with what our decoder accepted.
func compare(m pgoutput.Message, data []byte) (difference string) {
	defer func() {
		if r := recover(); r != nil {
			difference = fmt.Sprintf("pglogrepl panicked: %v", r)
		}
	}()
	theirs, err := pglogrepl.Parse(data)
	if err != nil {
		if stricter(m) {
			return ""
		}
		return "pglogrepl: " + err.Error()
	}
	var c comparison
	switch m := m.(type) {
	case *pgoutput.Begin:
		t := theirs.(*pglogrepl.BeginMessage)
		c.equal("lsn", m.FinalLSN, cdc.LSN(t.FinalLSN))
		c.equal("xid", m.XID, t.Xid)
		c.time(m.Time, t.CommitTime)
	case *pgoutput.Commit:
		t := theirs.(*pglogrepl.CommitMessage)
		c.equal("flags", m.Flags, t.Flags)
		c.equal("lsn", m.LSN, cdc.LSN(t.CommitLSN))
		c.equal("end", m.End, cdc.LSN(t.TransactionEndLSN))
		c.time(m.Time, t.CommitTime)
	case *pgoutput.Origin:
		t := theirs.(*pglogrepl.OriginMessage)
		c.equal("lsn", m.LSN, cdc.LSN(t.CommitLSN))
		c.equal("name", m.Name, t.Name)
	case *pgoutput.Relation:
		t := theirs.(*pglogrepl.RelationMessage)
		c.equal("oid", m.OID, t.RelationID)
		if t.Namespace != "" { // ours spells out pg_catalog
			c.equal("namespace", m.Namespace, t.Namespace)
		}
		c.equal("name", m.Name, t.RelationName)
		c.equal("identity", byte(m.Identity), t.ReplicaIdentity)
		if c.equal("columns", len(m.Columns), len(t.Columns)); c != "" {
			break
		}
		for i, col := range m.Columns {
			c.equal("key", col.Key, t.Columns[i].Flags&1 != 0)
			c.equal("column", col.Name, t.Columns[i].Name)
			c.equal("type", col.Type, t.Columns[i].DataType)
			c.equal("modifier", col.Modifier, t.Columns[i].TypeModifier)
		}
	case *pgoutput.Type:
		t := theirs.(*pglogrepl.TypeMessage)
		c.equal("oid", m.OID, t.DataType)
		if t.Namespace != "" {
			c.equal("namespace", m.Namespace, t.Namespace)
		}
		c.equal("name", m.Name, t.Name)
	case *pgoutput.Insert:
		t := theirs.(*pglogrepl.InsertMessage)
		c.equal("relation", m.Relation, t.RelationID)
		c.tuple("new", m.New, t.Tuple)
	case *pgoutput.Update:
		t := theirs.(*pglogrepl.UpdateMessage)
		c.equal("relation", m.Relation, t.RelationID)
		c.equal("old kind", byte(m.OldKind), t.OldTupleType)
		c.tuple("old", m.Old, t.OldTuple)
		c.tuple("new", m.New, t.NewTuple)
	case *pgoutput.Delete:
		t := theirs.(*pglogrepl.DeleteMessage)
		c.equal("relation", m.Relation, t.RelationID)
		c.equal("old kind", byte(m.OldKind), t.OldTupleType)
		c.tuple("old", m.Old, t.OldTuple)
	case *pgoutput.Truncate:
		t := theirs.(*pglogrepl.TruncateMessage)
		c.equal("cascade", m.Cascade, t.Option&pglogrepl.TruncateOptionCascade != 0)
		c.equal("restart identity", m.RestartIdentity, t.Option&pglogrepl.TruncateOptionRestartIdentity != 0)
		c.equal("relations", fmt.Sprint(m.Relations), fmt.Sprint(t.RelationIDs))
	case *pgoutput.LogicalMessage:
		t := theirs.(*pglogrepl.LogicalDecodingMessage)
		if data[1] <= 1 { // theirs takes any other value for false
			c.equal("transactional", m.Transactional, t.Transactional)
		}
		c.equal("lsn", m.LSN, cdc.LSN(t.LSN))
		c.equal("prefix", m.Prefix, t.Prefix)
		c.equal("content", string(m.Content), string(t.Content))
	default:
		return fmt.Sprintf("unknown message %T", m)
	}
	return string(c)
}

// stricter names the valid messages that pglogrepl refuses for their length:
// rows of a table without columns, and a TRUNCATE of no table.
func stricter(m pgoutput.Message) bool {
	switch m := m.(type) {
	case *pgoutput.Insert:
		return len(m.New) == 0
	case *pgoutput.Truncate:
		return len(m.Relations) == 0
	}
	return false
}

// comparison is the first difference found.
type comparison string

func (c *comparison) equal(what string, ours, theirs any) {
	if *c == "" && ours != theirs {
		*c = comparison(fmt.Sprintf("%s: got %v, want %v", what, ours, theirs))
	}
}

func (c *comparison) time(ours, theirs time.Time) {
	// pglogrepl computes in nanoseconds, which hold 292 years each way.
	const limit = math.MaxInt64 / 1000
	if micros := ours.UnixMicro(); micros < limit && micros > -limit {
		c.equal("time", ours.UnixMicro(), theirs.UnixMicro())
	}
}

func (c *comparison) tuple(what string, ours pgoutput.Tuple, theirs *pglogrepl.TupleData) {
	if theirs == nil {
		c.equal(what, len(ours), 0)
		return
	}
	if c.equal(what, len(ours), len(theirs.Columns)); *c != "" {
		return
	}
	for i, col := range ours {
		c.equal(what, byte(col.Kind), theirs.Columns[i].DataType)
		if !bytes.Equal(col.Data, theirs.Columns[i].Data) {
			c.equal(what, string(col.Data), string(theirs.Columns[i].Data))
		}
	}
}
