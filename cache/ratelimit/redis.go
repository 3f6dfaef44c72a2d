package ratelimit

import (
	"context"
	"crypto/rand"
	_ "embed" // the script
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed allow.lua
var allowSource string

// redisStore keeps what has been taken in Redis.
type redisStore struct {
	rdb     redis.UniversalClient
	owned   bool   // close rdb too
	prefix  string // escaped
	timeout time.Duration
	heeds   bool   // the client gives up when the context ends
	source  string // of the script
	sha     any    // its hash, boxed once
	base    uint64 // random; ids of calls count on from it
	calls   atomic.Uint64
	clock   func() int64
}

var _ store = (*redisStore)(nil)

func newRedisStore(rdb redis.UniversalClient, cfg Config) *redisStore {
	var base [8]byte
	_, _ = rand.Read(base[:]) // never fails
	return &redisStore{
		base: binary.BigEndian.Uint64(base[:]),
		rdb:  rdb, prefix: escapePrefix(cfg.Prefix), timeout: cfg.Timeout, heeds: heedsContext(rdb),
		source: allowSource, sha: redis.NewScript(allowSource).Hash(),
	}
}

// heedsContext reports whether a client gives up reading when the context ends.
// By default it does not.
func heedsContext(rdb redis.UniversalClient) bool {
	switch c := rdb.(type) {
	case *redis.Client:
		return c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		return c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return c.Options().ContextTimeoutEnabled
	default:
		return false
	}
}

// until is a context with a deadline for a client's reads and writes, and
// without the timer that a context of package context has.
type until struct {
	context.Context //nolint:containedctx // it is one

	at time.Time
}

// Deadline returns it.
func (u *until) Deadline() (time.Time, bool) { return u.at, true }

// process sends a command and waits for the reply, no longer than the time-out.
// A client that does not heed the context goes on waiting behind the caller's
// back; the breaker sees to it that they do not become many.
func (s *redisStore) process(ctx context.Context, args []any) (*redis.StringCmd, error) {
	if s.heeds {
		at := time.Now().Add(s.timeout)
		if sooner, ok := ctx.Deadline(); !ok || at.Before(sooner) {
			ctx = &until{ctx, at}
		}
		cmd := redis.NewStringCmd(ctx, args...)
		return cmd, s.rdb.Process(ctx, cmd)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmd := redis.NewStringCmd(ctx, args...)
	done := make(chan error, 1)
	go func() { done <- s.rdb.Process(ctx, cmd) }()
	select {
	case err := <-done:
		return cmd, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// command is one call of the script. It is one allocation with all that it
// needs for a single limit.
type command struct {
	attempt byte
	buffer  [48]byte
	spec    []byte // in buffer, if there is room
	field   string // of the first limit
	args    [8]any
}

// MarshalBinary returns the script's first argument. The client calls it each
// time that it sends the command, so a repetition says that it is one, and the
// script looks whether it knows the call already.
func (c *command) MarshalBinary() ([]byte, error) {
	c.spec[0] = c.attempt
	if c.attempt < 255 {
		c.attempt++
	}
	return c.spec, nil
}

// arguments returns the arguments of EVALSHA; those of EVAL differ in the first
// two.
func (s *redisStore) arguments(q *query, c *command) []any {
	c.spec = append(c.buffer[:0], 0, 0)
	if q.take {
		c.spec[1] = 1
	}
	c.spec = binary.BigEndian.AppendUint64(c.spec, s.base+s.calls.Add(1))
	now := int64(0)
	if s.clock != nil {
		now = s.clock()
	}
	c.spec = binary.BigEndian.AppendUint32(c.spec, uint32(q.n))
	c.spec = binary.BigEndian.AppendUint64(c.spec, uint64(now))
	c.spec = append(c.spec, byte(len(q.limits)))

	// All names are in one text: that of a log is {key}#field.
	var space [256]byte
	text := q.subject.appendKey(append(space[:0], '{'), s.prefix)
	keyEnds := len(text)
	text = append(text, '}', '#')
	fieldsBegin := len(text)
	logs := 0
	for i := range q.limits {
		l := &q.limits[i]
		text = l.appendField(text)
		if l.Algorithm == SlidingWindow {
			logs++
		}
		c.spec = append(c.spec, l.Algorithm.letter())
		c.spec = binary.BigEndian.AppendUint32(c.spec, uint32(l.Max))
		c.spec = binary.BigEndian.AppendUint32(c.spec, uint32(l.most()))
		c.spec = binary.BigEndian.AppendUint64(c.spec, uint64(l.window()))
	}
	names := string(text)

	args := append(c.args[:0], "evalsha", s.sha, keyCount(logs), names[1:keyEnds])
	for i, at := 0, fieldsBegin; i < len(q.limits); i++ {
		length := q.limits[i].fieldLength()
		if q.limits[i].Algorithm == SlidingWindow {
			args = append(args, names[:fieldsBegin]+names[at:at+length])
		}
		at += length
	}
	args = append(args, c)
	for i, at := 0, fieldsBegin; i < len(q.limits); i++ {
		length := q.limits[i].fieldLength()
		if i == 0 {
			c.field = names[at : at+length]
			args = append(args, &c.field) // which needs no box
		} else {
			args = append(args, names[at:at+length])
		}
		at += length
	}
	return args
}

// keyCount is the number of keys as an argument. Constants need no box.
func keyCount(logs int) any {
	switch logs {
	case 0:
		return "1"
	case 1:
		return "2"
	default:
		return strconv.Itoa(1 + logs)
	}
}

func (s *redisStore) decide(ctx context.Context, q *query) error {
	c := &command{}
	args := s.arguments(q, c)
	cmd, err := s.process(ctx, args)
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		args[0], args[1] = "eval", s.source
		cmd, err = s.process(ctx, args)
	}
	if err != nil {
		return err
	}
	return q.read(cmd.Val())
}

// read takes the script's reply in.
func (q *query) read(reply string) error {
	if len(reply) != 9+24*len(q.limits) {
		return fmt.Errorf("reply of %d bytes for %d limits", len(reply), len(q.limits))
	}
	number := func(at int) (n int64) {
		for i := range 8 {
			n = n<<8 | int64(reply[at+i])
		}
		return n
	}
	q.allowed, q.now = reply[0] == 1, number(1)
	for i := range q.limits {
		at := 9 + 24*i
		q.verdicts[i] = verdict{retry: number(at), reset: number(at + 8), used: number(at + 16)}
	}
	return nil
}

// reset removes the hash. A log without its field in the hash is not read any
// more, and expires.
func (s *redisStore) reset(ctx context.Context, of subject) error {
	_, err := s.process(ctx, []any{"del", of.key(s.prefix)})
	return err
}

func (s *redisStore) close() error {
	if !s.owned {
		return nil
	}
	return s.rdb.Close()
}

// isReply reports whether err is an answer of a Redis that is there, about this
// key: another kind of value has its name.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.Contains(reply.Error(), "WRONGTYPE")
}
