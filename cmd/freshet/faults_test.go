package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// Every part is killed in turn under writes, and started again. At the end
// nothing is stale, nothing is stuck, and the slot has caught up.
func TestKillEachPartInTurn(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	consumer := runService(t, s.config, "consumer")
	invalidator := runService(t, s.config, "invalidator")
	s.settle(invalidator)
	stop := s.traffic()
	s.awaitCommits(100)

	start := func(f func(context.Context) error) {
		t.Helper()
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, fault := range []struct {
		name    string
		kill    func()
		writes  int64 // commits to wait for while it is away
		restart func()
	}{
		{"consumer", func() { consumer.kill() }, 100, func() { consumer = runService(t, s.config, "consumer") }},
		{"invalidator", func() { invalidator.kill() }, 100, func() { invalidator = runService(t, s.config, "invalidator") }},
		{"nats", func() { must(s.nats.Kill()) }, 100, func() { start(s.nats.Start) }},
		{"redis", func() { must(s.redis.Kill()) }, 100, func() { start(s.redis.Start) }},
		{"postgres", func() { must(s.postgres.Kill()) }, 0, func() { start(s.postgres.Start) }},
	} {
		t.Logf("kill -9 %s", fault.name)
		fault.kill()
		s.awaitCommits(fault.writes)
		fault.restart()
		s.awaitCommits(100)
		s.await("reads", &s.reads, 500)
		s.audit(invalidator)
	}
	stop()
	servertest.Eventually(t, patience, func() (bool, string) {
		var lag int64
		err := s.db.QueryRow(t.Context(), `select pg_current_wal_lsn() - confirmed_flush_lsn from pg_replication_slots where slot_name = 'freshet_shop'`).Scan(&lag)
		return err == nil && lag < 64<<10, fmt.Sprintf("slot lag %d bytes %v", lag, err)
	})
}

// One of three invalidators works. When it is killed another takes over, and
// nothing is lost. Three seconds are the promise, which rests on the lease's
// times and is tested with them; a busy machine takes longer to notice.
func TestInvalidatorTakeover(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	runService(t, s.config, "consumer")
	all := []*process{runService(t, s.config, "invalidator"), runService(t, s.config, "invalidator"), runService(t, s.config, "invalidator")}
	active := awaitActive(t, patience, all...)
	s.settle(all...)
	s.traffic()
	s.awaitCommits(200)
	for range 2 {
		var rest []*process
		for _, p := range all {
			if p != active {
				rest = append(rest, p)
			}
		}
		all = rest
		active.kill()
		began := time.Now()
		active = awaitActive(t, patience, all...)
		took := time.Since(began)
		t.Logf("taken over after %s", took.Round(time.Millisecond))
		if took > 15*time.Second {
			t.Errorf("taken over after %s, want 3s on a machine with nothing else to do", took)
		}
		s.awaitCommits(200)
		s.audit(all...)
	}
}

// With confirm: applied Postgres keeps what Redis has not: the stream may be
// lost whole.
func TestStreamLostBeforeItWasApplied(t *testing.T) {
	t.Parallel()
	s := newShop(t, ", confirm: applied")
	consumer := runService(t, s.config, "consumer")
	invalidator := runService(t, s.config, "invalidator")
	s.settle(invalidator)
	stop := s.traffic()
	s.awaitCommits(200)
	invalidator.kill()
	s.awaitCommits(200)
	stop()
	if _, stale := s.compare(); len(stale) == 0 {
		t.Fatal("no cached value is stale while nothing is applied: the test shows nothing")
	}
	consumer.kill()
	if err := s.nats.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.nats.WipeStore(); err != nil {
		t.Fatal(err)
	}
	if err := s.nats.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	runService(t, s.config, "consumer")
	invalidator = runService(t, s.config, "invalidator")
	s.traffic()
	s.audit(invalidator)
}

// A consumer is paused in the middle of a burst and wakes up after another took
// over: whatever it still sends is harmless, and it stands by from then on.
func TestPausedConsumerWakesUp(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	// How soon the server takes the slot from a consumer that says nothing.
	if err := errors.Join(s.postgres.SetConfig(t.Context(), "wal_sender_timeout", "3s"), s.postgres.Reload(t.Context())); err != nil {
		t.Fatal(err)
	}
	active, standby := runService(t, s.config, "consumer"), runService(t, s.config, "consumer")
	invalidator := runService(t, s.config, "invalidator")
	s.settle(invalidator)
	s.traffic()
	await := func(p *process, state string) {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) {
			st, err := p.status()
			return err == nil && st.Consumer.State == state, fmt.Sprintf("%s, want %s: %v", st.Consumer.State, state, err)
		})
	}
	if st, err := standby.status(); err == nil && st.Consumer.State == "streaming" {
		active, standby = standby, active
	}
	for range 2 {
		await(active, "streaming")
		await(standby, "waiting_for_slot")
		burst := make(chan error, 1)
		begun := s.commits.Load()
		go func() {
			for range 20 {
				if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1`); err != nil {
					burst <- err
					return
				}
				s.commits.Add(1)
			}
			burst <- nil
		}()
		servertest.Eventually(t, patience, func() (bool, string) { return s.commits.Load() > begun+3, "no commits" })
		if err := active.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		await(standby, "streaming")
		if err := <-burst; err != nil {
			t.Fatal(err)
		}
		s.awaitCommits(100)
		if err := active.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s.awaitCommits(100)
		s.audit(invalidator)
		active, standby = standby, active
	}
}

// SIGTERM ends the service within ten seconds, with exit status 0 and nothing
// lost.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	s.settle(p)
	s.traffic()
	s.awaitCommits(200)
	status, took := p.terminate()
	if status != 0 || took > 10*time.Second {
		t.Errorf("SIGTERM: exit status %d after %s, want 0 within 10s", status, took)
	}
	t.Logf("SIGTERM: ended after %s", took.Round(time.Millisecond))
	s.awaitCommits(50)
	p = runService(t, s.config, "")
	s.audit(p)
}

// A second signal ends the service at once, whatever it still waits for: here
// for servers that do not answer.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	s.settle(p)
	stop := s.traffic()
	s.awaitCommits(20)
	stop()
	if err := errors.Join(s.redis.Pause(), s.nats.Pause()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1`); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Two signals of a kind become one when they come together.
	servertest.Eventually(t, patience, func() (bool, string) {
		_, _, err := get(p.http + "/healthz")
		return err != nil, "still answers"
	})
	status, took := p.terminate()
	if status != exitFailed {
		t.Errorf("second SIGTERM: exit status %d after %s, want %d: the first one ended it gracefully", status, took, exitFailed)
	}
	if err := errors.Join(s.redis.Resume(), s.nats.Resume()); err != nil {
		t.Fatal(err)
	}
	p = runService(t, s.config, "")
	s.traffic()
	s.audit(p)
}
