package consumer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// awaitFingerprints waits until the tables' fingerprints have been looked at once.
func (b *bench) awaitFingerprints(c *running) {
	b.t.Helper()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		s := c.Status()
		return !s.TablesAt.IsZero(), string(s.State)
	})
}

func TestTableChangedWithoutRowEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, before, change string }{
		{"rewrite", "", "ALTER TABLE orders ALTER COLUMN client_id TYPE bigint USING client_id + 1"},
		{"re-created", "", "DROP TABLE orders; " + ordersSQL},
		{"out of the publication", "", "ALTER PUBLICATION freshet_shop DROP TABLE orders"},
		{"out and in", "", "ALTER PUBLICATION freshet_shop DROP TABLE orders; ALTER PUBLICATION freshet_shop ADD TABLE ONLY orders"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.exec("INSERT INTO orders VALUES (1, 7, 'OLD')")
			c := b.start(b.config())
			c.await(consumer.StateStreaming)
			b.awaitGap("slot_created")
			b.awaitFingerprints(c)
			b.exec(test.change)
			gap := b.awaitGap("table_changed")
			if want := (cdc.TableName{Schema: "public", Table: "orders"}); len(gap.Tables) != 1 || gap.Tables[0] != want {
				t.Errorf("got a gap of %v, want %v", gap.Tables, want)
			}
			// What happens from here on is published.
			servertest.Eventually(t, patience, func() (bool, string) {
				n := b.text("SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'orders'")
				return n == "1", n
			})
			b.exec("INSERT INTO orders VALUES (100, 7, 'NEW')")
			b.awaitRow("100", cdc.Insert)
		})
	}
}

// TRUNCATE gives a table another file as a rewrite does, but is decoded.
func TestTruncateIsNoGap(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.awaitFingerprints(c)
	b.exec("TRUNCATE orders")
	b.awaitRow("", cdc.Truncate)
	before := c.Status().TablesAt
	servertest.Eventually(t, patience, func() (bool, string) {
		at := c.Status().TablesAt
		return at.After(before.Add(time.Second)), at.String()
	})
	b.onlyGaps("slot_created")
}

func TestTruncateWhileDownIsNoGap(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.awaitFingerprints(c)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	b.exec("TRUNCATE orders")
	c = b.start(b.config())
	b.awaitRow("", cdc.Truncate)
	b.awaitFingerprints(c)
	b.onlyGaps("slot_created")
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.exec(`CREATE TABLE events (id int, day int, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
		CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
		CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20)`)
	cfg := b.config()
	cfg.Tables = append(cfg.Tables, consumer.Table{Schema: "public", Name: "events", Columns: []string{"id", "day"}})
	c := b.start(cfg)
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.exec("INSERT INTO events VALUES (1, 5, 'a'), (2, 15, 'b')")
	b.awaitRow("1", cdc.Insert)
	b.awaitRow("2", cdc.Insert)
	b.exec("UPDATE events SET day = 16 WHERE id = 1") // moves
	b.awaitRow("1", cdc.Delete)
	b.awaitFingerprints(c)
	b.exec("CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30)")
	gap := b.awaitGap("table_changed")
	if fmt.Sprint(gap.Tables) != "[public.events]" {
		t.Errorf("got a gap of %v", gap.Tables)
	}
	b.exec("INSERT INTO events VALUES (3, 25, 'c')")
	b.awaitRow("3", cdc.Insert)
	b.exec("TRUNCATE events_2")
	b.awaitRow("", cdc.Truncate)
	for _, key := range []string{"1", "2", "3"} {
		for _, got := range b.worker.seen(key) {
			if got.table != "events" {
				t.Errorf("got a change of %s, want the root's", got.table)
			}
		}
	}
}

func TestAlterTableInMidStream(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Tables[0].All = true
	b.start(cfg).await(consumer.StateStreaming)
	b.exec(`INSERT INTO orders VALUES (1, 7, 'NEW');
		ALTER TABLE orders ADD COLUMN note text;
		INSERT INTO orders VALUES (2, 7, 'NEW', 'noted');
		ALTER TABLE orders DROP COLUMN client_id;
		ALTER TABLE orders RENAME COLUMN note TO remark;
		INSERT INTO orders VALUES (3, 'NEW', 'remarked')`)
	b.awaitRow("3", cdc.Insert)
	for key, want := range map[string]string{
		"1": "insert orders 1 7 NEW", "2": "insert orders 2 7 NEW noted", "3": "insert orders 3 NEW remarked",
	} {
		if got := b.worker.seen(key); len(got) != 1 || got[0].String() != want {
			t.Errorf("row %s: got %v, want %s", key, got, want)
		}
	}
}

func TestTableWithoutIdentityIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.exec("CREATE TABLE bare (id int, x text)")
	cfg := b.config()
	cfg.Tables = append(cfg.Tables, consumer.Table{Schema: "public", Name: "bare", Columns: []string{"id"}})
	c := b.start(cfg)
	<-c.done
	if c.err == nil {
		t.Fatal("Run returned nil")
	}
	t.Log(c.err)
	b.exec("INSERT INTO bare VALUES (1, 'a'); UPDATE bare SET x = 'b'; DELETE FROM bare")
}

