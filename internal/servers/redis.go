package servers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// RedisOptions says how to start a Redis server. The zero value is an empty
// server that keeps nothing across a restart.
type RedisOptions struct {
	// Bin is the server's program, by path or name: redis-server, or
	// valkey-server. Defaults to $FRESHET_REDIS_BIN, then whichever of the two
	// is in PATH.
	Bin string
	// Dir is the folder in which the temporary folder is made. Defaults to the
	// system's.
	Dir string
	// Args are added to the command line and win over this package's own, for
	// example {"--maxmemory", "10mb"}.
	Args []string
	// AppendOnly keeps every write across Kill and Start, in an append-only
	// file. Defaults to false.
	AppendOnly bool
	// Password is asked of every client. Defaults to none.
	Password string
	// User is who logs in with Password where an ACL file, named in Args, has
	// users. Defaults to the default user.
	User string
	// ConfigFile is the server's configuration, as it is but for port, address,
	// folder and Args. Defaults to this package's own.
	ConfigFile string
	// ReplicaOf is the server to replicate, at first. Defaults to none.
	ReplicaOf *Redis

	cluster bool
}

// Redis is one running, or stopped, Redis server.
type Redis struct {
	bin  string
	opts RedisOptions
	proc *process
	port *portHold
}

// FindRedis returns the Redis program to use: bin if it is not empty, else
// $FRESHET_REDIS_BIN, redis-server or valkey-server. The error is a
// *MissingError.
func FindRedis(bin string) (string, error) {
	if bin == "" {
		bin = os.Getenv("FRESHET_REDIS_BIN")
	}
	candidates := []string{"redis-server", "valkey-server"}
	searched := "$FRESHET_REDIS_BIN, PATH"
	if bin != "" {
		candidates, searched = []string{bin}, bin
	}
	for _, candidate := range candidates {
		if path, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", &MissingError{Program: candidates[0], Searched: searched, Remedy: installRemedy("redis-server", "redis")}
}

// StartRedis starts a Redis server in a temporary folder. ctx bounds the start
// only; Close ends the server.
func StartRedis(ctx context.Context, opts RedisOptions) (*Redis, error) {
	bin, err := FindRedis(opts.Bin)
	if err != nil {
		return nil, err
	}
	g, err := newGuard(opts.Dir, "redis")
	if err != nil {
		return nil, err
	}
	r := &Redis{bin: bin, opts: opts, proc: &process{name: "redis", guard: g}}
	err = withPort(ctx, opts.cluster, func(hold *portHold) error {
		r.port = hold
		err := r.Start(ctx)
		if err != nil && portTaken(r.Log()) {
			return errors.Join(errPortTaken, err)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start redis: %w", err), r.Close())
	}
	return r, nil
}

// URL is the server's URL as go-redis parses it.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", Host: r.Addr()}
	if r.opts.Password != "" {
		u.User = url.UserPassword(r.opts.User, r.opts.Password)
	}
	return u.String()
}

// Addr is the server's address as host:port.
func (r *Redis) Addr() string { return r.port.addr() }

// Port is the server's TCP port on 127.0.0.1. It stays the same until Close.
func (r *Redis) Port() int { return r.port.number }

// PID is the server's process id, or 0 while it does not run.
func (r *Redis) PID() int { return r.proc.pid() }

// Dir is the server's folder, with its dump and its append-only file.
func (r *Redis) Dir() string { return r.proc.guard.folder }

// Log returns the end of the server's log.
func (r *Redis) Log() string { return r.proc.tail() }

// Client returns a new client for the server, for the caller to close. It does
// not repeat commands by itself, so that a test sees each failure.
func (r *Redis) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: r.Addr(), Username: r.opts.User, Password: r.opts.Password, MaxRetries: -1})
}

// Start starts the server again on the same port after Stop or Kill, and
// returns once it has loaded its data and answers.
func (r *Redis) Start(ctx context.Context) error {
	if err := r.proc.start(r.bin, r.arguments()...); err != nil {
		return err
	}
	client := r.Client()
	defer client.Close()
	return r.proc.await(ctx, func(ctx context.Context) error { return client.Ping(ctx).Err() })
}

