package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// store keeps what has been taken.
type store interface {
	// decide takes units, or only looks, and fills in what it found.
	decide(ctx context.Context, q *query) error
	reset(ctx context.Context, s subject) error
	close() error
}

// query is a question to a store, and its answer.
type query struct {
	subject subject
	n       int
	take    bool
	limits  []Limit

	allowed  bool      // all limits admit it
	now      int64     // the store's clock
	verdicts []verdict // one for each limit

	oneLimit   [1]Limit
	oneVerdict [1]verdict
}

// Limiter decides who may go on. It is safe for concurrent use.
type Limiter struct {
	cfg     Config
	store   store
	local   *memoryStore // for FailLocal; nil otherwise
	denials *denials     // nil for none
	breaker breaker
	start   time.Time
	closed  atomic.Bool
	queries sync.Pool

	counters counters
}

// New returns a Limiter over a client of any kind. Close leaves the client open.
//
// Set ContextTimeoutEnabled in the client's options: Config.Timeout then bounds
// each read and write, and PoolTimeout and MaxRetryBackoff what there is besides.
// Without it Config.Timeout holds too, at the cost of a goroutine for each call.
func New(rdb redis.UniversalClient, cfg Config) *Limiter {
	cfg.setDefaults()
	return newLimiter(cfg, newRedisStore(rdb, cfg), true)
}

// NewMemory returns a Limiter that keeps everything in this process, for
// development, tests, and services that are one process. It cannot fail.
func NewMemory(cfg Config) *Limiter {
	cfg.setDefaults()
	return newLimiter(cfg, newMemoryStore(cfg.MemoryEntries), false)
}

func newLimiter(cfg Config, s store, remote bool) *Limiter {
	l := &Limiter{cfg: cfg, store: s, start: time.Now()}
	l.queries.New = func() any { return &query{} }
	if remote {
		l.denials = newDenials(cfg.RememberedDenials)
		if cfg.Failure == FailLocal {
			l.local = newMemoryStore(cfg.MemoryEntries)
		}
	}
	return l
}

// Allow takes one unit of a limit if it admits it. The identifier says who
// wants it and must not be empty; the endpoint says what for, and may be.
//
// The error is ErrLimit or ErrIdentifier for a call that makes no sense,
// ErrClosed, the context's own, or ErrUnavailable: then Result.Allowed is what
// Config.Failure makes of it.
func (l *Limiter) Allow(ctx context.Context, identifier, endpoint string, limit Limit) (Result, error) {
	return l.AllowN(ctx, identifier, endpoint, limit, 1)
}

// AllowN takes n units of a limit at once, or none. n is from 1 to what the
// limit admits at once.
func (l *Limiter) AllowN(ctx context.Context, identifier, endpoint string, limit Limit, n int) (Result, error) {
	if err := limit.check(n); err != nil {
		return Result{Limit: limit}, err
	}
	if err := l.check(identifier); err != nil {
		return Result{Limit: limit}, err
	}
	s, now := newSubject(identifier, endpoint), time.Since(l.start)
	limits := [1]Limit{limit}
	if known := l.denials.find(s, n, limits[:], now); known != nil {
		l.repeated(s)
		return known.result(0, now), nil
	}
	return l.one(ctx, s, limit, n, true, now)
}

// AllowAll takes one unit from each of several limits of the same endpoint, or
// from none if one of them denies it. It is one round trip. Limits of the same
// algorithm and window need different names.
func (l *Limiter) AllowAll(ctx context.Context, identifier, endpoint string, limits ...Limit) (Results, error) {
	return l.AllowAllN(ctx, identifier, endpoint, 1, limits...)
}

// AllowAllN takes n units from each of several limits, or from none, as AllowAll
// does.
func (l *Limiter) AllowAllN(ctx context.Context, identifier, endpoint string, n int, limits ...Limit) (Results, error) {
	results := make(Results, len(limits))
	for i := range limits {
		results[i].Limit = limits[i]
	}
	if err := checkAll(limits, n); err != nil {
		return results, err
	}
	if err := l.check(identifier); err != nil {
		return results, err
	}
	s, now := newSubject(identifier, endpoint), time.Since(l.start)
	if known := l.denials.find(s, n, limits, now); known != nil {
		l.repeated(s)
		for i := range results {
			results[i] = known.result(i, now)
		}
		return results, nil
	}
	q := &query{subject: s, n: n, take: true, limits: limits, verdicts: make([]verdict, len(limits))}
	err := l.decide(ctx, q, results, now)
	return results, err
}

