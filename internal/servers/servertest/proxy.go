package servertest

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Proxy forwards TCP connections to a server, and breaks them in the ways that
// networks do.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	to     string            // where new connections lead; guarded by mu
	conns  map[net.Conn]bool // both sides; guarded by mu
	held   [2]chan struct{}  // by direction, closed while it flows; guarded by mu
	closed bool              // guarded by mu
}

// The directions of a Proxy's connections.
const (
	ToServer = iota
	ToClient
)

// NewProxy starts a proxy to a server's address for the length of the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, to: server, conns: map[net.Conn]bool{}}
	for direction := range p.held {
		p.held[direction] = make(chan struct{})
		close(p.held[direction])
	}
	ctx := context.WithoutCancel(t.Context())
	p.running.Go(func() { p.accept(ctx) })
	t.Cleanup(p.close)
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Lead makes new connections lead to another server and cuts those there are.
func (p *Proxy) Lead(server string) {
	p.mu.Lock()
	p.to = server
	p.mu.Unlock()
	p.Cut()
}

// Cut breaks all connections there are, with whatever is under way in them.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close() // broken is what it is to be
	}
}

// Hold stops a direction, for connections there are and new ones: they stay open,
// and what is sent waits. Release lets it flow again.
func (p *Proxy) Hold(direction int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.held[direction]:
		p.held[direction] = make(chan struct{})
	default:
	}
}

// Release undoes Hold.
func (p *Proxy) Release(direction int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.held[direction]:
	default:
		close(p.held[direction])
	}
}

func (p *Proxy) flows(direction int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[direction]
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.Release(ToServer)
	p.Release(ToClient)
	p.running.Wait()
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		server, err := new(net.Dialer).DialContext(ctx, "tcp", to)
		if err != nil {
			_ = client.Close() // the client sees what it would see of the server
			continue
		}
		p.mu.Lock()
		if p.closed || p.to != to {
			p.mu.Unlock()
			_ = client.Close()
			_ = server.Close()
			continue
		}
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.running.Go(func() { p.pipe(server, client, ToServer) })
		p.running.Go(func() { p.pipe(client, server, ToClient) })
	}
}

// pipe copies until either side is closed.
func (p *Proxy) pipe(to, from net.Conn, direction int) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			<-p.flows(direction)
			if _, failed := to.Write(buffer[:n]); failed != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = to.Close()
	_ = from.Close()
	delete(p.conns, to)
	delete(p.conns, from)
}