func (r *Redis) arguments() []string {
	args := []string{
		"--port", strconv.Itoa(r.port.number),
		"--bind", "127.0.0.1",
		"--dir", r.Dir(),
		"--daemonize", "no",
		// Nothing may hang on a slow disk: what the kernel has survives a SIGKILL.
		"--appendfsync", "no",
		"--repl-diskless-sync-delay", "0",
	}
	if r.opts.ConfigFile != "" {
		args = append([]string{r.opts.ConfigFile}, args...)
	} else {
		args = append(args, "--save", "", "--appendonly", yesNo(r.opts.AppendOnly))
	}
	if r.opts.cluster && r.opts.ConfigFile == "" {
		args = append(args, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")
	}
	if r.opts.Password != "" && r.opts.User == "" {
		args = append(args, "--requirepass", r.opts.Password, "--masterauth", r.opts.Password)
	}
	if master := r.opts.ReplicaOf; master != nil {
		args = append(args, "--replicaof", "127.0.0.1", strconv.Itoa(master.Port()))
		if master.opts.Password != "" && master.opts.User == "" {
			args = append(args, "--masterauth", master.opts.Password)
		}
	}
	return append(args, r.opts.Args...)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Stop shuts the server down in good order.
func (r *Redis) Stop() error { return r.proc.stop(syscall.SIGTERM) }

// Kill ends the server as a crash would.
func (r *Redis) Kill() error { return r.proc.kill() }

// Pause halts the server: once it has returned, connections stay open and
// nobody answers.
func (r *Redis) Pause() error { return r.proc.pause() }

// Resume ends a Pause.
func (r *Redis) Resume() error { return r.proc.resume() }

// Signal sends a signal to the server.
func (r *Redis) Signal(sig syscall.Signal) error { return r.proc.signal(sig, false) }

// Close ends the server and removes everything of it. It may be called again.
func (r *Redis) Close() error {
	err := r.proc.close()
	if r.port != nil {
		r.port.release()
	}
	return err
}

// RedisDump is what a server held at one moment.
type RedisDump struct{ rdb []byte }

// SaveDump returns everything the server holds now.
func (r *Redis) SaveDump(ctx context.Context) (RedisDump, error) {
	client := r.Client()
	defer client.Close()
	if err := client.Save(ctx).Err(); err != nil {
		return RedisDump{}, fmt.Errorf("save redis: %w", err)
	}
	rdb, err := os.ReadFile(filepath.Join(r.Dir(), "dump.rdb"))
	if err != nil {
		return RedisDump{}, fmt.Errorf("save redis: %w", err)
	}
	return RedisDump{rdb: rdb}, nil
}

// RestoreDump kills the server if it runs and starts it with what it held when
// the dump was saved, as if it had forgotten everything since.
func (r *Redis) RestoreDump(ctx context.Context, dump RedisDump) error {
	if err := r.Kill(); err != nil {
		return err
	}
	// An append-only file would win over the dump.
	files, err := filepath.Glob(filepath.Join(r.Dir(), "appendonly*"))
	if err != nil {
		return fmt.Errorf("restore redis: %w", err)
	}
	for _, file := range files {
		if err := os.RemoveAll(file); err != nil {
			return fmt.Errorf("restore redis: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.Dir(), "dump.rdb"), dump.rdb, 0o600); err != nil {
		return fmt.Errorf("restore redis: %w", err)
	}
	if !r.opts.AppendOnly {
		return r.Start(ctx)
	}
	// A server that starts with an append-only file expected and none there
	// starts empty, so the file is switched on afterwards.
	r.opts.AppendOnly = false
	err = r.Start(ctx)
	r.opts.AppendOnly = true
	if err != nil {
		return err
	}
	client := r.Client()
	defer client.Close()
	if err := client.ConfigSet(ctx, "appendonly", "yes").Err(); err != nil {
		return fmt.Errorf("restore redis: %w", err)
	}
	return r.proc.await(ctx, func(ctx context.Context) error {
		info, err := client.InfoMap(ctx, "persistence").Result()
		if err != nil {
			return err
		}
		if persistence := info["Persistence"]; persistence["aof_rewrite_in_progress"] != "0" || persistence["aof_rewrite_scheduled"] != "0" {
			return errors.New("append-only file not written yet")
		}
		return nil
	})
}

// WipeData kills the server if it runs and starts it empty.
func (r *Redis) WipeData(ctx context.Context) error {
	if err := r.Kill(); err != nil {
		return err
	}
	for _, pattern := range []string{"appendonly*", "dump.rdb"} {
		files, err := filepath.Glob(filepath.Join(r.Dir(), pattern))
		if err != nil {
			return fmt.Errorf("wipe redis: %w", err)
		}
		for _, file := range files {
			if err := os.RemoveAll(file); err != nil {
				return fmt.Errorf("wipe redis: %w", err)
			}
		}
	}
	return r.Start(ctx)
}
