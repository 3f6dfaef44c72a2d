package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

const patience = 90 * time.Second

const schema = `
create table clients (id int primary key, name text not null);
create table orders (id int primary key, client_id int not null, workspace_id int not null, status text not null);
create table order_items (id int primary key, order_id int not null, quantity int not null);
create table inventory (item_id int primary key, workspace_id int not null, quantity int not null);
alter table orders replica identity full;
alter table order_items replica identity full;
alter table inventory replica identity full;
insert into clients select n, 'client ' || n from generate_series(1, 200) n;
insert into orders select n, 1 + n % 200, 1 + n % 8, 'NEW' from generate_series(1, 2000) n;
insert into order_items select n, 1 + n % 2000, 1 from generate_series(1, 6000) n;
insert into inventory select n, 1 + n % 8, 100 from generate_series(1, 500) n`

func rules() []rule.Config {
	return []rule.Config{
		{Table: "clients", Invalidate: []string{"client:{id}", "orders:client:{id}"}},
		{
			Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}", "dashboard:{workspace_id}"}, Tags: []string{"client:{client_id}"},
			Warm: []rule.Warm{{Key: "order:{id}", SQL: "select to_jsonb(o) from orders o where o.id = {id}", TTL: 10 * time.Minute}},
		},
		{Table: "order_items", Lookup: "select client_id from orders where id = {order_id}", Invalidate: []string{"order:{order_id}", "orders:client:{client_id}"}},
		{Table: "inventory", Invalidate: []string{"inventory:{item_id}", "dashboard:{workspace_id}", "inventory:page:*"}},
	}
}

// bench is a shop, and the service that keeps its cache fresh.
type bench struct {
	t        *testing.T
	postgres *servers.Postgres
	redis    *servers.Redis
	nats     *servers.NATS
	db       *pgxpool.Pool
	listen   string // where the service answers, once it has been started
	stop     func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, listen: "127.0.0.1:0"}
	b.postgres = servertest.Postgres(t, servers.PostgresOptions{})
	b.redis = servertest.Redis(t, servers.RedisOptions{AppendOnly: true})
	b.nats = servertest.NATS(t)
	var err error
	if b.db, err = pgxpool.New(t.Context(), b.postgres.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.db.Close)
	if _, err := b.db.Exec(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
	})
	b.start()
	return b
}

// start runs the service, where it was before if it was.
func (b *bench) start() {
	b.t.Helper()
	logger := slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	started := make(chan service.Running, 1)
	cfg := service.Config{
		PostgresURL: b.postgres.URL(),
		Compile:     func(s rule.Schema) (*rule.Set, error) { return rule.Compile(rules(), s) },
		Stream:      stream.Config{Name: "shop", URL: b.nats.URL(), Logger: logger},
		Consumer:    consumer.Config{Name: "shop", URL: b.postgres.URL(), Manage: true, Logger: logger},
		Invalidator: invalidator.Config{Name: "shop", Logger: logger},
		Applier:     cache.ApplierConfig{Name: "shop", Logger: logger},
		CacheURL:    b.redis.URL(),
		HTTP:        monitor.Config{Listen: b.listen, Logger: logger},
		Logger:      logger, Version: "0.3.0",
		OnStarted: func(r service.Running) { started <- r },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx, cfg) }()
	select {
	case r := <-started:
		b.listen = r.HTTP[len("http://"):]
	case err := <-ended:
		b.t.Fatalf("start the service: %v", err)
	}
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("the service stopped with %v", err)
		}
		b.stop = nil
	}
}

func (b *bench) url() string { return "http://" + b.listen }

// status is /status by role.
func (b *bench) status() map[string]map[string]any {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url()+"/status", http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var reports []struct {
		Role   string
		Status map[string]any
	}
	if err := json.Unmarshal(body, &reports); err != nil {
		b.t.Fatalf("%v: %s", err, body)
	}
	parts := map[string]map[string]any{}
	for _, r := range reports {
		parts[r.Role] = r.Status
	}
	return parts
}

// traffic changes rows, and reads some values into the cache, until the returned
// function is called.
func (b *bench) traffic() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	rdb := b.redis.Client()
	var people sync.WaitGroup
	for range 3 {
		people.Go(func() {
			for ctx.Err() == nil {
				id := 1 + rand.IntN(2000)
				sql := [...]string{
					fmt.Sprintf("update orders set status = 'S%d' where id = %d", id, id),
					fmt.Sprintf("update order_items set quantity = quantity + 1 where order_id = %d", id),
					fmt.Sprintf("update clients set name = name where id = %d", 1+id%200),
					fmt.Sprintf("insert into order_items select 1 + max(id), %d, 1 from order_items", id),
				}[rand.IntN(4)]
				if id%50 == 0 {
					sql = fmt.Sprintf("update inventory set quantity = quantity - 1 where item_id = %d", 1+id%500)
				}
				_, _ = b.db.Exec(ctx, sql)                                        // two may insert the same row
				_ = rdb.Set(ctx, fmt.Sprintf("order:%d", id), "{}", 0).Err()      // Redis may be away
				_ = rdb.Set(ctx, fmt.Sprintf("client:%d", id%200), "{}", 0).Err() // likewise
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(5+rand.IntN(20)) * time.Millisecond):
				}
			}
		})
	}
	return func() {
		cancel()
		people.Wait()
		_ = rdb.Close() // nothing is waiting
	}
}
