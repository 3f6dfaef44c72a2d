package ratelimit

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SetClock makes a Limiter see another time, in microseconds, instead of its
// store's.
func SetClock(l *Limiter, clock func() int64) {
	switch s := l.store.(type) {
	case *memoryStore:
		s.clock = clock
	case *redisStore:
		s.clock = clock
	}
}

// SetTimeout gives a Limiter more time than a Config may.
func SetTimeout(l *Limiter, timeout time.Duration) {
	if s, ok := l.store.(*redisStore); ok {
		s.timeout = timeout
	}
}

// Rewrite changes the script of a Limiter over Redis, to break it.
func Rewrite(t testing.TB, l *Limiter, old, replacement string) {
	t.Helper()
	s, ok := l.store.(*redisStore)
	if !ok {
		t.Fatal("only Redis has a script")
	}
	if !strings.Contains(s.source, old) {
		t.Fatalf("the script has no %q", old)
	}
	s.source = strings.ReplaceAll(s.source, old, replacement)
	s.sha = redis.NewScript(s.source).Hash()
}

// Call is one call that can be sent again, as a client does that got no reply.
type Call struct {
	store *redisStore
	query *query
	args  []any
	spec  *command
}

// NewCall makes a call that takes one unit of each limit.
func NewCall(l *Limiter, identifier, endpoint string, limits ...Limit) *Call {
	s, _ := l.store.(*redisStore)
	q := &query{subject: newSubject(identifier, endpoint), n: 1, take: true, limits: limits, verdicts: make([]verdict, len(limits))}
	c := &command{}
	return &Call{store: s, query: q, args: s.arguments(q, c), spec: c}
}

// Send sends it at the time of the Limiter's clock.
func (c *Call) Send(ctx context.Context) (Results, error) {
	if c.store.clock != nil {
		binary.BigEndian.PutUint64(c.spec.spec[14:], uint64(c.store.clock()))
	}
	c.args[0], c.args[1] = "eval", c.store.source
	cmd := redis.NewStringCmd(ctx, c.args...)
	if err := c.store.rdb.Process(ctx, cmd); err != nil {
		return nil, err
	}
	if err := c.query.read(cmd.Val()); err != nil {
		return nil, err
	}
	results := make(Results, len(c.query.limits))
	c.query.fill(results)
	return results, nil
}

// MemoryLen is how many entries a Limiter in memory holds.
func MemoryLen(l *Limiter) (n int) {
	m, ok := l.store.(*memoryStore)
	if !ok {
		return -1
	}
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].entries)
		m.shards[i].mu.Unlock()
	}
	return n
}

// DenialsLen is how many denials a Limiter remembers.
func DenialsLen(l *Limiter) (n int) {
	for i := range l.denials.shards {
		l.denials.shards[i].mu.Lock()
		n += len(l.denials.shards[i].byID)
		l.denials.shards[i].mu.Unlock()
	}
	return n
}

// EscapePrefix is how a prefix begins keys.
func EscapePrefix(prefix string) string { return escapePrefix(prefix) }

// FieldOf returns the field of a limit, and how long it is said to be.
func FieldOf(l Limit) (string, int) { return string(l.appendField(nil)), l.fieldLength() }
