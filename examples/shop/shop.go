package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
	"github.com/freshet-dev/freshet/cache/metrics"
	"github.com/freshet-dev/freshet/cache/presets"
	"github.com/freshet-dev/freshet/cache/ratelimit"
)

// shop answers the requests. The entries of its caches have the names that the
// rules in freshet.yaml have.
type shop struct {
	db     *pgxpool.Pool
	logger *slog.Logger

	orders       cache.Typed[int64, order]
	clients      cache.Typed[int64, client]
	clientOrders cache.Typed[int64, []order]
	fresh        bool // Freshet keeps the cache fresh
}

// newShop returns the shop's handler.
func newShop(db *pgxpool.Pool, c *cache.Cache, limiter *ratelimit.Limiter, fresh bool, logger *slog.Logger) http.Handler {
	s := &shop{
		db: db, fresh: fresh, logger: logger,
		orders:       presets.Orders[order, int64](c),
		clients:      presets.Clients[client, int64](c),
		clientOrders: presets.ClientOrders[[]order, int64](c),
	}
	limited := func(limit ratelimit.Limit) func(http.Handler) http.Handler {
		return ratelimit.Middleware(limiter, ratelimit.MiddlewareConfig{Key: ratelimit.ByIP(), Limits: []ratelimit.Limit{limit}})
	}
	reads, writes := limited(ratelimit.PerMinute(600)), limited(ratelimit.PerMinute(60))
	// The summary is one response for everybody, and the tag of all orders.
	tags := func(*http.Request) []string { return []string{"orders"} }
	cached := httpcache.Middleware(c, httpcache.Config{TTL: time.Minute, Tags: tags, AllowCookies: true})
	changes := httpcache.InvalidateOn(c, httpcache.Invalidation{Tags: tags, Logger: logger})

	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(c, metrics.Config{}))

	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}", reads(s.answer(s.getOrder)))
	mux.Handle("GET /clients/{id}", reads(s.answer(s.getClient)))
	mux.Handle("GET /clients/{id}/orders", reads(s.answer(s.getClientOrders)))
	mux.Handle("GET /summary", reads(cached(s.answer(s.getSummary))))
	mux.Handle("POST /orders", writes(changes(s.answer(s.createOrder))))
	mux.Handle("PATCH /orders/{id}", writes(changes(s.answer(s.updateOrder))))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.health)
	return mux
}

// badRequestError is the client's mistake.
type badRequestError string

func (e badRequestError) Error() string { return string(e) }

// answer makes a handler of a function that returns what is to be sent as JSON.
func (s *shop) answer(f func(w http.ResponseWriter, r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := f(w, r)
		var bad badRequestError
		switch {
		case errors.As(err, &bad):
			http.Error(w, bad.Error(), http.StatusBadRequest)
		case errors.Is(err, cache.ErrNotFound):
			http.Error(w, "not found", http.StatusNotFound)
		case r.Context().Err() != nil: // the client has gone
		case err != nil:
			s.logger.ErrorContext(r.Context(), "a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			http.Error(w, "something is wrong here", http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(value) // nobody is left to tell
		}
	})
}

// health says whether the shop can serve: it can without its cache, though not
// without its database.
func (s *shop) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if err := s.db.Ping(ctx); err != nil {
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func pathID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, badRequestError("the id is not a number")
	}
	return id, nil
}
