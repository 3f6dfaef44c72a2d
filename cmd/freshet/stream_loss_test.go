package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// The stream is purged, deleted, and shorn of its tail while the service runs
// and rows change: each break is seen, and everything written is invalidated.
func TestStreamBreaksWhileRunning(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	runService(t, s.config, "consumer")
	invalidator := runService(t, s.config, "invalidator")
	s.settle(invalidator)
	s.traffic()
	s.awaitCommits(200)

	js := s.jetStream()
	open := func() jetstream.Stream {
		stream, err := js.Stream(t.Context(), "freshet-shop")
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	for _, loss := range []struct {
		name string
		do   func() error
	}{
		{"purge", func() error { return open().Purge(t.Context()) }},
		{"shear", func() error {
			stream := open()
			info, err := stream.Info(t.Context())
			if err != nil {
				return err
			}
			for seq := info.State.LastSeq; seq+20 > info.State.LastSeq && seq >= info.State.FirstSeq; seq-- {
				// One that was shorn before is missing already.
				if err := stream.DeleteMsg(t.Context(), seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
					return err
				}
			}
			return nil
		}},
		{"delete", func() error { return js.DeleteStream(t.Context(), "freshet-shop") }},
	} {
		t.Logf("%s the stream while the invalidator is away", loss.name)
		seen := s.events("stream_loss") + s.events("gap")
		invalidator.kill()
		// What is lost must be something that was not applied, or nothing is.
		before := s.lastSequence()
		servertest.Eventually(t, patience, func() (bool, string) {
			last := s.lastSequence()
			return last > before+40, fmt.Sprintf("%d messages since the kill", last-before)
		})
		if err := loss.do(); err != nil {
			t.Fatalf("%s: %v", loss.name, err)
		}
		s.awaitCommits(100)
		invalidator = runService(t, s.config, "invalidator")
		s.awaitCommits(100)
		s.audit(invalidator)
		servertest.Eventually(t, patience, func() (bool, string) {
			return s.events("stream_loss")+s.events("gap") > seen, loss.name + ": repaired and not announced"
		})
		t.Logf("%s the stream while everything runs", loss.name)
		if err := loss.do(); err != nil {
			t.Fatalf("%s: %v", loss.name, err)
		}
		s.awaitCommits(200)
		s.audit(invalidator)
	}
}

// Redis is replaced by an older dump of itself under writes: the position goes
// back with it, and what was forgotten is removed again.
func TestRedisReplacedByAnOlderDump(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	s.settle(p)
	s.traffic()
	for round := range 2 {
		s.awaitCommits(300)
		dump, err := s.redis.SaveDump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.awaitCommits(300)
		if err := s.redis.RestoreDump(t.Context(), dump); err != nil {
			t.Fatal(err)
		}
		s.awaitCommits(100)
		s.audit(p)
		servertest.Eventually(t, patience, func() (bool, string) {
			n := s.events("redis_rollback")
			return n > uint64(round), fmt.Sprintf("%d redis_rollback events after %d restores", n, round+1)
		})
	}
}

func (s *shop) jetStream() jetstream.JetStream {
	s.t.Helper()
	if s.js != nil {
		return s.js
	}
	conn, err := s.nats.Connect()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	if s.js, err = jetstream.New(conn); err != nil {
		s.t.Fatal(err)
	}
	return s.js
}

// lastSequence is the number of the change stream's last message.
func (s *shop) lastSequence() uint64 {
	s.t.Helper()
	stream, err := s.jetStream().Stream(s.t.Context(), "freshet-shop")
	if err != nil {
		s.t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// events counts the events of a kind.
func (s *shop) events(kind string) uint64 {
	s.t.Helper()
	stream, err := s.jetStream().Stream(s.t.Context(), "freshet-shop-events")
	if err != nil {
		s.t.Fatal(err)
	}
	subject := "freshet.shop.events." + kind
	info, err := stream.Info(s.t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		s.t.Fatal(err)
	}
	if n := info.State.Subjects[subject]; n > 0 {
		s.checkEvent(stream, subject)
		return n
	}
	return 0
}

// checkEvent checks that an event says what happened.
func (s *shop) checkEvent(stream jetstream.Stream, subject string) {
	s.t.Helper()
	last, err := stream.GetLastMsgForSubject(s.t.Context(), subject)
	if err != nil {
		s.t.Fatal(err)
	}
	var event struct {
		Message string `json:"message"`
		Role    string `json:"role"`
	}
	if err := json.Unmarshal(last.Data, &event); err != nil || event.Message == "" || event.Role == "" {
		s.t.Errorf("event on %s: %s (%v): want role and message", subject, last.Data, err)
	}
}
