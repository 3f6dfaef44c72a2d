package httpcache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// recorder is what a handler writes to whose response is to be stored. The client
// gets everything at once; a copy is kept for as long as it may be stored.
type recorder struct {
	x      *exchange
	f      *fill
	ctx    context.Context //nolint:containedctx // the handler's
	done   <-chan loaded   // what the cache's call returns
	fwd    string
	before http.Header // as it was when the handler was called

	wrote  bool      // the header
	silent bool      // the client has its answer: the handler's goes nowhere but into the cache
	kept   *response // what is being stored; nil if nothing is
	length string    // the Content-Length that the handler announced
	body   bytes.Buffer
}

var (
	_ http.ResponseWriter = (*recorder)(nil)
	_ http.Flusher        = (*recorder)(nil)
	_ http.Hijacker       = (*recorder)(nil)
)

// Header returns the response's header.
func (c *recorder) Header() http.Header { return c.x.w.Header() }

// Unwrap is for http.ResponseController.
func (c *recorder) Unwrap() http.ResponseWriter { return c.x.w }

// WriteHeader decides whether the response is stored, and sends its header.
func (c *recorder) WriteHeader(status int) {
	if c.wrote || 100 <= status && status <= 199 && status != http.StatusSwitchingProtocols {
		if !c.silent {
			c.x.w.WriteHeader(status)
		}
		return
	}
	c.wrote = true
	x, h, now := c.x, c.x.w.Header(), time.Now()
	p := x.m.cfg.judge(x.facts, status, h, now)
	c.length = h.Get("Content-Length")
	switch {
	case !c.f.open():
		x.sign(xMiss, forwarded(c.fwd, "not-storable"))
	case p.refused == "":
		c.keep(p, status, now)
		x.sign(xMiss, forwarded(c.fwd, "")+"; stored")
	case status >= http.StatusInternalServerError:
		if c.f.settle(nil, errFailed) && c.stale() {
			return
		}
		x.sign(xMiss, forwarded(c.fwd, p.refused))
	default:
		c.f.refuse(p.personal)
		x.sign(xMiss, forwarded(c.fwd, p.refused))
	}
	// The handler did not see the conditions.
	if status == http.StatusOK && unmodified(x.r.Header, h.Get("Etag"), h.Get("Last-Modified")) {
		notModified(x.w)
		c.silent = true
		return
	}
	x.w.WriteHeader(status)
}

// keep begins to keep the response.
func (c *recorder) keep(p plan, status int, now time.Time) {
	h := c.x.w.Header()
	c.kept = &response{
		status: status, header: keep(c.before, h), stored: now, ttl: p.ttl,
		age: seconds(h.Get("Age")), public: p.public, perCookie: p.perCookie,
	}
	c.kept.variesFrom(c.x.r, p.varies)
}

// stale answers with an expired response in place of an error, if there is one.
func (c *recorder) stale() bool {
	if c.x.m.cfg.StaleIfError <= 0 {
		return false
	}
	got := <-c.done
	if got.response == nil || !got.response.answers(c.x.r) || !c.x.may(got.response) {
		return false
	}
	h := c.x.w.Header()
	clear(h)
	maps.Copy(h, c.before)
	c.silent = true
	c.x.answer(got.response)
	return true
}

// Write sends a part of the body.
func (c *recorder) Write(part []byte) (int, error) {
	if !c.wrote {
		c.WriteHeader(http.StatusOK)
	}
	storing := c.store(part)
	if c.silent {
		return len(part), nil
	}
	n, err := c.x.w.Write(part)
	if err != nil && storing && !errors.Is(err, http.ErrBodyNotAllowed) {
		return len(part), nil // the client has gone, and others wait
	}
	return n, err
}

// store keeps a part of the body, and reports whether the response is still to be
// stored.
func (c *recorder) store(part []byte) bool {
	if c.kept == nil {
		return false
	}
	if c.kept.status == http.StatusNoContent {
		return true
	}
	if c.body.Len()+len(part) > c.x.m.cfg.MaxBody {
		c.f.refuse(false)
	}
	if !c.f.open() {
		c.kept, c.body = nil, bytes.Buffer{}
		return false
	}
	c.body.Write(part)
	return true
}

// Flush sends what has been written to the client.
func (c *recorder) Flush() { _ = c.FlushError() }

// FlushError does, for http.ResponseController.
func (c *recorder) FlushError() error {
	if !c.wrote {
		c.WriteHeader(http.StatusOK)
	}
	if c.silent {
		return nil
	}
	return http.NewResponseController(c.x.w).Flush()
}

// Hijack takes the connection over. Nothing is stored.
func (c *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c.f.refuse(false)
	c.kept, c.wrote, c.silent = nil, true, true
	return http.NewResponseController(c.x.w).Hijack()
}

// finish stores the response when the handler has returned.
func (c *recorder) finish() {
	if !c.wrote {
		c.WriteHeader(http.StatusOK)
	}
	if c.kept == nil {
		return // settled
	}
	switch {
	case c.ctx.Err() != nil, c.length != "" && c.length != strconv.Itoa(c.body.Len()):
		c.f.settle(nil, errAborted) // it may lack its end
		return
	case hasTrailers(c.x.w.Header()):
		c.f.refuse(false)
		return
	}
	c.kept.body = c.body.Bytes()
	c.kept.complete()
	c.f.settle(c.kept, nil)
}

func hasTrailers(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}
