package monitor

import (
	"context"
	"encoding/json"
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
	code, answer := http.StatusOK, Answer{OK: true}
	refuse := func(status int, reason string) { code, answer = status, Answer{Error: reason} }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, explainBytes))
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case s.cfg.Explain == nil:
		refuse(http.StatusNotFound, "this process has no rules to explain")
	case kind != "application/json": // what a form of another site cannot send
		refuse(http.StatusUnsupportedMediaType, "want Content-Type: application/json")
	case err != nil:
		refuse(http.StatusRequestEntityTooLarge, "the request is too large")
	default:
		ctx, cancel := context.WithTimeout(r.Context(), explainTime)
		defer cancel()
		result, err := s.cfg.Explain(ctx, body)
		if err == nil {
			answer.Result, err = json.Marshal(result)
		}
		var bad *BadRequestError
		switch {
		case errors.As(err, &bad):
			refuse(http.StatusBadRequest, bad.Message)
		case err != nil:
			refuse(http.StatusInternalServerError, err.Error())
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		s.cfg.Logger.Debug("an explanation was not delivered", "error", err)
	}
}
