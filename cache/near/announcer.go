package near

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
)

// Every is the time between an announcer's heartbeats.
const Every = time.Second

// Roles of senders. A receiver may keep entries only while it hears an
// invalidator, so it must be able to tell one.
const (
	RoleInvalidator = "invalidator" // applies what the database says
	RoleLibrary     = "library"     // says what one process of the application did
)

// Announcer numbers and publishes one sender's broadcasts. It is safe for
// concurrent use.
type Announcer struct {
	conn    *nats.Conn
	subject string
	sender  string
	role    string
	every   time.Duration
	age     func() time.Duration // since the sender began

	mu sync.Mutex
	n  uint64 // of the last broadcast; guarded by mu, held while publishing
}

// NewAnnouncer returns an announcer for the instance with the given name. The
// sender must be unique to this process and its start, as numbers begin at 1.
// The role is one of those above. The connection stays the caller's.
func NewAnnouncer(conn *nats.Conn, name, sender, role string) *Announcer {
	began := time.Now()
	return &Announcer{
		conn: conn, subject: Subject(name, sender), sender: sender, role: role,
		every: Every, age: func() time.Duration { return time.Since(began) },
	}
}

// Announce publishes what has been invalidated, in as many messages as the
// server's maximum payload asks for. Sender and N are set here. After an error
// a number is used up, so receivers see that something was lost.
func (a *Announcer) Announce(b Broadcast) error {
	parts := split(b, a.room())
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, part := range parts {
		a.n++
		part.Sender, part.N = a.sender, a.n
		data, err := part.Encode()
		if err == nil {
			err = a.conn.Publish(a.subject, data)
		}
		if err != nil {
			return fmt.Errorf("announce %d: %w", part.N, err)
		}
	}
	return nil
}

// Run publishes heartbeats until ctx ends, and a last one that says so.
func (a *Announcer) Run(ctx context.Context) error {
	ticker := time.NewTicker(a.every)
	defer ticker.Stop()
	for {
		// What fails here shows at the receivers as a late heartbeat.
		_ = a.beat(false)
		select {
		case <-ctx.Done():
			_ = a.beat(true)
			return nil
		case <-ticker.C:
		}
	}
}

func (a *Announcer) beat(bye bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	data, err := Heartbeat{Sender: a.sender, N: a.n, Every: a.every, Role: a.role, Age: a.age(), Bye: bye}.Encode()
	if err != nil {
		return err
	}
	return a.conn.Publish(a.subject, data)
}

// overhead is more than what a message holds besides its lists.
const overhead = 1024

// room is how many bytes the lists of one message may take.
func (a *Announcer) room() int {
	limit := a.conn.MaxPayload()
	if limit <= 0 {
		limit = 1 << 20 // not connected yet; the servers' default
	}
	return max(int(limit)-overhead, overhead)
}

// split divides a broadcast into ones whose lists take no more than room bytes.
// A single name that is larger cannot be sent, nor can one that is no UTF-8, as
// the messages are JSON: it is replaced by something that covers it.
func split(b Broadcast, room int) []Broadcast {
	var parts []Broadcast
	part, used := b.bare(), 0
	add := func(list func(*Broadcast) *[]string, name string) {
		size := encodedSize(name)
		if used > 0 && used+size > room {
			parts = append(parts, part)
			part, used = b.bare(), 0
			part.AllTags = false // once is enough
		}
		names := list(&part)
		*names = append(*names, name)
		used += size
	}
	for _, key := range b.Keys {
		switch {
		case encodedSize(key) > room:
			add(patternsOf, "*")
		case !utf8.ValidString(key):
			add(patternsOf, covering(key))
		default:
			add(keysOf, key)
		}
	}
	for _, pattern := range b.Patterns {
		if encodedSize(pattern) > room || !utf8.ValidString(pattern) {
			pattern = "*"
		}
		add(patternsOf, pattern)
	}
	for _, tag := range b.Tags {
		if encodedSize(tag) > room || !utf8.ValidString(tag) {
			part.AllTags = true
			continue
		}
		add(tagsOf, tag)
	}
	return append(parts, part)
}

// covering returns a pattern that matches a key and any other with the same valid
// parts.
func covering(key string) string {
	var b strings.Builder
	for len(key) > 0 {
		r, size := utf8.DecodeRuneInString(key)
		if r == utf8.RuneError && size == 1 {
			b.WriteByte('?')
		} else {
			b.WriteString(cache.EscapePattern(key[:size]))
		}
		key = key[size:]
	}
	return b.String()
}

func keysOf(b *Broadcast) *[]string     { return &b.Keys }
func patternsOf(b *Broadcast) *[]string { return &b.Patterns }
func tagsOf(b *Broadcast) *[]string     { return &b.Tags }

// bare returns b without its lists.
func (b Broadcast) bare() Broadcast {
	return Broadcast{AllTags: b.AllTags, Epoch: b.Epoch, LSN: b.LSN}
}

// encodedSize is the most that JSON makes of a name: six bytes for each, and
// what separates it.
func encodedSize(name string) int {
	size := 3
	for i := range len(name) {
		switch c := name[i]; {
		case c < ' ' || c == '<' || c == '>' || c == '&' || c >= 0x7f:
			size += 6
		case c == '"' || c == '\\':
			size += 2
		default:
			size++
		}
	}
	return size
}
