package httpcache

import (
	"bufio"
	"bytes"
	"maps"
	"net"
	"net/http"
)

// maxHeld is how many bytes of a body are held back.
const maxHeld = 64 << 10

// holder holds a response back until what it announces has been invalidated.
type holder struct {
	w       http.ResponseWriter
	changed func() // invalidates

	status int         // 0 before the handler has written the header
	header http.Header // as it was then
	body   bytes.Buffer
	sent   bool // nothing is held back any more
}

var (
	_ http.ResponseWriter = (*holder)(nil)
	_ http.Flusher        = (*holder)(nil)
	_ http.Hijacker       = (*holder)(nil)
)

// Header returns the response's header.
func (h *holder) Header() http.Header { return h.w.Header() }

// Unwrap is for http.ResponseController.
func (h *holder) Unwrap() http.ResponseWriter { return h.w }

// WriteHeader notes the status.
func (h *holder) WriteHeader(status int) {
	switch {
	case h.sent, 100 <= status && status <= 199:
		h.w.WriteHeader(status) // which complains of a second one
	case h.status == 0:
		h.status, h.header = status, h.w.Header().Clone()
	}
}

// Write holds a part of the body back.
func (h *holder) Write(part []byte) (int, error) {
	if h.status == 0 {
		h.WriteHeader(http.StatusOK)
	}
	if !h.sent && h.body.Len()+len(part) <= maxHeld {
		return h.body.Write(part)
	}
	h.release()
	return h.w.Write(part)
}

// release invalidates, and sends what was held back.
func (h *holder) release() {
	if h.sent {
		return
	}
	h.sent = true
	h.invalidate()
	if h.status == 0 {
		return // net/http's default
	}
	// What the handler has done to the header since is for the trailers.
	header := h.w.Header()
	now := maps.Clone(header)
	clear(header)
	maps.Copy(header, h.header)
	h.w.WriteHeader(h.status)
	clear(header)
	maps.Copy(header, now)
	if h.body.Len() > 0 {
		_, _ = h.w.Write(h.body.Bytes()) // the next write fails too
	}
	h.body = bytes.Buffer{}
}

func (h *holder) invalidate() {
	if h.status < http.StatusBadRequest || h.status >= http.StatusInternalServerError {
		h.changed()
	}
}

// finish is called when the handler has returned.
func (h *holder) finish() {
	if h.sent {
		h.invalidate() // what it has done since it flushed
		return
	}
	h.release()
}

// Flush sends what was held back.
func (h *holder) Flush() { _ = h.FlushError() }

// FlushError does, for http.ResponseController.
func (h *holder) FlushError() error {
	if h.status == 0 {
		h.WriteHeader(http.StatusOK)
	}
	h.release()
	return http.NewResponseController(h.w).Flush()
}

// Hijack takes the connection over.
func (h *holder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.sent = true
	return http.NewResponseController(h.w).Hijack()
}
