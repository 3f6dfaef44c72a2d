package near

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
)

// Layer keeps entries in this process and hears of their invalidation. While it
// cannot know that it hears of all of them it is empty and lets every read pass.
type Layer struct {
	log       *slog.Logger
	conn      *nats.Conn
	sub       *nats.Subscription
	self      string
	announcer *Announcer
	clock     func() instant
	shelf     *shelf
	listeners listeners
	unsent    atomic.Uint64

	// until is up to when, by the monotonic clock, it is certain that nothing
	// was missed; 0 while it is not. leap is the lead of the wall clock above
	// which the machine has slept. Everything that was there is made void before
	// either of them lets anything through again: see update.
	until, leap atomic.Int64

	mu      sync.Mutex
	ear     *ear   // guarded by mu
	sound   bool   // guarded by mu
	told    bool   // it has been in use, or that it has not was logged; guarded by mu
	emptied uint64 // guarded by mu

	stop  context.CancelFunc
	tasks sync.WaitGroup
	close sync.Once
}

var _ cache.Near = (*Layer)(nil)

// New returns a layer that begins to listen on the connection, which stays the
// caller's. The connection must be allowed to subscribe and to publish below
// freshet.<name>.invalidated. An error names all that is wrong with cfg, or says
// that the connection is closed; a server that cannot be reached is none.
func New(conn *nats.Conn, cfg Config) (*Layer, error) {
	cfg.setDefaults()
	if err := cfg.validate(conn); err != nil {
		return nil, err
	}
	shelf, err := newShelf(cfg.MaxBytes, cfg.TTL)
	if err != nil {
		return nil, fmt.Errorf("near: %w", err)
	}
	self := "lib-" + rand.Text()
	l := &Layer{
		log: cfg.Logger, conn: conn, self: self, clock: cfg.hooks.clock, shelf: shelf,
		announcer: NewAnnouncer(conn, cfg.Name, self, RoleLibrary),
		ear:       newEar(self, cfg.Patience, cfg.NoInvalidator),
	}
	l.leap.Store(l.clock().lead() + maxLeap)
	l.announcer.every = cfg.hooks.every
	l.announcer.age = l.age
	// Before the first look at the connection, and before the first heartbeat.
	statuses := conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	l.sub, err = conn.SubscribeSync(Subjects(cfg.Name))
	if err != nil {
		conn.RemoveStatusListener(statuses)
		return nil, fmt.Errorf("near: subscribe to %s: %w", Subjects(cfg.Name), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.tasks.Go(func() { l.receive(ctx, cfg.hooks.every) })
	l.tasks.Go(func() { l.watch(ctx, statuses, cfg.hooks.every) })
	l.tasks.Go(func() { _ = l.announcer.Run(ctx) }) // it has no error to tell
	return l, nil
}

// Close ends listening and says goodbye. The layer is empty from then on;
// Invalidated goes on telling the other processes. Close may be called again.
func (l *Layer) Close() error {
	var err error
	l.close.Do(func() {
		l.stop()
		l.tasks.Wait()
		l.lose(reasonClosed)
		if err = l.sub.Unsubscribe(); errors.Is(err, nats.ErrConnectionClosed) {
			err = nil
		}
	})
	return err
}

// Get returns the value kept under a key. It reports false where there is none,
// and for every key while something may have been missed. Callers must not
// change the value.
func (l *Layer) Get(key string) (value any, ok bool) {
	e, ok := l.shelf.entries.GetIfPresent(key)
	if !ok {
		return nil, false
	}
	// In this order. What ends a silence first makes everything void and then
	// permits reading again, so whoever finds reading permitted by that finds
	// the entry void. The clock comes after the entry: a process that was halted
	// in between must not take the time from before.
	now := l.clock()
	if !l.soundAt(now) || !l.shelf.alive(e, now.mono) {
		return nil, false
	}
	return e.value, true
}

// Mark is called before the store is read; Put takes it. It reports false while
// nothing may be kept.
func (l *Layer) Mark() (mark uint64, ok bool) {
	mark = l.shelf.fence.last.Load()
	return mark, l.soundAt(l.clock())
}

// Put keeps an entry, unless its key or one of its tags was invalidated since
// the mark, a pattern was, or something may have been missed since.
func (l *Layer) Put(key string, e cache.NearEntry, mark uint64) {
	if e.TTL <= 0 {
		return
	}
	l.shelf.put(key, e, mark, l.clock().mono)
}

// Invalidated is called when this process has changed the store: the layer
// forgets what it keeps of that and tells the other processes.
func (l *Layer) Invalidated(i cache.Invalidation) {
	if len(i.Keys)+len(i.Patterns)+len(i.Tags) == 0 && !i.AllTags {
		return
	}
	l.shelf.remove(i)
	err := l.announcer.Announce(Broadcast{Keys: i.Keys, Patterns: i.Patterns, Tags: i.Tags, AllTags: i.AllTags})
	if err != nil {
		l.unsent.Add(1)
		l.log.Debug("an invalidation was not broadcast", "error", err)
	}
}

// Listen makes the layer call heard for every invalidation that it hears of from
// elsewhere; one that names the pattern "*" stands for what was missed. heard
// must not block; it may still run once when stop returns.
func (l *Layer) Listen(heard func(cache.Invalidation)) (stop func()) { return l.listeners.add(heard) }

// soundAt reports whether it is certain that nothing was missed.
func (l *Layer) soundAt(now instant) bool {
	return now.mono < l.until.Load() && now.lead() <= l.leap.Load()
}
