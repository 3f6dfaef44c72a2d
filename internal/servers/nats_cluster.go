package servers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// NATSClusterOptions says how to start a cluster of NATS servers.
type NATSClusterOptions struct {
	// Servers is how many there are. Defaults to 3.
	Servers int
	// Node is how each of them is started. Its ConfigFile is required: the lines of
	// its cluster block that begin with listen and routes become ours, and the
	// server's name is that of Name in the variable NATS_NAME.
	Node NATSOptions
}

// NATSCluster is a running cluster of NATS servers with JetStream.
type NATSCluster struct{ nodes []*NATS }

// route is where a server listens for the others of its cluster.
type route struct {
	port  *portHold
	peers []string // addresses of all, its own among them
}

// StartNATSCluster starts a cluster, and returns once JetStream answers on each of
// its servers. ctx bounds the start only; Close ends all of them.
func StartNATSCluster(ctx context.Context, opts NATSClusterOptions) (*NATSCluster, error) {
	if opts.Servers == 0 {
		opts.Servers = 3
	}
	c := &NATSCluster{}
	err := c.start(ctx, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start nats cluster: %w", err), c.Close())
	}
	return c, nil
}

func (c *NATSCluster) start(ctx context.Context, opts NATSClusterOptions) error {
	routes, peers := make([]*route, opts.Servers), make([]string, opts.Servers)
	for i := range routes {
		hold, err := holdPort(ctx, false)
		if err != nil {
			return err // the holds before end with the process
		}
		routes[i], peers[i] = &route{port: hold}, hold.addr()
	}
	// A server takes clients when it has met the others.
	c.nodes = make([]*NATS, opts.Servers)
	errs := make([]error, opts.Servers)
	var wg sync.WaitGroup
	for i, r := range routes {
		r.peers = peers
		wg.Go(func() { c.nodes[i], errs[i] = startNATS(ctx, withName(opts.Node, c.Name(i)), r) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i := range c.nodes {
		if err := c.await(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func withName(opts NATSOptions, name string) NATSOptions {
	opts.Env = append(append([]string(nil), opts.Env...), "NATS_NAME="+name)
	return opts
}

// await waits until JetStream answers on a server: there is a leader, and it knows.
func (c *NATSCluster) await(ctx context.Context, i int) error {
	conn, err := c.nodes[i].Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	return c.nodes[i].proc.await(ctx, func(ctx context.Context) error {
		// Nobody answers while there is no leader, nor later.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := js.AccountInfo(ctx)
		return err
	})
}

// Nodes are the servers.
func (c *NATSCluster) Nodes() []*NATS { return c.nodes }

// Name is the name of a server.
func (c *NATSCluster) Name(i int) string { return fmt.Sprintf("nats-%d", i+1) }

// URL is the URLs of all servers.
func (c *NATSCluster) URL() string {
	urls := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		urls[i] = node.URL()
	}
	return strings.Join(urls, ",")
}

// Start starts a server again, and returns once JetStream answers on it.
func (c *NATSCluster) Start(ctx context.Context, i int) error {
	if err := c.nodes[i].Start(ctx); err != nil {
		return err
	}
	return c.await(ctx, i)
}

// Kill ends a server as a crash would.
func (c *NATSCluster) Kill(i int) error { return c.nodes[i].Kill() }

// Log returns the ends of the servers' logs.
func (c *NATSCluster) Log() string {
	var logs strings.Builder
	for i, node := range c.nodes {
		fmt.Fprintf(&logs, "--- %s\n%s\n", c.Name(i), node.Log())
	}
	return logs.String()
}

// Close ends all servers and removes everything of them. It may be called again.
func (c *NATSCluster) Close() error {
	var err error
	for _, node := range c.nodes {
		if node != nil {
			err = errors.Join(err, node.Close())
		}
	}
	return err
}

var (
	clusterListen = regexp.MustCompile(`(?m)^  listen:.*$`)
	clusterRoutes = regexp.MustCompile(`(?s)\n  routes: \[.*?\]`)
)

// rewrite puts the route's addresses into a configuration.
func (r *route) rewrite(text []byte) []byte {
	text = clusterListen.ReplaceAllLiteral(text, []byte("  listen: "+r.port.addr()))
	return clusterRoutes.ReplaceAllLiteral(text, []byte("\n  routes: [nats://"+strings.Join(r.peers, ", nats://")+"]"))
}
