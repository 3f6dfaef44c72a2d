package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
	"github.com/freshet-dev/freshet/warmer"
)

const instance = "bench"

const schemaSQL = `
create table orders (
    id           bigint primary key,
    client_id    bigint not null,
    workspace_id bigint not null,
    status       text not null,
    total        numeric(12, 2) not null,
    note         text,
    updated_at   timestamptz not null default now()
);
create procedure small_transactions(first bigint, last bigint) language plpgsql as $$
begin
    for i in first..last loop
        update orders set status = 'S' || i, updated_at = clock_timestamp() where id = i;
        commit;
    end loop;
end $$;`

// rules remove two keys for each row. Without the full identity the second
// needs a column that is declared never to change.
func (r *rig) rules() []rule.Config {
	config := rule.Config{Table: "orders", Invalidate: []string{"order:{id}", "orders:client:{client_id}"}}
	if r.identity != "full" {
		config.Immutable = []string{"client_id"}
	}
	if r.warmRate > 0 {
		config.Warm = []rule.Warm{{Key: "order:{id}", SQL: "select to_jsonb(o) from orders o where o.id = {id}", TTL: time.Hour}}
	}
	return []rule.Config{config}
}

// rig is the servers that one benchmark runs on.
type rig struct {
	dir      string
	identity string // replica identity of the table: full or default
	warmRate int    // of queries a second; 0: nothing is warmed
	postgres *servers.Postgres
	redis    *servers.Redis
	db       *pgxpool.Pool
	rdb      *redis.Client
	undo     []func() error
}

func newRig(ctx context.Context, rows int, identity string) (r *rig, err error) {
	if identity != "full" && identity != "default" {
		return nil, fmt.Errorf("--identity %q: want full or default", identity)
	}
	r = &rig{identity: identity}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.dir, err = os.MkdirTemp("", "freshet-bench-"); err != nil {
		return r, err
	}
	r.undo = append(r.undo, func() error { return os.RemoveAll(r.dir) })
	r.postgres, err = servers.StartPostgres(ctx, servers.PostgresOptions{Settings: map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "8GB", "synchronous_commit": "on",
		"autovacuum": "off", // it would come amid one side of a comparison
	}})
	if err != nil {
		return r, err
	}
	r.undo = append(r.undo, r.postgres.Close)
	if r.redis, err = servers.StartRedis(ctx, servers.RedisOptions{}); err != nil {
		return r, err
	}
	r.undo = append(r.undo, r.redis.Close)
	if r.db, err = pgxpool.New(ctx, r.postgres.URL()+"&pool_max_conns=24"); err != nil {
		return r, err
	}
	r.undo = append(r.undo, func() error { r.db.Close(); return nil })
	options, err := redis.ParseURL(r.redis.URL())
	if err != nil {
		return r, err
	}
	r.rdb = redis.NewClient(options)
	r.undo = append(r.undo, r.rdb.Close)
	if _, err := r.db.Exec(ctx, schemaSQL+"alter table orders replica identity "+identity); err != nil {
		return r, fmt.Errorf("create the table: %w", err)
	}
	_, err = r.db.Exec(ctx, `insert into orders select n, n % 1000, n % 10, 'NEW', n, repeat('x', 40) from generate_series(1, $1::bigint) n`, rows)
	return r, err
}

func (r *rig) close() error {
	var errs []error
	for i := len(r.undo) - 1; i >= 0; i-- {
		errs = append(errs, r.undo[i]())
	}
	return errors.Join(errs...)
}

// process is a service that runs until stop is called.
type process struct {
	service.Running
	stop func() error
}

// start runs roles of the service and returns when they are connected.
func (r *rig) start(ctx context.Context, applied func(invalidator.Applied), roles ...string) (*process, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	started := make(chan service.Running, 1) // 1: OnStarted must not wait
	cfg := service.Config{
		Roles:       roles,
		PostgresURL: r.postgres.URL(),
		Compile:     func(s rule.Schema) (*rule.Set, error) { return rule.Compile(r.rules(), s) },
		Stream: stream.Config{
			Name: instance, MaxBytes: 4 << 30, Logger: logger,
			Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: filepath.Join(r.dir, "nats")},
		},
		Consumer:    consumer.Config{Name: instance, URL: r.postgres.URL(), Manage: true, Logger: logger},
		Invalidator: invalidator.Config{Name: instance, OnApplied: applied, Logger: logger},
		Warmer:      warmer.Config{Rate: r.warmRate, Logger: logger},
		Applier:     cache.ApplierConfig{Name: instance, Logger: logger},
		CacheURL:    r.redis.URL(),
		Logger:      logger,
		OnStarted:   func(s service.Running) { started <- s },
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1) // 1: it must not wait for stop
	go func() { ended <- service.Run(running, cfg) }()
	stop := func() error { cancel(); return <-ended }
	select {
	case s := <-started:
		return &process{Running: s, stop: stop}, nil
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("start the service: %w", err)
	}
}

// walEnd is past every commit that has returned.
func (r *rig) walEnd(ctx context.Context) (cdc.LSN, error) {
	var text string
	if err := r.db.QueryRow(ctx, `select pg_current_wal_flush_lsn()::text`).Scan(&text); err != nil {
		return 0, err
	}
	return cdc.ParseLSN(text)
}

// until polls every half millisecond; what is measured takes seconds.
func until(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// environment says what the figures were measured on.
func (r *rig) environment(ctx context.Context) string {
	var server string
	if err := r.db.QueryRow(ctx, `show server_version`).Scan(&server); err != nil {
		server = "unknown"
	}
	info, err := r.rdb.InfoMap(ctx, "server").Result()
	version := "unknown"
	if err == nil {
		version = info["Server"]["redis_version"]
	}
	return strings.Join([]string{machine(), "Postgres " + server, "Redis " + version, "all on loopback"}, ", ")
}
