package pgoutput

import "fmt"

// Decoder decodes messages. The zero value is ready. It is not safe for
// concurrent use.
type Decoder struct {
	begin    Begin
	commit   Commit
	origin   Origin
	relation Relation
	typ      Type
	insert   Insert
	update   Update
	del      Delete
	truncate Truncate
	logical  LogicalMessage

	// The tuples' memory, apart from the messages so that a message without
	// an old image does not lose the memory of the one before.
	oldTuple, newTuple Tuple
}

// Decode decodes one message. The message and what it points to are valid
// until the next call; column data alias data. The error is a *SyntaxError.
func (d *Decoder) Decode(data []byte) (Message, error) {
	if len(data) == 0 {
		return nil, &SyntaxError{Message: "message", Want: "kind of message", Have: "0 bytes left"}
	}
	// Rows first: they are what there are many of.
	switch data[0] {
	case 'I':
		return d.decodeInsert(data)
	case 'U':
		return d.decodeUpdate(data)
	case 'D':
		return d.decodeDelete(data)
	case 'B':
		return d.decodeBegin(data)
	case 'C':
		return d.decodeCommit(data)
	case 'R':
		return d.decodeRelation(data)
	case 'T':
		return d.decodeTruncate(data)
	case 'Y':
		return d.decodeType(data)
	case 'O':
		return d.decodeOrigin(data)
	case 'M':
		return d.decodeLogical(data)
	}
	return nil, &SyntaxError{Message: "message", Want: "kind of message of protocol version 1", Have: quoted(data[0])}
}

func (d *Decoder) decodeBegin(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "begin"}
	m := &d.begin
	m.FinalLSN = r.lsn("final LSN")
	m.Time = r.time("commit time")
	m.XID = r.uint32("transaction id")
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeCommit(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "commit"}
	m := &d.commit
	m.Flags = r.byte("flags")
	m.LSN = r.lsn("commit LSN")
	m.End = r.lsn("end LSN")
	m.Time = r.time("commit time")
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeOrigin(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "origin"}
	m := &d.origin
	m.LSN = r.lsn("commit LSN")
	m.Name = r.string("name")
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeRelation(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "relation"}
	m := &d.relation
	m.OID = r.uint32("OID")
	m.Namespace = r.namespace()
	m.Name = r.string("name")
	m.Identity = Identity(r.byte("replica identity"))
	n := int(r.uint16("number of columns"))
	// flags, the name's zero byte, type and modifier
	const least = 1 + 1 + 4 + 4
	if n*least > len(data)-r.off {
		r.short(fmt.Sprintf("%d columns", n))
	}
	if r.err != nil {
		return nil, r.err
	}
	m.Columns = make([]RelationColumn, n)
	for i := range m.Columns {
		c := &m.Columns[i]
		c.Key = r.byte("flags of column")&1 != 0
		c.Name = r.string("name of column")
		c.Type = r.uint32("type of column")
		c.Modifier = int32(r.uint32("type modifier of column"))
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeType(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "type"}
	m := &d.typ
	m.OID = r.uint32("OID")
	m.Namespace = r.namespace()
	m.Name = r.string("name")
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeInsert(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "insert"}
	m := &d.insert
	m.Relation = r.uint32("OID of relation")
	if kind := r.byte("kind of tuple"); kind != 'N' && r.err == nil {
		r.off--
		r.fail("kind of tuple N", quoted(kind))
	}
	m.New = d.readNew(&r)
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeUpdate(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "update"}
	m := &d.update
	m.Relation = r.uint32("OID of relation")
	m.OldKind, m.Old = OldNone, nil
	kind := r.byte("kind of tuple")
	switch OldKind(kind) {
	case OldKey, OldFull:
		m.OldKind = OldKind(kind)
		m.Old = d.readOld(&r)
		kind = r.byte("kind of tuple")
	}
	if kind != 'N' && r.err == nil {
		r.off--
		want := "kind of tuple K, O or N"
		if m.OldKind != OldNone {
			want = "kind of tuple N"
		}
		r.fail(want, quoted(kind))
	}
	m.New = d.readNew(&r)
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeDelete(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "delete"}
	m := &d.del
	m.Relation = r.uint32("OID of relation")
	kind := r.byte("kind of tuple")
	m.OldKind = OldKind(kind)
	if m.OldKind != OldKey && m.OldKind != OldFull && r.err == nil {
		r.off--
		r.fail("kind of tuple K or O", quoted(kind))
	}
	m.Old = d.readOld(&r)
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) readOld(r *reader) Tuple {
	t := r.tuple(d.oldTuple)
	if t != nil {
		d.oldTuple = t
	}
	return t
}

func (d *Decoder) readNew(r *reader) Tuple {
	t := r.tuple(d.newTuple)
	if t != nil {
		d.newTuple = t
	}
	return t
}

func (d *Decoder) decodeTruncate(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "truncate"}
	m := &d.truncate
	n := r.uint32("number of relations")
	options := r.byte("options")
	m.Cascade = options&1 != 0
	m.RestartIdentity = options&2 != 0
	if uint64(n)*4 > uint64(len(data)-r.off) {
		r.short(fmt.Sprintf("%d OIDs of relations", n))
	}
	if r.err != nil {
		return nil, r.err
	}
	m.Relations = m.Relations[:0]
	for range n {
		m.Relations = append(m.Relations, r.uint32("OID of relation"))
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *Decoder) decodeLogical(data []byte) (Message, error) {
	r := reader{data: data, off: 1, name: "logical message"}
	m := &d.logical
	m.Transactional = r.byte("flags")&1 != 0
	m.LSN = r.lsn("LSN")
	m.Prefix = r.string("prefix")
	m.Content = r.bytes(r.uint32("length of content"), "content")
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}
