package invalidator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

const (
	instance = "shop"
	// waiting is for what takes milliseconds, on machines that are slow and busy.
	waiting = 90 * time.Second
)

var epoch = cdc.Epoch{System: 7301, Timeline: 1}

// shopRules are the rules that most tests run with.
var shopRules = []rule.Config{
	{Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}"}},
	{Table: "inventory", Invalidate: []string{"dashboard:*"}},
	{Table: "users", Invalidate: []string{"user:{id}"}, Tags: []string{"user:{id}"}},
}

func compile(t testing.TB, configs []rule.Config) *rule.Set {
	t.Helper()
	set, err := rule.Compile(configs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// world is the servers of one test and the writer of its stream.
type world struct {
	t      testing.TB
	redis  *servers.Redis
	url    string // of the cache, for appliers
	rdb    redis.UniversalClient
	stream *stream.Stream
	rules  []rule.Config
	prefix string

	lookups invalidator.Querier
	*producer
}

func newWorld(t testing.TB, opts ...servers.RedisOptions) *world {
	t.Helper()
	r := servertest.Redis(t, opts...)
	w := &world{t: t, redis: r, url: r.URL(), rdb: client(t, r), rules: shopRules}
	w.stream = openStream(t, stream.Config{Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()}})
	w.producer = &producer{t: t, stream: w.stream, epoch: epoch, lsn: 1000}
	return w
}

func client(t testing.TB, r *servers.Redis) *redis.Client {
	c := r.Client()
	t.Cleanup(func() { c.Close() })
	return c
}

func openStream(t testing.TB, cfg stream.Config) *stream.Stream {
	t.Helper()
	cfg.Name = instance
	cfg.Logger = logger(t)
	s, err := stream.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the stream: %v", err)
		}
	})
	return s
}

// producer writes the change stream as a consumer would.
type producer struct {
	t       testing.TB
	stream  *stream.Stream
	session *stream.Session
	epoch   cdc.Epoch
	lsn     cdc.LSN // of the last transaction
	tx      uint32
}

// begin begins a session; from is where it says to begin.
func (p *producer) begin(from cdc.LSN) {
	p.t.Helper()
	if p.session != nil {
		p.session.Close(p.t.Context()) // it may have ended
	}
	s, err := p.stream.NewSession(p.t.Context(), cdc.Start{Epoch: p.epoch, From: from})
	if err != nil {
		p.t.Fatalf("begin a session: %v", err)
	}
	p.session = s
}

// publish publishes changes of one table, one transaction each, in one message.
func (p *producer) publish(table string, changes ...cdc.Change) cdc.LSN {
	p.t.Helper()
	m := cdc.Message{Source: instance, Epoch: p.epoch, Schema: "public", Table: table}
	for i := range changes {
		p.lsn += 10
		p.tx++
		m.Transactions = append(m.Transactions, cdc.Transaction{LSN: p.lsn, XID: p.tx, Time: time.Now()})
		changes[i].Tx = i
	}
	m.LSN, m.Changes = p.lsn, changes
	p.raw(p.stream.Subjects().Changes("public", table), m.LSN, m.AppendJSON(nil))
	return p.lsn
}

func (p *producer) raw(subject string, lsn cdc.LSN, data []byte) {
	p.t.Helper()
	if err := p.session.Publish(p.t.Context(), subject, lsn, data); err != nil {
		p.t.Fatalf("publish: %v", err)
	}
}

// mark publishes a mark behind the last transaction and returns its LSN.
func (p *producer) mark() cdc.LSN {
	p.t.Helper()
	p.lsn++
	if err := p.session.Mark(p.t.Context(), cdc.Mark{Epoch: p.epoch, LSN: p.lsn, Time: time.Now()}); err != nil {
		p.t.Fatalf("mark: %v", err)
	}
	if err := p.session.Flush(p.t.Context()); err != nil {
		p.t.Fatalf("flush: %v", err)
	}
	return p.lsn
}

func (p *producer) gap(g cdc.Gap) {
	p.t.Helper()
	g.Epoch, g.Time = p.epoch, time.Now()
	if g.LSN == 0 {
		g.LSN = p.lsn
	}
	if err := p.session.Gap(p.t.Context(), g); err != nil {
		p.t.Fatalf("gap: %v", err)
	}
}

// receive waits for a signal.
func receive(t testing.TB, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(waiting):
		t.Fatalf("nothing within %v", waiting)
	}
}

// order is an update of an order that keeps its client.
func order(id int) cdc.Change {
	return cdc.Change{Op: cdc.Update, OldKnown: cdc.OldFull, New: cdc.Row{number("id", id), number("client_id", id%10)}}
}

func item(id int) cdc.Change {
	return cdc.Change{Op: cdc.Insert, OldKnown: cdc.OldNone, New: cdc.Row{number("id", id)}}
}

func number(name string, n int) cdc.Column {
	return cdc.Column{Name: name, Value: cdc.Value{Kind: cdc.Number, Text: strconv.Itoa(n)}}
}

// running is an invalidator that runs.
type running struct {
	*invalidator.Invalidator
	t      testing.TB
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
}

