package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

const instance = "demo"

// shop is the running demo: its servers, the service, and its people.
type shop struct {
	dir      string // everything on disk that is not a server's own
	postgres *servers.Postgres
	redis    *servers.Redis // nil with a cache in memory
	store    string         // redis or memory, for the summary
	notice   string         // what had to be said aloud
	db       *pgxpool.Pool
	cache    *cache.Cache
	service  service.Running
	stop     context.CancelFunc // ends the service
	ended    chan error         // the service's end; size 1: it must not wait for a reader
	writers  writers
	readers  readers
	authors  authors
	undo     []func() error // what close undoes, in reverse order
}

// open starts everything. What was started is stopped again when it fails.
func open(ctx context.Context, o Options, view *liveView) (s *shop, err error) {
	s = &shop{ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.startServers(ctx, o); err != nil {
		return s, err
	}
	if _, err := s.db.Exec(ctx, shopSQL); err != nil {
		return s, fmt.Errorf("create the shop: %w", err)
	}
	if err := s.startService(ctx, o, view); err != nil {
		return s, err
	}
	s.writers = writers{db: s.db, count: 4, pause: 12 * time.Millisecond}
	s.readers = readers{cache: s.cache, db: s.db, count: 8, pause: time.Millisecond}
	s.authors.cache, s.authors.db, s.authors.count, s.authors.pause = s.cache, s.db, 2, 20*time.Millisecond
	return s, nil
}

func (s *shop) startServers(ctx context.Context, o Options) error {
	say(o.Out, "Starting Postgres, NATS and Redis …\n")
	var err error
	if s.dir, err = os.MkdirTemp(o.folder, "freshet-demo-"); err != nil {
		return err
	}
	s.undo = append(s.undo, func() error { return os.RemoveAll(s.dir) })

	if s.postgres, err = servers.StartPostgres(ctx, servers.PostgresOptions{Dir: o.folder}); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s.undo = append(s.undo, s.postgres.Close)
	if s.db, err = pgxpool.New(ctx, s.postgres.URL()); err != nil {
		return fmt.Errorf("connect to postgres: %w", err)
	}
	s.undo = append(s.undo, func() error { s.db.Close(); return nil })

	url := "memory://"
	var missing *servers.MissingError
	s.redis, err = servers.StartRedis(ctx, servers.RedisOptions{Dir: o.folder})
	switch {
	case err == nil:
		s.store, url = "redis", s.redis.URL()
		s.undo = append(s.undo, s.redis.Close)
	case errors.As(err, &missing):
		s.store = "memory"
		s.notice = "No redis-server on this machine: the cache is in this process's memory (memory://).\n"
	default:
		return fmt.Errorf("start redis: %w", err)
	}
	if s.cache, err = cache.Open(ctx, url, cache.Config{Source: instance, Logger: o.Logger}); err != nil {
		return fmt.Errorf("open the cache: %w", err)
	}
	s.undo = append(s.undo, s.cache.Close)
	return nil
}

func (s *shop) startService(ctx context.Context, o Options, view *liveView) error {
	cfg := service.Config{
		PostgresURL: s.postgres.URL(),
		Compile: func(schema rule.Schema) (*rule.Set, error) {
			return rule.Compile(Rules(), schema)
		},
		Stream: stream.Config{
			Name:     instance,
			Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: filepath.Join(s.dir, "nats")},
			Logger:   o.Logger,
		},
		Consumer:    consumer.Config{Name: instance, URL: s.postgres.URL(), Manage: true, Logger: o.Logger},
		Invalidator: invalidator.Config{Name: instance, OnApplied: view.applied, Logger: o.Logger},
		Applier:     cache.ApplierConfig{Name: instance, Logger: o.Logger},
		HTTP:        monitor.Config{Listen: "127.0.0.1:0", Logger: o.Logger},
		Logger:      o.Logger,
	}
	if s.redis != nil {
		cfg.CacheURL = s.redis.URL()
	} else {
		cfg.Memory = s.cache
	}
	started := make(chan service.Running, 1) // 1: OnStarted must not wait
	cfg.OnStarted = func(r service.Running) { started <- r }

	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go func() { s.ended <- service.Run(running, cfg) }()
	s.undo = append(s.undo, func() error {
		stop()
		return <-s.ended
	})
	select {
	case s.service = <-started:
	case err := <-s.ended:
		s.ended <- err // close reads it again
		return fmt.Errorf("start the service: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.settle(ctx)
}

// settle waits until everything that is committed now has been applied.
func (s *shop) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var text string
	// The flush position is past every commit that has returned.
	if err := s.db.QueryRow(ctx, `select pg_current_wal_flush_lsn()::text`).Scan(&text); err != nil {
		return fmt.Errorf("ask for the WAL position: %w", err)
	}
	want, err := cdc.ParseLSN(text)
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		status := s.service.Invalidator.Status()
		if status.Position.LSN >= want && status.PendingPatterns == 0 && status.Position.Hold == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-s.ended:
			s.ended <- err // close reads it again
			return fmt.Errorf("the service stopped: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("wait until WAL position %s is applied: %w; consumer %s, invalidator %s at %s %s",
				want, ctx.Err(), s.service.Consumer.Status().State, status.State, status.Position.LSN, status.Reason)
		}
	}
}

// close stops everything in reverse order and removes what is on disk.
func (s *shop) close() error {
	var errs []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		errs = append(errs, s.undo[i]())
	}
	s.undo = nil
	return errors.Join(errs...)
}

// describe says what runs, and with serve where to look at it.
func (s *shop) describe(serve bool) string {
	var b strings.Builder
	b.WriteString(s.notice)
	fmt.Fprintf(&b, "A shop with writers that only speak SQL, readers that only speak the cache, and authors\nwho read back what they wrote.\n")
	fmt.Fprintf(&b, "%d rules keep these keys fresh: %s\n", len(Rules()), strings.Join(viewNames(), " "))
	if serve {
		b.WriteString("\nPoke at it from other terminals (Ctrl-C ends it and compares everything):\n")
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(table, "  change rows\tpsql '%s'\n", s.postgres.URL())
		if s.redis != nil {
			fmt.Fprintf(table, "  read keys\tredis-cli -u %s\n", s.redis.URL())
		}
		fmt.Fprintf(table, "  watch changes\tnats -s %s sub 'freshet.%s.changes.>'\n", s.service.NATS, instance)
		fmt.Fprintf(table, "  dashboard\t%s/\n", s.service.HTTP)
		fmt.Fprintf(table, "  health\tcurl %s/readyz\n", s.service.HTTP)
		fmt.Fprintf(table, "  status\tcurl %s/status\n", s.service.HTTP)
		_ = table.Flush() // a strings.Builder does not fail
	}
	b.WriteString("\ntime          change                  latency    removed\n")
	return b.String()
}
