package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/monitor"
)

// incidentWithin makes TestIncidents fail where a view takes longer to say what is
// wrong; that it is over takes as long as the repair does. Without it the times are logged: a test does not fail for being slow.
var incidentWithin = flag.Duration("incident.within", 0, "fail where an incident takes longer to be seen")

// scene is a shop whose consumer and invalidator are processes of their own, and
// everything that an operator may look at.
type scene struct {
	*shop
	db       *pgx.Conn
	consumer *process
	worker   *process
	top      *terminal
	views    *dashboards

	mu     sync.Mutex
	events []string // kind and message of each since the incident began; guarded by mu
}

func newScene(t *testing.T) *scene {
	t.Helper()
	sc := &scene{shop: newShop(t, ", max_wal: 64MB")}
	sc.config = writeConfig(t, strings.Replace(readFile(t, sc.config), `"orders:list:*"]`, `"orders:list:*"]
    warm: [{key: "order:{id}", sql: "select to_jsonb(client_id || '/' || version) from orders where id = {id}", ttl: 1h}]`, 1))
	var err error
	if sc.db, err = sc.postgres.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sc.db.Close(context.Background()) })
	sc.consumer = runService(t, sc.config, "consumer,warmer")
	sc.worker = runService(t, sc.config, "invalidator")
	sc.top = openTerminal(t, 50, 400, "top", "-c", sc.config)
	sc.views = followDashboards(t)
	sc.follow()
	return sc
}

// follow hears events, also what is published before its connection is back.
func (sc *scene) follow() {
	sc.t.Helper()
	conn, err := sc.nats.Connect(nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		sc.t.Fatal(err)
	}
	sc.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		sc.t.Fatal(err)
	}
	events, err := js.OrderedConsumer(sc.t.Context(), "freshet-shop-events", jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		sc.t.Fatal(err)
	}
	if _, err := events.Consume(func(m jetstream.Msg) { sc.hear(m.Data()) }); err != nil { // until the connection is closed
		sc.t.Fatal(err)
	}
}

func (sc *scene) hear(event []byte) {
	var e struct{ Kind, Message string }
	if json.Unmarshal(event, &e) != nil {
		return
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.events = append(sc.events, e.Kind+": "+e.Message)
}

// update changes rows: what is wrong with a table shows at its next change.
func (sc *scene) update(t *testing.T) {
	t.Helper()
	if _, err := sc.db.Exec(t.Context(), `update orders set version = version + 1 where id <= 5`); err != nil {
		t.Fatal(err)
	}
}

// seen is one view, and whether it says now what it has to say.
type seen struct {
	view string
	look func() (bool, string)
}

// over is what is looked for when nothing is wrong any more.
const over = "all clear"

func contains(text string, want ...string) bool {
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(text) {
			return false
		}
	}
	return true
}

func (sc *scene) status(t *testing.T, want ...string) seen {
	t.Helper()
	return seen{"status", func() (bool, string) {
		out, errOut, _ := freshet(t, "status", "-c", sc.config)
		return contains(out+errOut, want...), out + errOut
	}}
}

func (sc *scene) screen(want ...string) seen {
	return seen{"top", func() (bool, string) { text := sc.top.screen(); return contains(text, want...), text }}
}

func page(view string, p *process, path string, want ...string) seen {
	return seen{view, func() (bool, string) {
		code, body, err := get(p.http + path)
		text := fmt.Sprintf("%d %s", code, body)
		if err != nil {
			text = "no answer: " + err.Error()
		}
		return contains(text, want...), text
	}}
}

func (sc *scene) event(want ...string) seen {
	return seen{"event", func() (bool, string) {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		for _, e := range sc.events {
			if contains(e, want...) {
				return true, ""
			}
		}
		return false, strings.Join(sc.events, "\n")
	}}
}

func (sc *scene) dashboard(p *process, want ...string) seen {
	return seen{"dashboard", func() (bool, string) { text := sc.views.of(p); return contains(text, want...), text }}
}

