package consumer_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

// patience is how long anything may take before a test gives up on it. The
// machines are slow and busy, and the race detector is on.
const patience = 90 * time.Second

const ordersSQL = `CREATE TABLE orders (id int PRIMARY KEY, client_id int, status text);
ALTER TABLE orders REPLICA IDENTITY FULL;`

// bench is a Postgres server with a table, a stream, and what reads the stream.
type bench struct {
	t      testing.TB
	pg     *servers.Postgres
	stream *stream.Stream
	worker *worker
}

func newBench(t testing.TB, settings map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, pg: servertest.Postgres(t, servers.PostgresOptions{Settings: settings})}
	b.exec(ordersSQL)
	b.stream = openStream(t, stream.Config{Embedded: stream.EmbeddedConfig{StoreDir: t.TempDir()}})
	b.worker = startWorker(t, b.stream)
	return b
}

func openStream(t testing.TB, cfg stream.Config) *stream.Stream {
	t.Helper()
	cfg.Name = "shop"
	cfg.Embedded.Listen = "127.0.0.1:-1"
	cfg.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := stream.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close stream: %v", err)
		}
	})
	return s
}

func (b *bench) config() consumer.Config {
	return consumer.Config{
		Name: "shop", URL: b.pg.URL(), Manage: true, Heartbeat: time.Second, MarkInterval: 20 * time.Millisecond,
		Tables: []consumer.Table{{Schema: "public", Name: "orders", Columns: []string{"id", "client_id", "status"}}},
		Logger: testLogger(b.t),
	}
}

// testLogger writes to the test's log.
func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// running is a consumer that runs.
type running struct {
	*consumer.Consumer
	t    testing.TB
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// start runs a consumer until the test ends or stop is called.
func (b *bench) start(cfg consumer.Config) *running {
	b.t.Helper()
	c, err := consumer.New(cfg, b.stream)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Consumer: c, t: b.t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = c.Run(ctx)
	}()
	b.t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// awaitFreeSlot waits until the server has seen that nobody reads the slot. A
// consumer that has ended is gone some milliseconds earlier.
func (b *bench) awaitFreeSlot() {
	b.t.Helper()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		active := b.text("SELECT active::text FROM pg_replication_slots WHERE slot_name = 'freshet_shop'")
		return active == "false", "active: " + active
	})
}

// end stops the consumer and returns what Run returned.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatal("Run did not return")
	}
	return r.err
}

func (r *running) await(state consumer.State) {
	r.t.Helper()
	servertest.Eventually(r.t, patience, func() (bool, string) {
		select {
		case <-r.done:
			r.t.Fatalf("Run returned: %v", r.err)
		default:
		}
		s := r.Status()
		return s.State == state, fmt.Sprintf("%s: %s", s.State, s.LastError)
	})
}

