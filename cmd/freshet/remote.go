package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/stream"
)

// flushTime is how long the server may take to know what is listened to.
const flushTime = 10 * time.Second

// remoteFlags say which running instance a command talks to. It does so over NATS
// alone.
type remoteFlags struct {
	config, nats, name string
}

func (f *remoteFlags) add(cmd *cobra.Command) {
	configFlag(cmd, &f.config)
	cmd.Flags().StringVar(&f.nats, "nats", "", "`URL` of the NATS server, with --name instead of a configuration file")
	cmd.Flags().StringVar(&f.name, "name", "", "`NAME` of the instance")
}

// remote is a connection to a running instance.
type remote struct {
	conn     *nats.Conn
	subjects cdc.Subjects
	me       string // how this client calls itself
	refused  atomic.Pointer[stream.PermissionError]
}

// dial connects; the caller closes.
func (f *remoteFlags) dial() (*remote, error) {
	cfg := stream.Config{URL: f.nats, Name: f.name}
	switch {
	case strings.ContainsFunc(f.name, notOfName):
		return nil, usageErrorf("--name %q: want letters, digits, _ and -", f.name)
	case f.nats != "" && f.name == "":
		return nil, usageErrorf("--nats: name the instance too, with --name")
	case f.nats == "":
		file, err := config.LoadClient(f.config, os.LookupEnv)
		if err != nil {
			return nil, err
		}
		cfg = file.StreamConfig()
		if f.name != "" {
			cfg.Name = f.name
		}
	}
	cfg.ClientName = clientName()
	cfg.Logger = slog.New(slog.DiscardHandler)
	r := &remote{subjects: cdc.Subjects{Name: cfg.Name}, me: cfg.ClientName}
	cfg.OnRefused = func(refused *stream.PermissionError) { r.refused.CompareAndSwap(nil, refused) }
	var err error
	if r.conn, err = stream.Dial(cfg); err != nil {
		return nil, fmt.Errorf("%w; is the service running, and is this the server that it uses? Set nats.url, or give --nats URL and --name NAME", err)
	}
	return r, nil
}

// follow subscribes, and returns once the server has granted it.
func (r *remote) follow(messages chan *nats.Msg, subjects ...string) ([]*nats.Subscription, error) {
	var subs []*nats.Subscription
	for _, subject := range subjects {
		sub, err := r.conn.ChanSubscribe(subject, messages)
		if err != nil {
			return nil, fmt.Errorf("follow %s: %w", subject, r.why(err))
		}
		subs = append(subs, sub)
	}
	err := r.conn.FlushTimeout(flushTime)
	// The connection knows of a refusal before it is told.
	if refused := stream.Refusal(r.conn.LastError()); refused != nil {
		err = refused
	}
	if err != nil {
		return nil, fmt.Errorf("follow: %w", r.why(err))
	}
	return subs, nil
}

// why is the refusal that made a call fail, or else the error itself.
func (r *remote) why(err error) error {
	if refused := r.refused.Load(); refused != nil {
		return refused
	}
	return err
}

func notOfName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
}

func (r *remote) close() { r.conn.Close() }

// clientName names the connection after whoever types.
func clientName() string {
	name := "freshet"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s@%s (freshet command, process %d)", name, host, os.Getpid())
}

// ask sends a control request and decodes its result.
func (r *remote) ask(ctx context.Context, verb string, request, result any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 35*time.Second) // the service gives up before
	defer cancel()
	msg := nats.NewMsg(r.subjects.Control(verb))
	msg.Data = data
	msg.Header.Set(monitor.ClientHeader, r.me)
	reply, err := r.conn.RequestMsgWithContext(ctx, msg)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("no process of instance %s answers %s: is it running, with an active invalidator? `freshet status` tells", r.subjects.Name, verb)
	case err != nil:
		return fmt.Errorf("%s: %w", verb, r.why(err))
	}
	var answer monitor.Answer
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return fmt.Errorf("%s: the answer cannot be read: %w", verb, err)
	}
	if !answer.OK {
		refused := &monitor.RefusedError{Message: answer.Error, Remedy: answer.Remedy}
		if reply.Header.Get(micro.ErrorCodeHeader) == "400" {
			return usageErrorf("%s: %w", verb, refused)
		}
		return fmt.Errorf("%s: %w", verb, refused)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}
