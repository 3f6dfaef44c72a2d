package consumer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

var testEpoch = cdc.Epoch{System: 7301, Timeline: 1}

// sent is a message as emit got it.
type sent struct {
	schema, table string
	lsn           cdc.LSN
	rows          int
	data          []byte
}

// collector keeps what a batcher emits.
type collector struct{ messages []sent }

func (c *collector) emit(schema, table string, lsn cdc.LSN, rows int, data []byte) error {
	c.messages = append(c.messages, sent{schema, table, lsn, rows, data})
	return nil
}

// changes returns the changes of all messages as JSON, without "tx".
func (c *collector) changes(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, m := range c.messages {
		var body struct{ Changes []json.RawMessage }
		if err := json.Unmarshal(m.data, &body); err != nil {
			t.Fatalf("%s: %v", m.data, err)
		}
		for _, change := range body.Changes {
			_, rest, _ := strings.Cut(string(change), ",")
			all = append(all, "{"+rest)
		}
	}
	return all
}

func itself(_ uint32, schema, name string) (cdc.TableName, bool, error) {
	return cdc.TableName{Schema: schema, Table: name}, true, nil
}

func testBatcher(c *collector, tables ...Table) *batcher {
	return newBatcher(batcherConfig{source: "shop", epoch: testEpoch, tables: tables, rootOf: itself, emit: c.emit})
}

func textTuple(values ...any) pgoutput.Tuple {
	var tuple pgoutput.Tuple
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			tuple = append(tuple, pgoutput.Column{Kind: pgoutput.Null})
		case pgoutput.Kind:
			tuple = append(tuple, pgoutput.Column{Kind: v})
		default:
			tuple = append(tuple, pgoutput.Column{Kind: pgoutput.Text, Data: []byte(fmt.Sprint(v))})
		}
	}
	return tuple
}

// ordersRelation has the columns id (key), client_id, status, note.
func ordersRelation(oid uint32, name string, identity pgoutput.Identity) *pgoutput.Relation {
	full := identity == pgoutput.IdentityFull
	keyed := identity == pgoutput.IdentityDefault || identity == pgoutput.IdentityIndex || full
	return &pgoutput.Relation{OID: oid, Namespace: "public", Name: name, Identity: identity, Columns: []pgoutput.RelationColumn{
		{Name: "id", Type: 20, Key: keyed},
		{Name: "client_id", Type: 23, Key: full},
		{Name: "status", Type: 25, Key: full},
		{Name: "note", Type: 25, Key: full},
	}}
}

var orders = Table{Schema: "public", Name: "orders", All: true}