func (b *bench) connect() *pgx.Conn {
	b.t.Helper()
	conn, err := b.pg.Connect(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	conn, err := b.pg.Connect(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if len(args) == 0 {
		args = append(args, pgx.QueryExecModeSimpleProtocol)
	}
	if _, err := conn.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) text(sql string, args ...any) string {
	b.t.Helper()
	conn, err := b.pg.Connect(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var out *string
	if err := conn.QueryRow(b.t.Context(), sql, args...).Scan(&out); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	if out == nil {
		return ""
	}
	return *out
}

// worker stands in for the invalidator: it reads the stream in order, keeps what it reads, and moves the watermark.
type worker struct {
	t testing.TB
	s *stream.Stream

	turn sync.Mutex // held while it reads and takes

	mu      sync.Mutex // guards the fields below
	paused  bool
	changes []change
	starts  []cdc.Start
	gaps    []cdc.Gap
	marks   int
	mark    cdc.Mark
	point   stream.Point
	broken  string
	rows    int
}

// change is one row change as the worker saw it.
type change struct {
	table string
	op    cdc.Op
	key   string // the value of id
	row   string // the new row
	lsn   cdc.LSN
	at    time.Time
}

func (c change) String() string { return string(c.op) + " " + c.table + " " + c.row }

func startWorker(t testing.TB, s *stream.Stream) *worker {
	t.Helper()
	w := &worker{t: t, s: s}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *worker) run(ctx context.Context) {
	r, err := w.s.NewReader(ctx, stream.Point{})
	if err != nil {
		w.t.Error(err)
		return
	}
	defer r.Close()
	for ctx.Err() == nil {
		w.turn.Lock()
		paused := w.isPaused()
		if !paused {
			err = w.step(ctx, r)
		}
		w.turn.Unlock()
		if err != nil {
			return
		}
		if paused {
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// step reads and takes once, and moves the watermark.
func (w *worker) step(ctx context.Context, r *stream.Reader) error {
	items, err := r.Fetch(ctx, 512, 50*time.Millisecond)
	if err != nil {
		return err
	}
	var point stream.Point
	moved := false
	for i := range items {
		w.take(&items[i])
		if items[i].Movable {
			point, moved = items[i].Point, true
		}
	}
	brk, broken := r.Broken()
	w.mu.Lock()
	w.broken = ""
	if broken {
		w.broken = brk.Reason
	}
	if moved {
		w.point = point
	}
	w.mu.Unlock()
	if moved {
		err := w.s.PutWatermark(ctx, stream.Watermark{
			Epoch: point.Epoch, LSN: point.LSN, Time: point.Time, Stream: point.Stream, Seq: point.Seq, ID: point.ID,
		})
		if err != nil && ctx.Err() == nil {
			w.t.Logf("put watermark: %v", err)
		}
	}
	return nil
}

func (w *worker) isPaused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paused
}

// pause makes it read nothing more, from when it returns, or lets it go on.
func (w *worker) pause(paused bool) {
	w.mu.Lock()
	w.paused = paused
	w.mu.Unlock()
	if paused {
		w.turn.Lock() // what it is reading now is taken before
		defer w.turn.Unlock()
	}
}

func (w *worker) take(item *stream.Item) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch item.Kind {
	case stream.KindStart:
		w.starts = append(w.starts, item.Start)
	case stream.KindMark:
		w.marks++
		w.mark = item.Mark
	case stream.KindGap:
		w.gaps = append(w.gaps, item.Gap)
	case stream.KindChange:
		var m cdc.Message
		if err := cdc.Decode(item.Data, &m); err != nil {
			w.t.Errorf("decode %s: %v", item.Data, err)
			return
		}
		w.rows += len(m.Changes)
		if w.rows > 200_000 {
			return // a bulk load: the count is enough
		}
		for _, c := range m.Changes {
			row := c.New
			if c.Op == cdc.Delete {
				row = c.Old
			}
			id, _ := row.Get("id")
			var text strings.Builder
			for i, col := range row {
				if i > 0 {
					text.WriteByte(' ')
				}
				text.WriteString(strings.Clone(col.Value.Text))
			}
			w.changes = append(w.changes, change{
				table: m.Table, op: c.Op, key: strings.Clone(id.Text), row: text.String(), lsn: m.Transactions[c.Tx].LSN, at: now,
			})
		}
	}
}

// seen returns the changes of a row seen so far.
func (w *worker) seen(key string) []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []change
	for _, c := range w.changes {
		if c.key == key {
			out = append(out, c)
		}
	}
	return out
}

func (w *worker) allGaps() []cdc.Gap {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]cdc.Gap(nil), w.gaps...)
}

func (w *worker) at() (stream.Point, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.point, w.broken
}

// awaitRow waits for a change of the row.
func (b *bench) awaitRow(key string, op cdc.Op) {
	b.t.Helper()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		seen := b.worker.seen(key)
		for _, c := range seen {
			if c.op == op {
				return true, ""
			}
		}
		return false, fmt.Sprintf("row %s: %v; last changes %v", key, seen, b.worker.tail())
	})
}

func (w *worker) tail() []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]change(nil), w.changes[max(0, len(w.changes)-5):]...)
}

// awaitGap waits for both messages of a gap and returns the first.
func (b *bench) awaitGap(reason string) cdc.Gap {
	b.t.Helper()
	var found cdc.Gap
	servertest.Eventually(b.t, patience, func() (bool, string) {
		gaps := b.worker.allGaps()
		finals := make(map[string]bool)
		for _, g := range gaps {
			finals[g.ID] = finals[g.ID] || g.Final
		}
		for _, g := range gaps {
			if g.Reason == reason && !g.Final && finals[g.ID] {
				found = g
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", gaps)
	})
	return found
}

// awaitConfirmed waits until the slot has forgotten everything up to lsn.
func (b *bench) awaitConfirmed(lsn string) {
	b.t.Helper()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		at := b.text("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'freshet_shop'")
		return b.text("SELECT ($1::pg_lsn >= $2::pg_lsn)::text", at, lsn) == "true", at + ", want " + lsn
	})
}

// last returns when the newest change arrived if it is of the row, else zero.
func (w *worker) last(key string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.changes); n > 0 && w.changes[n-1].key == key {
		return w.changes[n-1].at
	}
	return time.Time{}
}

func (w *worker) allStarts() []cdc.Start {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]cdc.Start(nil), w.starts...)
}
