package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

// asInstance makes the test binary be one instance of a service that uses the
// library: its value is the database's URL, a space, and the cache's.
const asInstance = "FRESHET_TEST_AS_INSTANCE"

const tokenHeader = "Freshet-Token"

// instance is a service: PUT /orders/{id} counts a row's version up and answers
// with a token, GET /orders/{id} reads it through the cache.
type instance struct {
	db    *pgxpool.Pool
	cache *cache.Cache
}

// answer is what both send.
type answer struct {
	Version int64 `json:"version"`
	Loads   int64 `json:"loads"` // of this instance, so far
}

func (a answer) send(w http.ResponseWriter) {
	if err := json.NewEncoder(w).Encode(a); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// serve runs an instance until it is killed.
func serve(urls string) error {
	ctx := context.Background()
	dbURL, cacheURL, _ := strings.Cut(urls, " ")
	db, err := pgxpool.New(ctx, dbURL)
	if err != nil {
		return err
	}
	c, err := cache.Open(ctx, cacheURL, cache.Config{Source: "shop"})
	if err != nil {
		return err
	}
	s := &instance{db: db, cache: c}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /orders/{id}", s.put)
	mux.HandleFunc("GET /orders/{id}", s.get)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

func (s *instance) put(w http.ResponseWriter, r *http.Request) {
	var a answer
	err := s.db.QueryRow(r.Context(), `update orders set version = version + 1 where id = $1 returning version`, r.PathValue("id")).Scan(&a.Version)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	token, err := cache.TokenFrom(r.Context(), s.db)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set(tokenHeader, token.String())
	a.send(w)
}

// get honours ?within=DURATION and ?strict besides the token.
func (s *instance) get(w http.ResponseWriter, r *http.Request) {
	var opts []cache.CallOption
	if text := r.Header.Get(tokenHeader); text != "" {
		token, err := cache.ParseToken(text)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		opts = append(opts, cache.AtLeast(token))
	}
	if text := r.FormValue("within"); text != "" {
		bound, err := time.ParseDuration(text)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		opts = append(opts, cache.Within(bound))
	}
	if r.Form.Has("strict") {
		opts = append(opts, cache.OrStaleError())
	}
	id := r.PathValue("id")
	version, err := cache.GetOrSet(r.Context(), s.cache, "order:"+id, time.Hour, func(ctx context.Context) (version int64, err error) {
		err = s.db.QueryRow(ctx, `select version from orders where id = $1`, id).Scan(&version)
		return version, err
	}, opts...)
	switch {
	case errors.Is(err, cache.ErrStale):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		answer{Version: version, Loads: s.cache.Stats().Loads}.send(w)
	}
}

// instanceClient talks to one instance.
type instanceClient struct {
	t   *testing.T
	url string
}

// startInstance starts an instance in a process of its own.
func (s *shop) startInstance() *instanceClient {
	s.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), os.Args[0])
	cmd.Env = append(os.Environ(), asInstance+"="+s.postgres.URL()+" "+s.redis.URL())
	cmd.Stderr = s.t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Fatalf("start an instance: %v", err)
	}
	return &instanceClient{t: s.t, url: strings.TrimSpace(line)}
}

// do sends a request and returns the answer, its status and its token.
func (c *instanceClient) do(method, path, token string) (a answer, status int, newToken string, err error) {
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, nil)
	if err != nil {
		return a, 0, "", err
	}
	if token != "" {
		request.Header.Set(tokenHeader, token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return a, 0, "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return a, response.StatusCode, "", nil
	}
	err = json.NewDecoder(response.Body).Decode(&a)
	return a, response.StatusCode, response.Header.Get(tokenHeader), err
}