func testTx(n uint64) cdc.Transaction {
	return cdc.Transaction{LSN: cdc.LSN(n * 16), XID: uint32(700 + n), Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
}

func applyAll(t testing.TB, b *batcher, messages ...pgoutput.Message) {
	t.Helper()
	for _, m := range messages {
		if err := b.apply(m); err != nil {
			t.Fatal(err)
		}
	}
}

func flushed(t testing.TB, b *batcher) {
	t.Helper()
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if b.pending() != 0 {
		t.Errorf("after flush %d bytes are pending", b.pending())
	}
}

func TestBatcherOldImages(t *testing.T) {
	t.Parallel()
	const u = pgoutput.Unchanged
	for _, test := range []struct {
		name     string
		identity pgoutput.Identity
		change   pgoutput.Message
		want     string
	}{
		{
			"insert", pgoutput.IdentityDefault,
			&pgoutput.Insert{Relation: 1, New: textTuple(42, 9, "PAID", nil)},
			`{"op":"insert","new":{"id":42,"client_id":9,"status":"PAID","note":null}}`,
		},
		{
			"default, key unchanged", pgoutput.IdentityDefault,
			&pgoutput.Update{Relation: 1, New: textTuple(42, 9, "PAID", "x")},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"PAID","note":"x"},"old_known":"key"}`,
		},
		{
			"default, key changed", pgoutput.IdentityDefault,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldKey, Old: textTuple(41, nil, nil, nil), New: textTuple(42, 9, "PAID", "x")},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"PAID","note":"x"},"old":{"id":41},"old_known":"key"}`,
		},
		{
			"default, long key sent and unchanged", pgoutput.IdentityDefault,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldKey, Old: textTuple(42, nil, nil, nil), New: textTuple(u, 9, "PAID", u)},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"PAID"},"old_known":"key","unchanged":["note"]}`,
		},
		{
			"default, unchanged long value", pgoutput.IdentityDefault,
			&pgoutput.Update{Relation: 1, New: textTuple(42, 9, "PAID", u)},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"PAID"},"old_known":"key","unchanged":["note"]}`,
		},
		{
			"index, delete", pgoutput.IdentityIndex,
			&pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldKey, Old: textTuple(42, nil, nil, nil)},
			`{"op":"delete","old":{"id":42},"old_known":"key"}`,
		},
		{
			"full", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "NEW", nil), New: textTuple(42, 9, "NEW", "x")},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"NEW","note":"x"},"old":{"client_id":7,"note":null},"old_known":"full"}`,
		},
		{
			"full, null after", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "", "x"), New: textTuple(42, 7, nil, "x")},
			`{"op":"update","new":{"id":42,"client_id":7,"status":null,"note":"x"},"old":{"status":""},"old_known":"full"}`,
		},
		{
			"full, nothing differs", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "a", nil), New: textTuple(42, 7, "a", nil)},
			`{"op":"update","new":{"id":42,"client_id":7,"status":"a","note":null},"old_known":"full"}`,
		},
		{
			"full, unchanged long value", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "a", "long"), New: textTuple(42, 9, "a", u)},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"a","note":"long"},"old":{"client_id":7},"old_known":"full"}`,
		},
		{
			"full, old value not sent", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "a", u), New: textTuple(42, 7, "a", "y")},
			`{"op":"update","new":{"id":42,"client_id":7,"status":"a","note":"y"},"old_known":"none"}`,
		},
		{
			"full, neither sent", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "a", u), New: textTuple(42, 7, "b", u)},
			`{"op":"update","new":{"id":42,"client_id":7,"status":"b"},"old":{"status":"a"},"old_known":"full","unchanged":["note"]}`,
		},
		{
			"full, delete", pgoutput.IdentityFull,
			&pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "a", nil)},
			`{"op":"delete","old":{"id":42,"client_id":7,"status":"a","note":null},"old_known":"full"}`,
		},
		{
			"full, delete with a value not sent", pgoutput.IdentityFull,
			&pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(42, 7, "a", u)},
			`{"op":"delete","old":{"id":42,"client_id":7,"status":"a"},"old_known":"none"}`,
		},
		{
			"full, no old image", pgoutput.IdentityFull,
			&pgoutput.Update{Relation: 1, New: textTuple(42, 9, "a", nil)},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"a","note":null},"old_known":"none"}`,
		},
		{
			"nothing", pgoutput.IdentityNothing,
			&pgoutput.Update{Relation: 1, New: textTuple(42, 9, "a", u)},
			`{"op":"update","new":{"id":42,"client_id":9,"status":"a"},"old_known":"none","unchanged":["note"]}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c collector
			b := testBatcher(&c, orders)
			b.begin(testTx(1))
			applyAll(t, b, ordersRelation(1, "orders", test.identity), test.change)
			flushed(t, b)
			if got, want := c.changes(t), []string{test.want}; !slices.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestBatcherMessage holds the whole message against the contract.
func TestBatcherMessage(t *testing.T) {
	t.Parallel()
	var c collector
	b := testBatcher(&c, Table{Schema: "public", Name: "orders", Columns: []string{"client_id", "id", "gone"}})
	b.begin(testTx(1))
	applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityDefault),
		&pgoutput.Insert{Relation: 1, New: textTuple(1, 7, "a", "x")})
	b.begin(testTx(2)) // touches nothing of ours
	b.begin(testTx(3))
	applyAll(t, b,
		&pgoutput.Update{Relation: 1, New: textTuple(1, 8, "a", "x")},
		&pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldKey, Old: textTuple(1, nil, nil, nil)})
	flushed(t, b)
	const want = `{"v":1,"source":"shop","epoch":"7301:1:0","lsn":"0/30","schema":"public","table":"orders","key":["id"],` +
		`"transactions":[{"lsn":"0/10","xid":701,"time":"2026-11-23T10:00:00Z"},{"lsn":"0/30","xid":703,"time":"2026-11-23T10:00:00Z"}],` +
		`"changes":[{"tx":0,"op":"insert","new":{"id":1,"client_id":7}},` +
		`{"tx":1,"op":"update","new":{"id":1,"client_id":8},"old_known":"key"},{"tx":1,"op":"delete","old":{"id":1},"old_known":"key"}]}`
	if len(c.messages) != 1 {
		t.Fatalf("got %d messages, want 1", len(c.messages))
	}
	m := c.messages[0]
	if string(m.data) != want {
		t.Errorf("got  %s\nwant %s", m.data, want)
	}
	if m.schema != "public" || m.table != "orders" || m.lsn != 0x30 || m.rows != 3 {
		t.Errorf("emitted as %s.%s, lsn %s, %d rows", m.schema, m.table, m.lsn, m.rows)
	}
	var decoded cdc.Message
	if err := cdc.Decode(m.data, &decoded); err != nil {
		t.Fatal(err)
	}
	if got := decoded.AppendJSON(nil); !bytes.Equal(got, m.data) {
		t.Errorf("encoded again:\ngot  %s\nwant %s", got, m.data)
	}
}

