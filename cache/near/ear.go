package near

import (
	"fmt"
	"time"
)

// ear follows what is heard. It knows when something may have been missed, and
// until when it is certain that nothing was. It is not safe for concurrent use.
//
// It believes nobody's clock but its own. That it hears at all, and how far what
// it hears lags behind, it knows from its own heartbeats: what the server sent
// before one of them came back has been heard by then.
type ear struct {
	self          string // this process as a sender
	patience      int64
	noInvalidator bool

	senders map[string]*sender
	// deaf is why nothing heard counts, "" if it does; it ends with an own
	// heartbeat that was sent after since.
	deaf  string
	since int64
	// echoed is when the newest own heartbeat that came back was sent.
	echoed int64
	// vouched is when an invalidator was heard last, 0 for not yet.
	vouched int64
}

type sender struct {
	n           uint64 // of its last broadcast, as far as known
	heard       int64
	invalidator bool
}

func newEar(self string, patience time.Duration, noInvalidator bool) *ear {
	return &ear{
		self: self, patience: int64(patience), noInvalidator: noInvalidator,
		senders: map[string]*sender{}, deaf: "own heartbeats have not come back yet", since: -1,
	}
}

// deafen is called when what was heard so far may have a hole that the numbers
// do not show at once.
func (e *ear) deafen(mono int64, why string) {
	e.deaf, e.since = why, mono
}

// broadcast takes note of a message and returns what was missed before it, "" if
// nothing was.
func (e *ear) broadcast(b *Broadcast, mono int64) (missed string) {
	s := e.sender(b.Sender, mono)
	if b.N != s.n+1 {
		missed = gap(b.Sender, s.n+1, b.N)
	}
	s.n = b.N
	if s.invalidator {
		e.vouched = mono
	}
	return missed
}

// heartbeat is the same for a heartbeat.
func (e *ear) heartbeat(h *Heartbeat, mono int64) (missed string) {
	if h.Sender == e.self {
		e.echo(int64(h.Age))
		return ""
	}
	s := e.sender(h.Sender, mono)
	if h.N != s.n {
		missed = gap(h.Sender, s.n, h.N)
	}
	s.n = h.N
	if h.Role == RoleInvalidator {
		if !s.invalidator && missed == "" {
			// Its predecessor may have died between a removal and its broadcast.
			missed = fmt.Sprintf("invalidator %s is new", h.Sender)
		}
		s.invalidator = true
		e.vouched = mono
	}
	if h.Bye {
		delete(e.senders, h.Sender)
	}
	return missed
}

// echo takes note of an own heartbeat that was sent at a time.
func (e *ear) echo(sent int64) {
	if sent <= e.since {
		return // it may have been heard before the hole
	}
	e.echoed = max(e.echoed, sent)
	if e.deaf != "" {
		// What was lost shows by the numbers, which go on. But whoever could not
		// reach us may not have been able to reach the invalidator's server
		// either, nor it: it has to be heard anew.
		e.deaf, e.vouched = "", 0
	}
}

// late forgets senders that have been silent for too long.
func (e *ear) late(mono int64) (missed string) {
	for name, s := range e.senders {
		if mono-s.heard > e.patience {
			delete(e.senders, name)
			missed = fmt.Sprintf("sender %s is silent", name)
		}
	}
	return missed
}

// until returns up to when the ear vouches for having heard everything, or else
// why it does not.
func (e *ear) until() (mono int64, why string) {
	switch {
	case e.deaf != "":
		return 0, e.deaf
	case e.noInvalidator:
		return e.echoed + e.patience, "own heartbeats do not come back in time"
	case e.vouched == 0:
		return 0, "no invalidator heard yet"
	case e.vouched < e.echoed:
		return e.vouched + e.patience, "the invalidator is silent"
	default:
		return e.echoed + e.patience, "own heartbeats do not come back in time"
	}
}

// sender returns the state of one that has just been heard. Unknown ones have
// sent nothing as far as we know, so that their numbers tell what we missed.
func (e *ear) sender(name string, mono int64) *sender {
	s := e.senders[name]
	if s == nil {
		s = &sender{}
		e.senders[name] = s
	}
	s.heard = mono
	return s
}

func gap(sender string, want, got uint64) string {
	return fmt.Sprintf("sender %s is at number %d, expected %d", sender, got, want)
}
