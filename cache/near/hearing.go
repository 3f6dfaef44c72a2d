package near

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
)

// receive hears messages until ctx ends.
func (l *Layer) receive(ctx context.Context, every time.Duration) {
	dropped := 0
	for ctx.Err() == nil {
		msg, err := l.sub.NextMsgWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		// The client tells of messages it dropped by an error that a message
		// that it then kept takes back; the count stays.
		if n, _ := l.sub.Dropped(); n != dropped {
			dropped = n
			if l.lose("the client dropped messages: the process is too slow") {
				l.beat()
			}
		}
		switch {
		case err == nil:
			l.hear(msg.Data)
		case err != nats.ErrSlowConsumer: //nolint:errorlint // the client returns it as it is
			l.lose(err.Error())
			// Closed, or not permitted: neither passes quickly.
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	}
}

// watch sees to what is not heard: a connection that breaks, and silence.
func (l *Layer) watch(ctx context.Context, statuses chan nats.Status, every time.Duration) {
	defer l.conn.RemoveStatusListener(statuses)
	ticker := time.NewTicker(every / 4)
	defer ticker.Stop()
	swept := l.clock().mono
	for {
		select {
		case <-ctx.Done():
			return
		case status := <-statuses:
			l.lose("the connection is " + status.String())
			if status == nats.CONNECTED {
				l.lose("own heartbeats have not come back yet on this connection")
				l.beat()
			}
		case <-ticker.C:
			if l.update(func(now instant) string { return l.ear.late(now.mono) }) {
				l.listeners.tell(everything)
			}
			if mono := l.clock().mono; mono-swept > int64(l.shelf.ttl) {
				swept = mono
				l.shelf.sweep(mono)
			}
		}
	}
}

// everything is what listeners are told where something may have been missed.
var everything = cache.Invalidation{Patterns: []string{"*"}}

// hear acts on one message.
func (l *Layer) hear(data []byte) {
	b, h, err := Decode(data)
	var i cache.Invalidation
	others := b != nil && b.Sender != l.self
	if others {
		// Before it counts as heard.
		i = cache.Invalidation{Keys: b.Keys, Patterns: b.Patterns, Tags: b.Tags, AllTags: b.AllTags}
		l.shelf.remove(i)
	}
	missed := l.update(func(now instant) string {
		switch {
		case err != nil:
			return err.Error()
		case h != nil:
			return l.ear.heartbeat(h, now.mono)
		case others:
			return l.ear.broadcast(b, now.mono)
		default:
			return ""
		}
	})
	switch {
	case missed:
		l.listeners.tell(everything)
	case others:
		l.listeners.tell(i)
	}
}

// lose is called when messages may have been lost: nothing counts until an own
// heartbeat that was sent later comes back. It reports whether that is news.
func (l *Layer) lose(why string) (news bool) {
	missed := l.update(func(now instant) string {
		news = l.ear.deaf == ""
		l.ear.deafen(now.mono, why)
		return ""
	})
	if missed {
		l.listeners.tell(everything)
	}
	return news
}

// beat sends a heartbeat now. One that fails does not come back.
func (l *Layer) beat() { _ = l.announcer.beat(false) }

// age is the time that own heartbeats carry.
func (l *Layer) age() time.Duration { return time.Duration(l.clock().mono) }

// overdue is after how many times its patience a layer says that it has not come
// into use: its name, or the server, may be another one's.
const overdue = 3

// reasonClosed is why a layer is bypassed that was closed in good order.
const reasonClosed = "closed"

// update lets note tell the ear what happened, and returns why something may
// have been missed, if so. Then it opens or shuts the layer accordingly, and
// reports whether all entries are void now.
func (l *Layer) update(note func(now instant) (missed string)) (emptied bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock()
	leapt, lapsed := now.lead() > l.leap.Load(), now.mono >= l.until.Load()
	_, silence := l.ear.until()
	if leapt {
		l.ear.deafen(now.mono, "the machine slept, or its clock was set")
	}
	missed := note(now)
	if missed == "" && l.sound && (leapt || lapsed) {
		missed = silence
	}
	until, why := l.ear.until()
	sound := now.mono < until
	if !sound {
		l.until.Store(0)
	}
	if missed != "" || sound != l.sound {
		l.shelf.clear()
		emptied = true
		if l.sound {
			l.emptied++
		}
	}
	// Only now, with everything from before void.
	if sound {
		l.until.Store(until)
	}
	l.leap.Store(now.lead() + maxLeap)
	switch {
	case l.sound && !sound && why != reasonClosed:
		l.log.Warn("the near layer is bypassed", "reason", why)
	case sound && !l.sound:
		l.told = true
		l.log.Info("the near layer is in use")
	case !l.told && now.mono/overdue > l.ear.patience:
		l.told = true
		l.log.Warn("the near layer has not come into use", "subject", l.sub.Subject, "reason", why)
	case missed != "":
		l.log.Debug("the near layer was emptied", "reason", missed)
	}
	l.sound = sound
	return emptied
}