func TestBatcherOps(t *testing.T) {
	t.Parallel()
	var c collector
	b := testBatcher(&c, Table{Schema: "public", Name: "orders", Columns: []string{"id"}, Ops: []cdc.Op{cdc.Update, cdc.Truncate}})
	b.cfg.rootOf = func(oid uint32, schema, name string) (cdc.TableName, bool, error) {
		return cdc.TableName{Schema: "public", Table: "orders"}, name != "other", nil
	}
	b.begin(testTx(1))
	rows := func(oid uint32) {
		applyAll(t, b,
			&pgoutput.Insert{Relation: oid, New: textTuple(1, 7, "a", "x")},
			&pgoutput.Update{Relation: oid, New: textTuple(2, 8, "a", "x")},
			&pgoutput.Delete{Relation: oid, OldKind: pgoutput.OldKey, Old: textTuple(3, nil, nil, nil)})
	}
	applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityDefault), ordersRelation(2, "other", pgoutput.IdentityDefault),
		ordersRelation(3, "orders_2026", pgoutput.IdentityDefault))
	rows(1)
	rows(2)
	rows(3) // a leaf: an UPDATE may come as DELETE and INSERT
	applyAll(t, b, &pgoutput.Truncate{Relations: []uint32{2, 3, 1}})
	flushed(t, b)
	want := []string{
		`{"op":"update","new":{"id":2},"old_known":"key"}`,
		`{"op":"insert","new":{"id":1}}`,
		`{"op":"update","new":{"id":2},"old_known":"key"}`,
		`{"op":"delete","old":{"id":3},"old_known":"key"}`,
		`{"op":"truncate"}`,
	}
	if got := c.changes(t); !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(c.messages) != 1 {
		t.Errorf("got %d messages, want one: partitions of one shape share it", len(c.messages))
	}
	counted := map[cdc.Op]uint64{}
	b.counts(func(_ cdc.TableName, op cdc.Op, n uint64) { counted[op] += n })
	if got, want := fmt.Sprint(counted), "map[delete:1 insert:1 truncate:1 update:2]"; got != want {
		t.Errorf("counts: got %s, want %s", got, want)
	}
}

