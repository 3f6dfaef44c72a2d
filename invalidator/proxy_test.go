package invalidator_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy forwards connections to a server that can be exchanged, as the address
// of a master is by a failover.
type proxy struct {
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex // guards what follows
	to       string
	open     map[net.Conn]struct{}
	closed   bool
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, open: map[net.Conn]struct{}{}}
	p.wg.Go(p.serve)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() }

// lead leads new connections to another server and cuts the old ones.
func (p *proxy) lead(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
	p.cutLocked()
}

func (p *proxy) cutLocked() {
	for c := range p.open {
		c.Close()
	}
	p.open = map[net.Conn]struct{}{}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.cutLocked()
	p.mu.Unlock()
	p.listener.Close()
	p.wg.Wait()
}

func (p *proxy) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		out, err := net.Dial("tcp", to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		if p.closed || p.to != to {
			p.mu.Unlock()
			in.Close()
			out.Close()
			continue
		}
		p.open[in], p.open[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { pipe(out, in) })
		p.wg.Go(func() { pipe(in, out) })
	}
}

func pipe(to, from net.Conn) {
	io.Copy(to, from) // ends when either side closes
	to.Close()
	from.Close()
}