// A migration may give a table another name for a while. The stream calls rows by the name that the table had when they were written.
func TestTableRenamedWithinATransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	c := b.start(b.config())
	c.await(consumer.StateStreaming)
	b.awaitGap("slot_created")
	b.exec(`BEGIN;
		ALTER TABLE orders RENAME TO orders_in_repair;
		INSERT INTO orders_in_repair VALUES (1, 7, 'NEW');
		ALTER TABLE orders_in_repair RENAME TO orders;
		COMMIT`)
	b.exec("INSERT INTO orders VALUES (2, 7, 'NEW')")
	b.awaitRow("2", cdc.Insert)
	if got := b.worker.seen("1"); len(got) != 1 || got[0].String() != "insert orders 1 7 NEW" {
		t.Errorf("row written under another name: got %v", got)
	}
	b.onlyGaps("slot_created")
}

// While processes are replaced one by one, a consumer with fewer rules drops what the invalidator's rules need already. Nothing but
// the next consumer can know.
func TestWhatWasNotPublishedIsAGap(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		narrow func(*consumer.Config)
	}{
		{"operation", func(cfg *consumer.Config) { cfg.Tables[0].Ops = []cdc.Op{cdc.Update, cdc.Delete} }},
		{"table", func(cfg *consumer.Config) { cfg.Tables = cfg.Tables[1:] }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.exec("CREATE TABLE items (id int PRIMARY KEY); CREATE PUBLICATION everything FOR TABLE orders, items")
			wide := b.config()
			wide.Publication = "everything" // of somebody else: what no rule needs stays in it
			wide.Tables = append(wide.Tables, consumer.Table{Schema: "public", Name: "items", Columns: []string{"id"}})
			narrow := wide
			narrow.Tables = append([]consumer.Table(nil), wide.Tables...)
			test.narrow(&narrow)

			c := b.start(wide)
			b.awaitGap("slot_created")
			b.awaitFingerprints(c)
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			c = b.start(narrow)
			b.exec("INSERT INTO orders VALUES (1, 7, 'NEW'); INSERT INTO items VALUES (11)")
			b.awaitRow("11", cdc.Insert)
			b.awaitFingerprints(c)
			b.onlyGaps("slot_created") // to publish less loses nothing
			if got := b.worker.seen("1"); len(got) > 0 {
				t.Fatalf("the row was published, and is not to be: %v", got)
			}
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			b.start(wide)
			if gap := b.awaitGap("table_changed"); fmt.Sprint(gap.Tables) != "[public.orders]" {
				t.Errorf("got a gap of %v", gap.Tables)
			}
		})
	}
}

// A partition that was made and dropped, or attached and detached, while nobody looked at the catalog has left nothing there.
func TestPartitionThatHasGone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, end string }{
		{"dropped", "DROP TABLE events_2"},
		{"detached", "ALTER TABLE events DETACH PARTITION events_2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.exec(`CREATE TABLE events (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
				CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)`)
			cfg := b.config()
			cfg.Tables = append(cfg.Tables, consumer.Table{Schema: "public", Name: "events", Columns: []string{"id", "day"}})
			c := b.start(cfg)
			b.awaitGap("slot_created")
			b.awaitFingerprints(c)
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			b.exec("CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20)")
			b.exec("INSERT INTO events VALUES (1, 15)")
			b.exec(test.end)
			b.exec("INSERT INTO events VALUES (2, 5)")
			b.start(cfg)
			b.awaitRow("2", cdc.Insert)
			if got := b.worker.seen(""); len(got) != 1 || got[0].table != "events" || got[0].op != cdc.Bulk {
				t.Errorf("got %v for the row of the partition that has gone, want a bulk change of its root", got)
			}
		})
	}
}

// A process with other rules may make the publication its own while this one waits for the slot, and in the second before the tables
// are looked at for the first time.
func TestPublicationChangedByOthersWhileWaiting(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %v", late), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			b.exec("CREATE TABLE items (id int PRIMARY KEY)")
			first := b.start(b.config())
			first.await(consumer.StateStreaming)
			b.awaitGap("slot_created")
			cfg := b.config()
			cfg.Tables = append(cfg.Tables, consumer.Table{Schema: "public", Name: "items", Columns: []string{"id"}})
			second := b.start(cfg)
			second.await(consumer.StateWaiting)
			const others = "ALTER PUBLICATION freshet_shop DROP TABLE items"
			if !late {
				b.exec(others)
			}
			if err := first.end(); err != nil {
				t.Fatal(err)
			}
			second.await(consumer.StateStreaming)
			if late {
				b.exec(others)
			}
			servertest.Eventually(t, patience, func() (bool, string) {
				n := b.text("SELECT count(*)::text FROM pg_publication_tables WHERE tablename = 'items'")
				return n == "1", n + " entries of items in the publication"
			})
			b.exec("INSERT INTO items VALUES (11)")
			b.awaitRow("11", cdc.Insert)
			b.awaitGap("table_changed")
		})
	}
}