func (w *world) start(change ...func(*invalidator.Config)) *running {
	w.t.Helper()
	return w.startOn(w.stream, change...)
}

func (w *world) startOn(s *stream.Stream, change ...func(*invalidator.Config)) *running {
	w.t.Helper()
	a, err := cache.OpenApplier(w.url, cache.ApplierConfig{Name: instance, Prefix: w.prefix, Logger: logger(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := invalidator.Config{Name: instance, Logger: logger(w.t), ResendAfter: 300 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	v, err := invalidator.New(cfg, s, a, compile(w.t, w.rules), w.lookups)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Invalidator: v, t: w.t, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- v.Run(ctx) }()
	w.t.Cleanup(func() {
		r.stop()
		if err := a.Close(); err != nil {
			w.t.Errorf("close the applier: %v", err)
		}
	})
	return r
}

// stop stops it gently and waits for it.
func (r *running) stop() {
	r.t.Helper()
	r.once.Do(func() {
		r.cancel()
		select {
		case err := <-r.done:
			if err != nil {
				r.t.Errorf("Run: got %v, want nil", err)
			}
		case <-time.After(waiting):
			r.t.Errorf("Run did not end within %v of its context", waiting)
		}
	})
}

// reaches waits until the position's LSN is at least lsn.
func (r *running) reaches(lsn cdc.LSN) {
	r.t.Helper()
	r.within(waiting, "the position", func(s invalidator.Status) bool { return s.Position.LSN >= lsn })
}

// settle publishes marks, as a consumer does all the time, until the position
// stands on one of them: a break that is ended by a flush moves the position
// with the next message only.
func (w *world) settle(v *running) {
	w.t.Helper()
	var published time.Time
	servertest.Eventually(w.t, waiting, func() (bool, string) {
		if time.Since(published) > 100*time.Millisecond {
			w.mark()
			published = time.Now()
		}
		s := v.Status()
		return s.Position.LSN >= w.lsn, fmt.Sprintf("state %s (%s), position %s of %s", s.State, s.Reason, s.Position.LSN, w.lsn)
	})
}

func (r *running) within(d time.Duration, what string, ok func(invalidator.Status) bool) {
	r.t.Helper()
	servertest.Eventually(r.t, d, func() (bool, string) {
		s := r.Status()
		return ok(s), fmt.Sprintf("%s: state %s (%s), position %s seq %d hold %s, %d changes", what, s.State, s.Reason, s.Position.LSN, s.Position.Seq, s.Position.Hold, s.Changes)
	})
}

func (r *running) is(state invalidator.State) {
	r.t.Helper()
	r.within(waiting, "want state "+string(state), func(s invalidator.Status) bool { return s.State == state })
}

// fill stores a value under each key.
func (w *world) fill(keys ...string) {
	w.t.Helper()
	pipe := w.rdb.Pipeline()
	for _, k := range keys {
		pipe.Set(w.t.Context(), k, "old", 0)
	}
	if _, err := pipe.Exec(w.t.Context()); err != nil {
		w.t.Fatalf("fill: %v", err)
	}
}

// gone waits until none of the keys exists.
func (w *world) gone(keys ...string) {
	w.t.Helper()
	servertest.Eventually(w.t, waiting, func() (bool, string) {
		left := w.present(keys...)
		return len(left) == 0, fmt.Sprintf("%d of %d keys still there: %q", len(left), len(keys), left[:min(len(left), 5)])
	})
}

func (w *world) present(keys ...string) []string {
	var left []string
	for _, k := range keys {
		n, err := w.rdb.Exists(w.t.Context(), k).Result()
		if err != nil {
			return []string{"error: " + err.Error()}
		}
		if n > 0 {
			left = append(left, k)
		}
	}
	return left
}

func (w *world) stays(keys ...string) {
	w.t.Helper()
	if left := w.present(keys...); len(left) != len(keys) {
		w.t.Errorf("got %q, want all of %q", left, keys)
	}
}

// position reads the position from Redis.
func (w *world) position() cache.Position {
	w.t.Helper()
	text, err := w.rdb.Get(w.t.Context(), "freshet:position:"+instance).Result()
	if err != nil {
		w.t.Fatalf("read the position: %v", err)
	}
	var p cache.Position
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		w.t.Fatalf("read the position: %v", err)
	}
	return p
}

func orders(from, to int) (keys []string) {
	for i := from; i < to; i++ {
		keys = append(keys, "order:"+strconv.Itoa(i))
	}
	return keys
}

// events collects what is announced.
func (w *world) events() *events {
	w.t.Helper()
	e := &events{t: w.t}
	sub, err := w.stream.Conn().Subscribe("freshet."+instance+".events.>", e.add)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { sub.Unsubscribe() }) // the connection may be gone
	return e
}

// logger writes to the test's log while the test runs.
func logger(t testing.TB) *slog.Logger {
	l := &testLog{t: t}
	t.Cleanup(l.end)
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testLog struct {
	mu    sync.Mutex
	t     testing.TB
	ended bool
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.t.Log(strings.TrimRight(string(b), "\n"))
	}
	return len(b), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}
