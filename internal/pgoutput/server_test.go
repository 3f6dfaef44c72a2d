package pgoutput_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/pgoutput"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

var update = flag.Bool("update", false, "write testdata/recorded.hex from what the server sends")

// TestServer decodes what a real server sends for testdata/recorded.sql, which
// makes it send every kind of message, and holds each against pglogrepl and
// the encoder.
func TestServer(t *testing.T) {
	t.Parallel()
	messages := serve(t)
	kinds := map[string]int{}
	var d pgoutput.Decoder
	for _, data := range messages {
		m, err := d.Decode(data)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if diff := compare(m, data); diff != "" {
			t.Errorf("%T: %s", m, diff)
		}
		if again := encode(m); !bytes.Equal(again, canonical(m, data)) {
			t.Errorf("%T encoded again:\ngot  %q\nwant %q", m, again, data)
		}
		kinds[strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgoutput.")]++
		switch m := m.(type) {
		case *pgoutput.Update:
			kinds[fmt.Sprintf("update %q", byte(m.OldKind))]++
		case *pgoutput.Delete:
			kinds[fmt.Sprintf("delete %q", byte(m.OldKind))]++
		case *pgoutput.Relation:
			kinds[fmt.Sprintf("identity %c", m.Identity)]++
		case *pgoutput.Type:
			kinds["type "+m.Namespace+"."+m.Name]++
		}
	}
	for _, kind := range []string{
		"Begin", "Commit", "Origin", "Relation", "Type", "Insert", "Update", "Delete", "Truncate", "LogicalMessage",
		`update '\x00'`, "update 'K'", "update 'O'", "delete 'K'", "delete 'O'",
		"identity d", "identity f", "identity i", "identity n",
		"type public.status", "type pg_catalog.int8", "type pg_catalog.bool", // two domains
	} {
		if kinds[kind] == 0 {
			t.Errorf("the server sent no %s; got %v", kind, kinds)
		}
	}
	if *update {
		var b strings.Builder
		for _, data := range messages {
			b.WriteString(hex.EncodeToString(data) + "\n")
		}
		if err := os.WriteFile("testdata/recorded.hex", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// serve runs recorded.sql on a server and returns what pgoutput makes of it.
func serve(t *testing.T) [][]byte {
	t.Helper()
	script, err := os.ReadFile("testdata/recorded.sql")
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, servertest.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for block := range strings.SplitSeq("SET timezone = 'UTC'\n\n"+string(script), "\n\n") {
		if _, err := conn.PgConn().Exec(ctx, block).ReadAll(); err != nil {
			t.Fatalf("%s\n%v", block, err)
		}
	}
	rows, err := conn.Query(ctx, `SELECT data FROM pg_logical_slot_get_binary_changes('recorded', NULL, NULL,
		'proto_version', '1', 'publication_names', 'all_tables', 'messages', 'true')`)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// TestRecorded decodes what was recorded, without a server.
func TestRecorded(t *testing.T) {
	t.Parallel()
	messages := recorded(t)
	if len(messages) < 50 {
		t.Fatalf("got %d messages; record them with: go test ./internal/pgoutput -run TestServer -update", len(messages))
	}
	var d pgoutput.Decoder
	for _, data := range messages {
		m, err := d.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := compare(m, data); diff != "" {
			t.Errorf("%T: %s", m, diff)
		}
	}
}