func TestBatcherFillsMessages(t *testing.T) {
	t.Parallel()
	var c collector
	b := testBatcher(&c, orders, Table{Schema: "public", Name: "clients", All: true})
	b.cfg.chunk = 10
	applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityDefault), ordersRelation(2, "clients", pgoutput.IdentityDefault))
	for tx := range 25 {
		b.begin(testTx(uint64(tx + 1)))
		applyAll(t, b,
			&pgoutput.Insert{Relation: 2, New: textTuple(tx, 7, "a", "x")},
			&pgoutput.Insert{Relation: 1, New: textTuple(tx, 7, "a", "x")})
	}
	flushed(t, b)
	var got []string
	for _, m := range c.messages {
		var decoded cdc.Message
		if err := cdc.Decode(m.data, &decoded); err != nil {
			t.Fatal(err)
		}
		if decoded.LSN != m.lsn || len(decoded.Changes) != m.rows || len(decoded.Transactions) != m.rows {
			t.Errorf("message says lsn %s, %d changes, %d transactions; emitted lsn %s, %d rows",
				decoded.LSN, len(decoded.Changes), len(decoded.Transactions), m.lsn, m.rows)
		}
		got = append(got, fmt.Sprintf("%s %d to %d", m.table, m.rows, m.lsn/16))
	}
	want := []string{"clients 10 to 10", "orders 10 to 10", "clients 10 to 20", "orders 10 to 20", "clients 5 to 25", "orders 5 to 25"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBatcherLimitsBytes(t *testing.T) {
	t.Parallel()
	var c collector
	b := testBatcher(&c, orders, Table{Schema: "public", Name: "clients", All: true})
	applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityDefault), ordersRelation(2, "clients", pgoutput.IdentityDefault))
	b.begin(testTx(1))
	row := func(oid uint32, id, size int, filler string) {
		applyAll(t, b, &pgoutput.Insert{Relation: oid, New: textTuple(id, 7, "a", strings.Repeat(filler, size))})
	}
	for i := range 20 {
		row(1, i, 100<<10, "x")
	}
	row(1, 100, 500<<10, "x")       // large, but fits
	row(1, 101, 600<<10, "x")       // does not
	row(1, 102, 300<<10, "\"")      // does not once escaped
	row(1, 103, 1, "after")         // goes on
	row(2, 104, 8<<20, "\x01")      // not even encoded
	row(2, 105, 1, "not \xff text") // not UTF-8
	flushed(t, b)
	seen := map[string]int{}
	for _, m := range c.messages {
		if len(m.data) > 900<<10 {
			t.Errorf("a message has %d bytes", len(m.data))
		}
		var decoded cdc.Message
		if err := cdc.Decode(m.data, &decoded); err != nil {
			t.Fatal(err)
		}
		for _, change := range decoded.Changes {
			seen[m.table+" "+string(change.Op)]++
		}
	}
	if got, want := fmt.Sprint(seen), "map[clients bulk:1 orders bulk:1 orders insert:22]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// The next transaction's large row is told again.
	c.messages = nil
	b.begin(testTx(2))
	row(2, 106, 600<<10, "x")
	flushed(t, b)
	if got, want := c.changes(t), []string{`{"op":"bulk"}`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBatcherLimitsOpenBytes(t *testing.T) {
	t.Parallel()
	var c collector
	var tables []Table
	for i := range 50 {
		tables = append(tables, Table{Schema: "public", Name: fmt.Sprint("t", i), All: true})
	}
	b := testBatcher(&c, tables...)
	for i := range tables {
		applyAll(t, b, ordersRelation(uint32(i+1), tables[i].Name, pgoutput.IdentityDefault))
	}
	b.begin(testTx(1))
	for n := range 500 {
		applyAll(t, b, &pgoutput.Insert{Relation: uint32(n%50 + 1), New: textTuple(n, 7, "a", strings.Repeat("x", 64<<10))})
		if b.pending() > defaultOpenBytes {
			t.Fatalf("%d bytes are open", b.pending())
		}
	}
	flushed(t, b)
	rows := 0
	for _, m := range c.messages {
		rows += m.rows
	}
	if rows != 500 {
		t.Errorf("got %d rows, want 500", rows)
	}
}

func TestBatcherBulk(t *testing.T) {
	t.Parallel()
	var c collector
	limited := orders
	limited.Bulk = 3
	b := testBatcher(&c, limited)
	var told []uint32
	b.cfg.bulk = func(table cdc.TableName, limit int64, tx cdc.Transaction) {
		if table.Table != "orders" || limit != 3 {
			t.Errorf("told of %v, %d", table, limit)
		}
		told = append(told, tx.XID)
	}
	applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityDefault))
	for tx, rows := range []int{3, 5, 1} {
		b.begin(testTx(uint64(tx + 1)))
		for i := range rows {
			applyAll(t, b, &pgoutput.Insert{Relation: 1, New: textTuple(i, 7, "a", "x")})
		}
	}
	flushed(t, b)
	var ops []string
	for _, change := range c.changes(t) {
		ops = append(ops, strings.Split(change, `"`)[3])
	}
	if got, want := strings.Join(ops, " "), "insert insert insert insert insert insert bulk insert"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want := []uint32{testTx(2).XID}; !slices.Equal(told, want) {
		t.Errorf("told of transactions %v, want %v", told, want)
	}
}

