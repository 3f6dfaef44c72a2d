package monitor

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

const (
	// writeTime bounds one write to somebody who follows.
	writeTime = 10 * time.Second
	// explainBytes and explainTime bound a question of the explain box.
	explainBytes = 1 << 20
	explainTime  = 10 * time.Second
)

// events sends what happens, as it happens, until the client goes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	watch := s.cfg.Watch
	messages := watch.hub.join()
	if messages == nil {
		http.Error(w, "too many follow already, or this process is stopping", http.StatusServiceUnavailable)
		return
	}
	defer watch.hub.leave(messages)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that hold answers back
	control := http.NewResponseController(w)
	send := func(message []byte) bool {
		if err := control.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return false
		}
		if _, err := w.Write(message); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	events, past := watch.beginning()
	if !send([]byte("retry: 1000\n\n")) || !send(encodeEvent("history", past)) ||
		!send(encodeEvent("events", events)) || !send(encodeEvent("status", watch.frame())) {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case message, more := <-messages:
			if !more || !send(message) {
				return
			}
		}
	}
}

// explain answers what the control verb of the same name does.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	code, answer := s.explanation(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(answer); err != nil {
		s.cfg.Logger.Debug("an explanation was not delivered", "error", err)
	}
}

func (s *Server) explanation(w http.ResponseWriter, r *http.Request) (code int, answer []byte) {
	refuse := func(status int, reason string) (int, []byte) {
		return status, encode(nil, &RefusedError{Message: reason})
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, explainBytes))
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case s.cfg.Explain == nil:
		return refuse(http.StatusNotFound, "this process has no rules to explain")
	case kind != "application/json": // what a form of another site cannot send
		return refuse(http.StatusUnsupportedMediaType, "want Content-Type: application/json")
	case err != nil:
		return refuse(http.StatusRequestEntityTooLarge, "the request is too large")
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainTime)
	defer cancel()
	result, err := s.cfg.Explain(ctx, body)
	var refused *RefusedError
	switch {
	case err == nil:
		code = http.StatusOK
	case errors.As(err, &refused) && refused.Bad:
		code = http.StatusBadRequest
	default:
		code = http.StatusInternalServerError
	}
	return code, encode(result, err)
}
