package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
)

// SentinelMaster is the name under which the sentinel knows its master.
const SentinelMaster = "mymaster"

// SentinelOptions says how to start a watched pair of Redis servers.
type SentinelOptions struct {
	// Node is how master and replica are started; its ReplicaOf is ignored.
	Node RedisOptions
	// Config is the sentinel's configuration, as it is but for port, folder and
	// the address and quorum of its master. Defaults to this package's own.
	Config string
}

// Sentinel is a Redis master with one replica, watched by one sentinel, which
// promotes the replica two seconds after the master has stopped answering.
type Sentinel struct {
	nodes []*Redis // as they were at the start: master, replica
	proc  *process
	port  *portHold
}

// StartSentinel starts a master, a replica and a sentinel, and returns once the
// sentinel knows both. ctx bounds the start only; Close ends all three.
func StartSentinel(ctx context.Context, opts SentinelOptions) (*Sentinel, error) {
	s := &Sentinel{}
	err := s.start(ctx, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start redis sentinel: %w", err), s.Close())
	}
	return s, nil
}

func (s *Sentinel) start(ctx context.Context, opts SentinelOptions) error {
	opts.Node.ReplicaOf = nil
	master, err := StartRedis(ctx, opts.Node)
	if err != nil {
		return err
	}
	s.nodes = append(s.nodes, master)
	opts.Node.ReplicaOf = master
	replica, err := StartRedis(ctx, opts.Node)
	if err != nil {
		return err
	}
	s.nodes = append(s.nodes, replica)
	// A sentinel promotes only a replica that was in step.
	client := replica.Client()
	defer client.Close()
	if err := replica.proc.await(ctx, func(ctx context.Context) error {
		if info := client.Info(ctx, "replication").Val(); !strings.Contains(info, "master_link_status:up") {
			return errors.New("replica has not synchronised yet")
		}
		return nil
	}); err != nil {
		return err
	}

	g, err := newGuard(opts.Node.Dir, "sentinel")
	if err != nil {
		return err
	}
	s.proc = &process{name: "redis sentinel", guard: g}
	return withPort(ctx, false, func(hold *portHold) error {
		s.port = hold
		err := s.startSentinel(ctx, opts.Config)
		if err != nil && portTaken(s.proc.tail()) {
			return errors.Join(errPortTaken, err)
		}
		return err
	})
}

var (
	sentinelPort    = regexp.MustCompile(`(?m)^port .*$`)
	sentinelDir     = regexp.MustCompile(`(?m)^dir .*$`)
	sentinelMonitor = regexp.MustCompile(`(?m)^sentinel monitor .*$`)
)

