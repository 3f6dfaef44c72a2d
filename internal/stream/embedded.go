package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// embeddedStart bounds the start: recovering a full store of 1 GiB takes a
	// few seconds on a slow disk.
	embeddedStart = 60 * time.Second
	// embeddedSlack is what the server may store beside the change stream: the
	// events, the dead letters, the bucket and the warm tasks.
	embeddedSlack = 4 << 30

	lockFile        = "freshet.lock"
	jetStreamFolder = "jetstream" // the server's own choice
)

// embedded is a NATS server within this process.
type embedded struct {
	server *server.Server
	dir    string // absolute
	lock   *storeLock
}

// startEmbedded starts the server and returns once JetStream is ready.
func startEmbedded(ctx context.Context, cfg Config) (*embedded, error) {
	host, port, err := cfg.Embedded.address()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Embedded.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("embedded store %q: %w", cfg.Embedded.StoreDir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded store %q: %w; set nats.embedded.store_dir to a folder that can be written", dir, err)
	}
	lock, err := lockStore(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	if err := portFree(ctx, host, port); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	opts := &server.Options{
		ServerName: cfg.ClientName,
		Host:       host,
		Port:       port,
		NoSigs:     true,
		NoLog:      true,
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: cfg.Embedded.SyncAlways,
		// By default the limit follows the disk's free space at start, and a
		// nearly full disk would refuse to open the stream that fills it.
		JetStreamMaxStore:  2*cfg.MaxBytes + embeddedSlack,
		JetStreamMaxMemory: 512 << 20,
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded nats server: %w", err), lock.release())
	}
	log := &serverLog{log: cfg.Logger, fatal: make(chan string, 1)}
	srv.SetLoggerV2(log, false, false, false)
	e := &embedded{server: srv, dir: dir, lock: lock}
	srv.Start()
	deadline := time.Now().Add(embeddedStart)
	for !srv.ReadyForConnections(50 * time.Millisecond) {
		select {
		case text := <-log.fatal:
			return nil, errors.Join(fmt.Errorf("embedded nats server on %s with store %q: %s", cfg.Embedded.Listen, dir, text), e.close())
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("embedded nats server: %w", context.Cause(ctx)), e.close())
		default:
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("embedded nats server with store %q: not ready after %s", dir, embeddedStart), e.close())
		}
	}
	return e, nil
}

// close stops the server, waits for it and unlocks the store.
func (e *embedded) close() error {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return e.lock.release()
}

// portFree asks before the server does, because its own complaint reaches
// nobody but the log.
func portFree(ctx context.Context, host string, port int) error {
	if port < 0 {
		return nil
	}
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("embedded nats server: listen on %s: %w; set nats.embedded.listen to a free port, or nats.url to the server that runs there", addr, err)
	}
	return l.Close()
}

// serverLog passes the server's errors on and keeps the rest below Debug's
// notice.
type serverLog struct {
	log   *slog.Logger
	once  sync.Once
	fatal chan string
}

var _ server.Logger = (*serverLog)(nil)

func (l *serverLog) Noticef(string, ...any) {}
func (l *serverLog) Debugf(string, ...any)  {}
func (l *serverLog) Tracef(string, ...any)  {}

func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Debug("embedded nats server", "warning", strings.TrimSpace(fmt.Sprintf(format, v...)))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("embedded nats server", "error", strings.TrimSpace(fmt.Sprintf(format, v...)))
}

// Fatalf keeps the text for startEmbedded. The server goes on without what
// failed, so it must not end the process here.
func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.once.Do(func() { l.fatal <- text })
}
