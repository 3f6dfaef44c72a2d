package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/nats-io/nats.go"
)

// NATSOptions says how to start a NATS server. The zero value is a server with
// JetStream.
type NATSOptions struct {
	// Bin is the server's program. Defaults to what FindNATS finds or builds.
	Bin string
	// Dir is the folder in which the temporary folder is made. Defaults to the
	// system's.
	Dir string
	// SyncAlways makes JetStream sync to disk before it acknowledges. Defaults
	// to false, as in the server.
	SyncAlways bool
	// Config is added to the server's configuration file at its top level.
	Config string
	// User and Password are asked of every client. Default to none.
	User, Password string
	// ConfigFile is the server's configuration, as it is but for the lines listen
	// and store_dir. Config and SyncAlways are ignored then; User and Password are
	// those with which Connect, and Start, connect. An absolute path.
	ConfigFile string
	// Env is added to the server's environment.
	Env []string
}

// NATS is one running, or stopped, NATS server with JetStream, in a process of
// its own. Tests that never kill it may embed the server instead.
type NATS struct {
	bin   string
	opts  NATSOptions
	proc  *process
	port  *portHold
	route *route // nil outside a cluster
}

// StartNATS starts a NATS server in a temporary folder. ctx bounds the start
// only, but with it the first build of the program; Close ends the server.
func StartNATS(ctx context.Context, opts NATSOptions) (*NATS, error) {
	return startNATS(ctx, opts, nil)
}

func startNATS(ctx context.Context, opts NATSOptions, r *route) (*NATS, error) {
	bin, err := FindNATS(ctx, opts.Bin)
	if err != nil {
		return nil, err
	}
	g, err := newGuard(opts.Dir, "nats")
	if err != nil {
		return nil, err
	}
	n := &NATS{bin: bin, opts: opts, proc: &process{name: "nats-server", guard: g, env: opts.Env}, route: r}
	err = withPort(ctx, false, func(hold *portHold) error {
		n.port = hold
		err := n.Start(ctx)
		if err != nil && portTaken(n.Log()) {
			return errors.Join(errPortTaken, err)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start nats-server: %w", err), n.Close())
	}
	return n, nil
}

// URL is the server's URL, without credentials.
func (n *NATS) URL() string { return "nats://" + n.Addr() }

// Addr is the server's address as host:port.
func (n *NATS) Addr() string { return n.port.addr() }

// Port is the server's TCP port on 127.0.0.1. It stays the same until Close.
func (n *NATS) Port() int { return n.port.number }

// PID is the server's process id, or 0 while it does not run.
func (n *NATS) PID() int { return n.proc.pid() }

// StoreDir is the folder of JetStream's files.
func (n *NATS) StoreDir() string { return filepath.Join(n.proc.guard.folder, "store") }

// Log returns the end of the server's log.
func (n *NATS) Log() string { return n.proc.tail() }

// Connect opens a connection to the server, for the caller to close.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	if n.opts.User != "" {
		opts = append([]nats.Option{nats.UserInfo(n.opts.User, n.opts.Password)}, opts...)
	}
	return nats.Connect(n.URL(), opts...)
}

// Start starts the server again on the same port after Stop or Kill, and
// returns once JetStream has recovered its streams.
func (n *NATS) Start(ctx context.Context) error {
	config := filepath.Join(n.proc.guard.folder, "nats.conf")
	err := os.WriteFile(config, n.config(), 0o600)
	if n.opts.ConfigFile != "" {
		config, err = n.copyConfig()
	}
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	if err := n.proc.start(n.bin, "-c", config); err != nil {
		return err
	}
	return n.proc.await(ctx, func(context.Context) error {
		// The server listens only after JetStream has recovered.
		conn, err := n.Connect(nats.NoReconnect())
		if err != nil {
			return err
		}
		conn.Close()
		return nil
	})
}

// The lines of a configuration file that say what is this package's to choose.
var (
	listenLine = regexp.MustCompile(`(?m)^listen:.*$`)
	storeLine  = regexp.MustCompile(`(?m)^(\s*)store_dir:.*$`)
)

// copyConfig copies the configuration file, and those beside it, which it may
// include: a server finds them from the folder of its own.
func (n *NATS) copyConfig() (path string, err error) {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(n.opts.ConfigFile), "*.conf"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		if file == n.opts.ConfigFile {
			text = listenLine.ReplaceAllLiteral(text, []byte("listen: "+n.Addr()))
			text = storeLine.ReplaceAll(text, fmt.Appendf(nil, "${1}store_dir: %q", n.StoreDir()))
			if n.route != nil {
				text = n.route.rewrite(text)
			}
		}
		if err := os.WriteFile(filepath.Join(n.proc.guard.folder, filepath.Base(file)), text, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(n.proc.guard.folder, filepath.Base(n.opts.ConfigFile)), nil
}

func (n *NATS) config() []byte {
	var conf bytes.Buffer
	fmt.Fprintf(&conf, "host: 127.0.0.1\nport: %d\njetstream {\n  store_dir: %q\n", n.port.number, n.StoreDir())
	if n.opts.SyncAlways {
		conf.WriteString("  sync_interval: always\n")
	}
	conf.WriteString("}\n")
	if n.opts.User != "" {
		fmt.Fprintf(&conf, "authorization { user: %q, password: %q }\n", n.opts.User, n.opts.Password)
	}
	conf.WriteString(n.opts.Config)
	return conf.Bytes()
}

// Stop shuts the server down in good order.
func (n *NATS) Stop() error { return n.proc.stop(syscall.SIGTERM) }

// Kill ends the server as a crash would.
func (n *NATS) Kill() error { return n.proc.kill() }

// Pause halts the server: once it has returned, connections stay open and
// nobody answers.
func (n *NATS) Pause() error { return n.proc.pause() }

// Resume ends a Pause.
func (n *NATS) Resume() error { return n.proc.resume() }

// Signal sends a signal to the server.
func (n *NATS) Signal(sig syscall.Signal) error { return n.proc.signal(sig, false) }

// WipeStore removes JetStream's files. The server must not be running.
func (n *NATS) WipeStore() error {
	if n.proc.running() {
		return fmt.Errorf("wipe JetStream store: %w", ErrRunning)
	}
	if err := os.RemoveAll(n.StoreDir()); err != nil {
		return fmt.Errorf("wipe JetStream store: %w", err)
	}
	return nil
}

// Close ends the server and removes everything of it. It may be called again.
func (n *NATS) Close() error {
	err := n.proc.close()
	if n.port != nil {
		n.port.release()
	}
	if n.route != nil {
		n.route.port.release()
	}
	return err
}