// startSentinel writes the configuration, which the sentinel keeps its own
// state in, and starts it.
func (s *Sentinel) startSentinel(ctx context.Context, conf string) error {
	master := s.nodes[0]
	own := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %s
sentinel monitor %[3]s 127.0.0.1 %[4]d 1
sentinel down-after-milliseconds %[3]s 2000
sentinel failover-timeout %[3]s 3000
`, s.port.number, s.proc.guard.folder, SentinelMaster, master.Port())
	if master.opts.Password != "" {
		own += fmt.Sprintf("sentinel auth-pass %s %s\n", SentinelMaster, master.opts.Password)
	}
	if conf == "" {
		conf = own
	} else {
		for line, with := range map[*regexp.Regexp]string{
			sentinelPort:    fmt.Sprintf("port %d\nbind 127.0.0.1", s.port.number),
			sentinelDir:     "dir " + s.proc.guard.folder,
			sentinelMonitor: fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1", SentinelMaster, master.Port()),
		} {
			conf = line.ReplaceAllLiteralString(conf, with)
		}
	}
	path := filepath.Join(s.proc.guard.folder, "sentinel.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return err
	}
	if err := s.proc.start(master.bin, path, "--sentinel"); err != nil {
		return err
	}
	client := s.sentinelClient()
	defer client.Close()
	return s.proc.await(ctx, func(ctx context.Context) error {
		replicas, err := client.Replicas(ctx, SentinelMaster).Result()
		if err != nil {
			return err
		}
		// The rank by which a replica is chosen needs its state, read from it.
		if len(replicas) != 1 || replicas[0]["master-link-status"] != "ok" {
			return fmt.Errorf("sentinel knows %d replicas in step", len(replicas))
		}
		return nil
	})
}

func (s *Sentinel) sentinelClient() *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: s.Addr()})
}

// URL is the URL as go-redis parses it for a failover client.
func (s *Sentinel) URL() string {
	node := s.nodes[0]
	query := url.Values{"master_name": {SentinelMaster}}
	if node.opts.User != "" {
		query.Set("username", node.opts.User)
	}
	if node.opts.Password != "" {
		query.Set("password", node.opts.Password)
	}
	return "redis://" + s.Addr() + "?" + query.Encode()
}

// Addr is the sentinel's own address as host:port.
func (s *Sentinel) Addr() string { return s.port.addr() }

// Client returns a new client that follows the master, for the caller to close.
func (s *Sentinel) Client() *redis.Client {
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: SentinelMaster, SentinelAddrs: []string{s.Addr()}, Username: s.nodes[0].opts.User, Password: s.nodes[0].opts.Password,
	})
}

// Nodes are the two Redis servers: first the one that began as the master.
func (s *Sentinel) Nodes() []*Redis { return s.nodes }

// Master is the server that the sentinel takes for the master at present.
func (s *Sentinel) Master(ctx context.Context) (*Redis, error) {
	client := s.sentinelClient()
	defer client.Close()
	addr, err := client.GetMasterAddrByName(ctx, SentinelMaster).Result()
	if err != nil {
		return nil, fmt.Errorf("ask sentinel for the master: %w", err)
	}
	for _, node := range s.nodes {
		if len(addr) == 2 && node.Addr() == net.JoinHostPort(addr[0], addr[1]) {
			return node, nil
		}
	}
	return nil, fmt.Errorf("ask sentinel for the master: %v is none of ours", addr)
}

// Failover makes the sentinel promote the replica although the master is well,
// and returns once the new master accepts writes. After a Kill of the master no
// call is needed; AwaitMaster waits for what the sentinel does.
func (s *Sentinel) Failover(ctx context.Context) error {
	old, err := s.Master(ctx)
	if err != nil {
		return err
	}
	client := s.sentinelClient()
	defer client.Close()
	if err := client.Failover(ctx, SentinelMaster).Err(); err != nil {
		return fmt.Errorf("fail over: %w", err)
	}
	_, err = s.AwaitMaster(ctx, old)
	return err
}

// AwaitMaster returns the master once it is another than old and accepts
// writes.
func (s *Sentinel) AwaitMaster(ctx context.Context, old *Redis) (*Redis, error) {
	var master *Redis
	err := s.proc.await(ctx, func(ctx context.Context) error {
		var err error
		if master, err = s.Master(ctx); err != nil {
			return err
		}
		if master == old {
			return errors.New("still the old master")
		}
		client := master.Client()
		defer client.Close()
		if info := client.Info(ctx, "replication").Val(); !strings.Contains(info, "role:master") {
			return errors.New("not promoted yet")
		}
		return nil
	})
	return master, err
}

// Log returns the ends of the logs of all three.
func (s *Sentinel) Log() string {
	logs := joinLogs(s.nodes)
	if s.proc != nil {
		logs += "--- sentinel\n" + s.proc.tail()
	}
	return logs
}

// Close ends all three and removes everything of them. It may be called again.
func (s *Sentinel) Close() error {
	var err error
	if s.proc != nil {
		err = s.proc.close()
	}
	if s.port != nil {
		s.port.release()
	}
	for _, node := range s.nodes {
		err = errors.Join(err, node.Close())
	}
	return err
}
