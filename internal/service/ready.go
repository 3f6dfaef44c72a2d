package service

import (
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/internal/verify"
	"github.com/freshet-dev/freshet/invalidator"
	"github.com/freshet-dev/freshet/warmer"
)

// waitsFor says what a consumer waits for where that is no error.
var waitsFor = map[consumer.State]string{
	consumer.StateCreating:  "Postgres makes a slot once the transactions that write now have ended; end what is idle in a transaction (pg_stat_activity)",
	consumer.StateInvisible: "a COMMIT is not visible yet, as while it waits for a synchronous standby; look at pg_stat_replication",
	consumer.StatePaused:    "the stream is full of what the invalidator has not applied; look there",
}

// remedies say what to do where the error is a server's own.
var remedies = map[invalidator.State]string{
	invalidator.StateRedisDown: "start Redis, or see what is between; nothing is lost meanwhile, and it goes on by itself",
	invalidator.StateRedisFull: "give Redis more memory (maxmemory), or let it evict; deletes go on meanwhile",
}

// link says why a part cannot do its work while NATS is away; empty otherwise.
type link func() string

func newLink(s *stream.Stream) link {
	return func() string {
		if s.Conn().IsConnected() {
			return ""
		}
		return "nats_down: the connection to NATS is lost; start the server, or see what is between: it connects again by itself"
	}
}

type consumerPart struct {
	link     link
	consumer *consumer.Consumer
	maxWAL   int64
	readyLag time.Duration
}

func (p *consumerPart) Role() string { return RoleConsumer }

func (p *consumerPart) Snapshot() any {
	return struct {
		consumer.Status
		MaxWAL   int64   `json:"max_wal"`   // what retained_wal may reach
		ReadyLag float64 `json:"ready_lag"` // seconds
	}{p.consumer.Status(), p.maxWAL, p.readyLag.Seconds()}
}

func (p *consumerPart) Ready() string {
	if away := p.link(); away != "" {
		return away
	}
	s := p.consumer.Status()
	switch s.State {
	case consumer.StateWaiting:
		return "" // another one works; this one takes over
	case consumer.StateStreaming, consumer.StateInvisible, consumer.StatePaused:
		if s.Lag > p.readyLag {
			behind := fmt.Sprintf("%s, %s behind the database (ready_lag is %s)", s.State, s.Lag.Round(time.Second), p.readyLag)
			return reason(behind, waitsFor[s.State], "")
		}
		return ""
	case consumer.StateCreating:
		return reason(string(s.State), waitsFor[s.State], "")
	default:
		return reason(string(s.State), s.LastError, s.Remedy)
	}
}

type invalidatorPart struct {
	link        link
	invalidator *invalidator.Invalidator
	verifying   *verifying // nil where nothing is verified
	filling     *filling
	publishing  *publishing
	readyLag    time.Duration
}

func (p *invalidatorPart) Role() string { return RoleInvalidator }

func (p *invalidatorPart) Snapshot() any {
	return struct {
		invalidator.Status
		Verify   *verify.Status `json:"verify,omitempty"`
		Stream   *fill          `json:"stream,omitempty"`      // how full it is, where that is known
		Missing  string         `json:"unpublished,omitempty"` // tables that the consumer does not publish as the rules need them
		ReadyLag float64        `json:"ready_lag"`             // seconds
	}{p.invalidator.Status(), p.verifying.status(), p.filling.last.Load(), p.publishing.status(), p.readyLag.Seconds()}
}

func (p *invalidatorPart) Ready() string {
	if away := p.link(); away != "" {
		return away
	}
	if missing := p.publishing.status(); missing != "" {
		return "the consumer runs with other rules: it does not publish " + missing + " as the rules here need it, and what depends on that goes stale; " +
			"give its process the same configuration (SIGHUP, or start it again)"
	}
	s := p.invalidator.Status()
	switch s.State {
	case invalidator.StateWaiting:
		return ""
	case invalidator.StatePaused:
		// Told so, and ready while what that leaves behind is within the bound.
		if lag := time.Since(s.Position.Time); s.Position.Time.IsZero() || lag > p.readyLag {
			return reason(string(s.State), s.Reason, "")
		}
		return ""
	case invalidator.StateActive, invalidator.StateSweeping:
		if s.Position.Time.IsZero() {
			return "has not reached a first mark of the stream yet; is a consumer running?"
		}
		if lag := time.Since(s.Position.Time); lag > p.readyLag {
			return fmt.Sprintf("%s, applied up to %s ago (ready_lag is %s)", s.State, lag.Round(time.Second), p.readyLag)
		}
		return ""
	default:
		return reason(string(s.State), s.Reason, remedies[s.State])
	}
}

type warmerPart struct {
	link   link
	warmer *warmer.Warmer
}

func (p *warmerPart) Role() string  { return RoleWarmer }
func (p *warmerPart) Snapshot() any { return p.warmer.Status() }

func (p *warmerPart) Ready() string {
	if away := p.link(); away != "" {
		return away
	}
	switch s := p.warmer.Status(); s.State {
	case warmer.StateActive, warmer.StateIdle, warmer.StatePaused:
		return ""
	default:
		return reason(string(s.State), s.Reason, "")
	}
}

func reason(state, what, remedy string) string {
	if what != "" {
		state += ": " + what
	}
	if remedy != "" {
		state += "; " + remedy
	}
	return state
}