// TestBatcherAlter changes key, columns and types in the middle of a
// transaction: a message has one key, so the one before goes out.
func TestBatcherAlter(t *testing.T) {
	t.Parallel()
	var c collector
	b := testBatcher(&c, orders)
	b.begin(testTx(1))
	applyAll(t, b,
		ordersRelation(1, "orders", pgoutput.IdentityDefault),
		&pgoutput.Update{Relation: 1, New: textTuple(1, 7, "a", "x")},
		ordersRelation(1, "orders", pgoutput.IdentityDefault), // sent again, the same
		&pgoutput.Update{Relation: 1, New: textTuple(2, 7, "a", "x")},
		ordersRelation(1, "orders", pgoutput.IdentityFull),
		&pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: textTuple(1, 7, "a", "x"), New: textTuple(1, 8, "a", "x")},
		&pgoutput.Relation{OID: 1, Namespace: "public", Name: "orders", Identity: pgoutput.IdentityFull, Columns: []pgoutput.RelationColumn{{Name: "status", Type: 25}, {Name: "id", Type: 25}}},
		&pgoutput.Insert{Relation: 1, New: textTuple("b", 5)})
	flushed(t, b)
	var got []string
	for _, m := range c.messages {
		var decoded cdc.Message
		if err := cdc.Decode(m.data, &decoded); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %v", m.rows, decoded.Key))
	}
	if want := []string{"2 [id]", "2 []"}; !slices.Equal(got, want) {
		t.Errorf("messages: got %q, want %q", got, want)
	}
	if got, want := c.changes(t)[3], `{"op":"insert","new":{"status":"b","id":"5"}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBatcherErrors(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, test := range []struct {
		name string
		run  func(b *batcher) error
		want string
	}{
		{"undescribed", func(b *batcher) error { return b.apply(&pgoutput.Insert{Relation: 99}) }, "relation 99, which was not described"},
		{"truncate undescribed", func(b *batcher) error { return b.apply(&pgoutput.Truncate{Relations: []uint32{1, 99}}) }, "relation 99, which was not described"},
		{"width", func(b *batcher) error { return b.apply(&pgoutput.Insert{Relation: 1, New: textTuple(1)}) }, "row of public.orders has 1 columns, its relation 4"},
		{"old width", func(b *batcher) error {
			return b.apply(&pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldKey, Old: textTuple(1, 2)})
		}, "has 2 columns"},
		{"no columns", func(b *batcher) error { return b.apply(&pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldFull}) }, "has 0 columns"},
		{"binary", func(b *batcher) error {
			return b.apply(&pgoutput.Insert{Relation: 1, New: textTuple(1, 2, pgoutput.Binary, nil)})
		}, "column status was sent in binary form"},
		{"root", func(b *batcher) error {
			b.cfg.rootOf = func(uint32, string, string) (cdc.TableName, bool, error) { return cdc.TableName{}, false, boom }
			return b.apply(ordersRelation(5, "orders_2027", pgoutput.IdentityDefault))
		}, "find the root of public.orders_2027: boom"},
		{"emit", func(b *batcher) error {
			b.cfg.emit = func(string, string, cdc.LSN, int, []byte) error { return boom }
			if err := b.apply(&pgoutput.Insert{Relation: 1, New: textTuple(1, 2, "a", nil)}); err != nil {
				return err
			}
			return b.flush()
		}, "boom"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c collector
			b := testBatcher(&c, orders)
			b.begin(testTx(1))
			applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityDefault))
			err := test.run(b)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

//nolint:paralleltest // counts the allocations of the whole process
func TestBatcherAllocates(t *testing.T) {
	var c collector
	b := testBatcher(&c, Table{Schema: "public", Name: "orders", Columns: []string{"id", "client_id", "status"}})
	b.cfg.emit = func(string, string, cdc.LSN, int, []byte) error { return nil }
	applyAll(t, b, ordersRelation(1, "orders", pgoutput.IdentityFull))
	before, after := textTuple(1, 7, "NEW", "x"), textTuple(1, 9, "PAID", "x")
	insert := &pgoutput.Insert{Relation: 1, New: after}
	update := &pgoutput.Update{Relation: 1, OldKind: pgoutput.OldFull, Old: before, New: after}
	remove := &pgoutput.Delete{Relation: 1, OldKind: pgoutput.OldFull, Old: before}
	n := uint64(0)
	allocs := testing.AllocsPerRun(100, func() {
		for range 100 {
			n++
			b.begin(testTx(n))
			applyAll(t, b, insert, update, remove)
		}
		flushed(t, b)
	})
	// 300 rows in 100 transactions make two messages, each in memory of its own.
	if allocs > 2 {
		t.Errorf("got %v allocations for 300 rows, want 2", allocs)
	}
}
