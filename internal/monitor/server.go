package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Source is a part of the process that can say whether it does its work.
type Source interface {
	// Role names the part: consumer, invalidator, warmer.
	Role() string
	// Ready returns an empty string when the part does its work, or stands by
	// for another process that does. Otherwise it returns the reason, with the
	// remedy.
	Ready() string
	// Snapshot returns the part's status, to be encoded as JSON.
	Snapshot() any
}

// Config configures a Server.
type Config struct {
	// Listen is the address to listen on, such as 127.0.0.1:8080. Empty means
	// that there is no server.
	Listen string
	// Metrics answers /metrics. Nil means that nothing does.
	Metrics http.Handler
	// Watch is what /status and /events show. Defaults to one of
	// this process alone, which nothing keeps up to date.
	Watch *Watch
	// Explain answers /explain: the request and result of the control verb of that
	// name. Nil means that there is nothing to explain.
	Explain func(ctx context.Context, request []byte) (any, error)
	// Logger defaults to discarding everything.
	Logger *slog.Logger
}

// Server answers /healthz, /readyz, /metrics, /status, /events and /explain, and
// serves the dashboard at /.
type Server struct {
	cfg      Config
	listener net.Listener
	sources  []Source
}

// Listen opens the listener, so that a taken port is an error at start and not
// a line in a log. A Config without an address gives a server that does
// nothing.
func Listen(ctx context.Context, cfg Config, sources ...Source) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Watch == nil {
		cfg.Watch = NewWatch(WatchConfig{}, sources...)
	}
	s := &Server{cfg: cfg, sources: sources}
	if cfg.Listen == "" {
		return s, nil
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("http.listen %q: %w; choose another address, or leave it empty for none", cfg.Listen, err)
	}
	s.listener = l
	return s, nil
}

// URL is where the server answers; empty without one.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	return "http://" + s.listener.Addr().String()
}

// Run serves until ctx ends, then lets requests in hand finish.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	server.RegisterOnShutdown(s.cfg.Watch.hub.close) // who follows would be waited for
	served := make(chan error, 1)                    // 1: Serve must not hang when Run has gone
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		s.cfg.Logger.Warn("http requests were cut off", "error", err)
		_ = server.Close() // what Shutdown left open
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve http: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "alive") // the client has gone: nobody to tell
	})
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /status", s.status)
	if s.cfg.Metrics != nil {
		mux.Handle("GET /metrics", s.cfg.Metrics)
	}
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("POST /explain", s.explain)
	s.dashboard(mux)
	return mux
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	var reasons []string
	for _, source := range s.sources {
		if reason := source.Ready(); reason != "" {
			reasons = append(reasons, source.Role()+": "+reason)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		for _, reason := range reasons {
			_, _ = fmt.Fprintln(w, reason)
		}
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
	// This process does its part. What is wrong elsewhere is said and is no reason to
	// take it out of service.
	for _, reason := range s.cfg.Watch.Verdict().Reasons {
		_, _ = fmt.Fprintln(w, "warning: "+reason)
	}
}

// status is what `freshet status -o json` prints; this process's parts come first.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(s.cfg.Watch.Reports()); err != nil {
		s.cfg.Logger.Debug("status was not delivered", "error", err)
	}
}