// look waits until every view says what it has to, each in its own time, and logs
// how long that took.
func look(t *testing.T, what string, since time.Time, views ...seen) {
	t.Helper()
	took := make([]time.Duration, len(views))
	var looking sync.WaitGroup
	for i, v := range views {
		looking.Go(func() {
			last := ""
			for time.Since(since) < patience {
				var ok bool
				if ok, last = v.look(); ok {
					took[i] = time.Since(since)
					return
				}
				select {
				case <-t.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
			t.Errorf("%s: %s does not say so, but\n%s", what, v.view, last)
		})
	}
	looking.Wait()
	line := what + ":"
	for i, v := range views {
		line += fmt.Sprintf(" %s %.1f s,", v.view, took[i].Seconds())
		if *incidentWithin > 0 && what != over && took[i] > *incidentWithin {
			t.Errorf("%s: %s says so after %s, want %s", what, v.view, took[i], *incidentWithin)
		}
	}
	t.Log(strings.TrimSuffix(line, ","))
}

// incident is what docs/runbook.md tells of: what is done, what everybody who looks
// is told, and how it ends.
type incident struct {
	name  string
	cause func(t *testing.T)
	says  func(t *testing.T) []seen
	cure  func(t *testing.T)
	over  func(t *testing.T) []seen // besides what all is clear means; nil where the notice stays for some minutes
}

// allClear is what everybody is told when nothing is wrong.
func (sc *scene) allClear(t *testing.T) []seen {
	t.Helper()
	const fresh = "more than .* ago is applied to Redis"
	return []seen{
		sc.status(t, fresh), sc.screen(fresh),
		page("readyz of the consumer", sc.consumer, "/readyz", "^200 ready\n"), page("readyz of the invalidator", sc.worker, "/readyz", "^200 ready\n"),
		page("metric", sc.consumer, "/metrics", `freshet_verdict{level="stuck"} 0`), page("metric of the invalidator", sc.worker, "/metrics", `freshet_verdict{level="stuck"} 0`),
		sc.dashboard(sc.consumer, fresh),
	}
}

// Whoever looks, wherever, is told what is wrong and what to do, and when it is over.
func TestIncidents(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	look(t, over, time.Now(), sc.allClear(t)...)
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sql := func(t *testing.T, statements ...string) {
		t.Helper()
		for _, s := range statements {
			_, err := sc.db.Exec(t.Context(), s)
			must(t, err)
		}
	}
	var open *pgx.Conn
	for _, in := range []incident{
		{
			name: "redis stopped",
			cause: func(t *testing.T) {
				t.Helper()
				must(t, sc.redis.Kill())
				sc.update(t)
			},
			says: func(t *testing.T) []seen {
				t.Helper()
				return []seen{
					sc.status(t, "Redis does not answer", "start Redis"), sc.screen("Redis does not answer", "start Redis"),
					page("readyz", sc.worker, "/readyz", "^503", "redis_down", "start Redis"),
					page("metric", sc.worker, "/metrics", `freshet_state{role="invalidator",state="redis_down"} 1`),
					sc.event("^redis_down"), sc.dashboard(sc.consumer, "Redis does not answer", "start Redis"),
				}
			},
			cure: func(*testing.T) { must(sc.t, sc.redis.Start(sc.t.Context())) },
			over: func(*testing.T) []seen { return []seen{sc.event("^fresh: ")} },
		},
		{
			name:  "invalidator stopped",
			cause: func(*testing.T) { sc.worker.kill() },
			says: func(t *testing.T) []seen {
				t.Helper()
				const want = "no invalidator is active"
				return []seen{
					sc.status(t, want, "freshet run --roles invalidator"), sc.screen(want, "freshet run --roles invalidator"),
					page("readyz", sc.worker, "/readyz", "^no answer"), page("readyz of the consumer", sc.consumer, "/readyz", "^200", "warning: invalidator: none is active"),
					page("metric", sc.consumer, "/metrics", `freshet_verdict{level="stuck"} 1`),
					sc.event("^stuck: .*no invalidator", "freshet run --roles invalidator"), sc.dashboard(sc.consumer, want, "freshet run --roles invalidator"),
				}
			},
			cure: func(*testing.T) { sc.worker = runService(sc.t, sc.config, "invalidator") },
			over: func(*testing.T) []seen { return []seen{sc.event("^fresh: ")} },
		},
		{
			name:  "nats stopped",
			cause: func(*testing.T) { must(sc.t, sc.nats.Kill()) },
			says: func(t *testing.T) []seen {
				t.Helper()
				return []seen{
					sc.status(t, "connect to nats", "is this the server"), sc.screen("NATS does not answer", "start the server"),
					page("readyz of the consumer", sc.consumer, "/readyz", "^503", "nats"), page("readyz of the invalidator", sc.worker, "/readyz", "^503", "nats"),
					page("metric", sc.worker, "/metrics", `freshet_verdict{level="stuck"} 1`),
					sc.dashboard(sc.consumer, "NATS does not answer", "start the server"),
				}
			},
			cure: func(*testing.T) { must(sc.t, sc.nats.Start(sc.t.Context())) },
			// The event could not be told before.
			over: func(*testing.T) []seen { return []seen{sc.event("^stuck: .*NATS"), sc.event("^fresh: ")} },
		},
		{
			name: "poison message",
			cause: func(t *testing.T) {
				t.Helper()
				conn, err := sc.nats.Connect()
				must(t, err)
				defer conn.Close()
				must(t, conn.Publish("freshet.shop.changes.public.orders", []byte("?")))
				must(t, conn.Flush())
			},
			says: func(t *testing.T) []seen {
				t.Helper()
				const want, remedy = "1 dead letters", "freshet.shop.dead.>"
				return []seen{
					sc.status(t, want, remedy), sc.screen(want, remedy), page("readyz", sc.worker, "/readyz", "^200", want, remedy),
					page("metric", sc.worker, "/metrics", `freshet_dead_letters_total 1`), sc.event("^poison: .*dead-letter"), sc.dashboard(sc.consumer, want, remedy),
				}
			},
		},
		{
			name: "replica identity changed",
			cause: func(t *testing.T) {
				t.Helper()
				sql(t, `alter table orders replica identity default`)
				sc.update(t)
			},
			says: func(t *testing.T) []seen {
				t.Helper()
				const want, remedy = "replica identity of public.orders was changed", "freshet check --sql"
				return []seen{
					sc.status(t, want, remedy), sc.screen(want, remedy), page("readyz", sc.worker, "/readyz", "^200", want, remedy),
					page("metric", sc.worker, "/metrics", `freshet_old_values_missing_total [1-9]`), sc.event("^identity_changed: .*public.orders", remedy),
					sc.dashboard(sc.consumer, want, remedy),
				}
			},
			cure: func(*testing.T) { sql(sc.t, `alter table orders replica identity full`) },
		},
		{
			name: "slot near its limit",
			cause: func(t *testing.T) {
				t.Helper()
				var err error
				open, err = sc.postgres.Connect(t.Context())
				must(t, err)
				_, err = open.Exec(t.Context(), `begin; select txid_current()`)
				must(t, err)
				sql(t, `select count(pg_logical_emit_message(false, 'padding', repeat('x', 1000000))) from generate_series(1, 56)`)
			},
			says: func(t *testing.T) []seen {
				t.Helper()
				const want, remedy = `slot keeps \d+ % of max_wal`, "end the transaction that has been open"
				return []seen{
					sc.status(t, want, remedy), sc.screen(want, remedy), page("readyz", sc.consumer, "/readyz", "^200", want, remedy),
					page("metric", sc.consumer, "/metrics", `freshet_slot_max_bytes 6.4e\+07`, `freshet_slot_retained_bytes [5-6]\.\d+e\+07`),
					sc.event("^slot_limit: ", remedy), sc.dashboard(sc.consumer, want, remedy),
				}
			},
			cure: func(t *testing.T) {
				t.Helper()
				must(t, open.Close(t.Context()))
				sql(t, `checkpoint`)
				sc.update(t)
				sql(t, `checkpoint`)
			},
		},
		{
			name: "slot dropped",
			cause: func(t *testing.T) {
				t.Helper()
				sql(t, `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = 'freshet_shop'`)
				for try := 0; ; try++ { // the walsender has to end, and the consumer may be quicker than us
					_, err := sc.db.Exec(t.Context(), `select pg_terminate_backend(active_pid), pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'freshet_shop'`)
					if err == nil {
						break
					}
					if try > 1000 {
						t.Fatal(err)
					}
				}
			},
			says: func(t *testing.T) []seen {
				t.Helper()
				const want, remedy = `gap \(slot_\w+\)`, "find out who"
				return []seen{
					sc.status(t, want, remedy), sc.screen(want, remedy), page("readyz", sc.consumer, "/readyz", want, remedy),
					page("metric", sc.consumer, "/metrics", `freshet_gaps_total{reason="slot_(lost|changed|recreated)"} [1-9]`),
					sc.event("^gap: "), sc.dashboard(sc.consumer, want, remedy),
				}
			},
		},
		{
			name: "table dropped and made anew",
			cause: func(t *testing.T) {
				t.Helper()
				sql(t, `begin`, `create table kept as select * from orders`, `drop table orders`, `alter table kept rename to orders`,
					`alter table orders add primary key (id)`, `alter table orders replica identity full`, `commit`)
				sc.update(t)
			},
			says: func(t *testing.T) []seen {
				t.Helper()
				const want = `gap \((table_changed|publication_lost)\)`
				return []seen{
					sc.status(t, want), sc.screen(want), page("readyz", sc.consumer, "/readyz", want),
					page("metric", sc.consumer, "/metrics", `freshet_gaps_total{reason="(table_changed|publication_lost)"} [1-9]`),
					sc.event("^gap: "), sc.dashboard(sc.consumer, want),
				}
			},
		},
	} {
		ok := t.Run(in.name, func(t *testing.T) {
			sc.mu.Lock()
			sc.events = nil
			sc.mu.Unlock()
			in.cause(t)
			look(t, in.name, time.Now(), in.says(t)...)
			if in.cure != nil {
				in.cure(t)
			}
			clears := sc.allClear(t)
			if in.over != nil {
				clears = append(clears, in.over(t)...)
			}
			look(t, over, time.Now(), clears...)
		})
		if !ok {
			t.Fatal("what comes after would prove nothing")
		}
	}
	// After all this, nothing is stale.
	stop := sc.traffic()
	sc.awaitCommits(50)
	sc.audit(sc.worker)
	stop()
}

// dashboards follows /events of every process, as the page does.
type dashboards struct {
	t  *testing.T
	mu sync.Mutex
	at map[string]string // the last verdict by address; guarded by mu
}

func followDashboards(t *testing.T) *dashboards {
	t.Helper()
	return &dashboards{t: t, at: map[string]string{}}
}

// of is the verdict that the page of a process shows. The first call opens it.
func (d *dashboards) of(p *process) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, open := d.at[p.http]
	if !open {
		d.at[p.http] = "nothing yet"
		go d.follow(p.http)
	}
	return text
}

func (d *dashboards) follow(address string) {
	request, err := http.NewRequestWithContext(d.t.Context(), http.MethodGet, address+"/events", http.NoBody)
	if err != nil {
		return
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	kind := ""
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = name
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		var frame monitor.Frame
		if !ok || kind != "status" || json.Unmarshal([]byte(data), &frame) != nil {
			continue
		}
		d.mu.Lock()
		d.at[address] = strings.Join(append([]string{frame.Verdict.Sentence}, frame.Verdict.Reasons...), "\n")
		d.mu.Unlock()
	}
}