// Peek says what Allow would, and takes nothing.
func (l *Limiter) Peek(ctx context.Context, identifier, endpoint string, limit Limit) (Result, error) {
	if err := limit.check(1); err != nil {
		return Result{Limit: limit}, err
	}
	if err := l.check(identifier); err != nil {
		return Result{Limit: limit}, err
	}
	return l.one(ctx, newSubject(identifier, endpoint), limit, 1, false, time.Since(l.start))
}

// Reset forgets all that an identifier has taken of an endpoint, of all limits.
// Denials that other processes remember go on there until they end.
func (l *Limiter) Reset(ctx context.Context, identifier, endpoint string) error {
	if err := l.check(identifier); err != nil {
		return err
	}
	s := newSubject(identifier, endpoint)
	err := l.store.reset(ctx, s)
	l.denials.forget(s)
	if l.local != nil {
		_ = l.local.reset(ctx, s) // never fails
	}
	if err != nil {
		return fmt.Errorf("%w: reset: %w", ErrUnavailable, err)
	}
	return nil
}

// Close ends the Limiter, and the client if Open made it.
func (l *Limiter) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	return l.store.close()
}

func (l *Limiter) check(identifier string) error {
	switch {
	case identifier == "":
		return ErrIdentifier
	case l.closed.Load():
		return ErrClosed
	default:
		return nil
	}
}

// repeated counts a remembered denial.
func (l *Limiter) repeated(s subject) {
	l.counters.denied.Add(1)
	l.counters.remembered.Add(1)
	if l.cfg.Observe != nil {
		l.cfg.Observe(Event{Endpoint: s.endpoint, Remembered: true})
	}
}

// one decides about one limit.
func (l *Limiter) one(ctx context.Context, s subject, limit Limit, n int, take bool, now time.Duration) (Result, error) {
	q, _ := l.queries.Get().(*query)
	q.subject, q.n, q.take = s, n, take
	q.oneLimit[0] = limit
	q.limits, q.verdicts = q.oneLimit[:], q.oneVerdict[:]
	var results [1]Result
	err := l.decide(ctx, q, results[:], now)
	q.subject = subject{}
	l.queries.Put(q)
	return results[0], err
}

// decide asks the store, and falls back where it does not answer.
func (l *Limiter) decide(ctx context.Context, q *query, results []Result, sent time.Duration) error {
	resets := l.denials.resetCount()
	err := l.ask(ctx, q, sent)
	if err == nil {
		q.fill(results)
	} else {
		l.counters.errors.Add(1)
		l.fallBack(ctx, q, results)
	}
	if !q.take {
		return err
	}
	if q.allowed {
		l.counters.allowed.Add(1)
	} else {
		l.counters.denied.Add(1)
		if err == nil {
			l.denials.remember(q.subject, q.n, q.limits, results, sent, time.Since(l.start), resets)
		}
	}
	if l.cfg.Observe != nil {
		l.cfg.Observe(Event{Endpoint: q.subject.endpoint, Allowed: q.allowed, Took: time.Since(l.start) - sent, Err: err})
	}
	return err
}

// ask asks the store, unless it has not answered lately.
func (l *Limiter) ask(ctx context.Context, q *query, now time.Duration) error {
	if !l.breaker.allow(now) {
		l.counters.unasked.Add(1)
		return errUnasked
	}
	err := l.store.decide(ctx, q)
	switch {
	case err == nil, isReply(err):
		if l.breaker.succeeded() {
			l.cfg.Logger.InfoContext(ctx, "rate limiter: Redis answers again")
		}
	case errors.Is(ctx.Err(), context.Canceled):
		// That says nothing about Redis.
	case l.breaker.failed(time.Since(l.start)):
		l.cfg.Logger.WarnContext(ctx, "rate limiter: Redis does not answer", "error", err, "failure", l.cfg.Failure.String())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// fallBack decides without the store.
func (l *Limiter) fallBack(ctx context.Context, q *query, results []Result) {
	if l.cfg.Failure == FailLocal {
		_ = l.local.decide(ctx, q) // never fails
		q.fill(results)
		return
	}
	q.allowed = l.cfg.Failure == FailOpen
	for i, limit := range q.limits {
		results[i] = Result{Allowed: q.allowed, Limit: limit}
		if !q.allowed {
			results[i].RetryAfter = max(breakFor, l.breaker.wait(time.Since(l.start)))
		}
	}
}

// fill translates the store's answer.
func (q *query) fill(results []Result) {
	for i, limit := range q.limits {
		v := q.verdicts[i]
		if q.allowed {
			v.retry = 0
		}
		results[i] = limit.result(q.now, v)
	}
}
