package stream

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// remoteConfig is for a server in a process of its own.
func remoteConfig(t testing.TB, n *servers.NATS) Config {
	cfg := testConfig(t)
	cfg.URL = n.URL()
	return cfg
}

// TestServerKilled kills the NATS server with SIGKILL, twice, under a writer
// that begins a new session from the applied position whenever its session
// ends. The reader goes on by itself and misses nothing.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	s := open(t, remoteConfig(t, server))
	h := history{s: s, t: t}
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	var applied, committed atomic.Uint64
	applied.Store(1)
	committed.Store(1)
	var writer sync.WaitGroup
	sessions := 0
	writer.Go(func() {
		for ctx.Err() == nil {
			from := cdc.LSN(applied.Load())
			x, err := s.NewSession(ctx, cdc.Start{Epoch: epochA, From: from})
			if err != nil {
				sleep(ctx, 20*time.Millisecond)
				continue
			}
			sessions++
			for lsn := from; err == nil && ctx.Err() == nil; lsn += 10 {
				err = h.send(x, lsn, lsn+9)
				committed.Store(max(committed.Load(), uint64(lsn+9)))
				sleep(ctx, time.Millisecond)
			}
			_ = x.Close(ctx)
		}
	})
	w := newWitness(t, s, Point{Epoch: epochA, LSN: 1}, false)
	advance := func(by cdc.LSN) {
		t.Helper()
		// The reader may be behind: count from what the writer has sent.
		target := max(w.point.LSN, cdc.LSN(committed.Load())) + by
		w.until("advanced", func() bool {
			applied.Store(uint64(w.point.LSN))
			return w.point.LSN >= target
		})
	}
	advance(200)
	for range 2 {
		if err := server.Kill(); err != nil {
			t.Fatalf("kill: %v", err)
		}
		if err := server.Start(testContext(t)); err != nil {
			t.Fatalf("start: %v", err)
		}
		// Far beyond what was in flight when it died.
		advance(500)
	}
	stop()
	writer.Wait()
	if sessions < 3 {
		t.Errorf("sessions: got %d, want one for each start of the server at least", sessions)
	}
	if w.hole != "" {
		t.Errorf("promise broken: %s", w.hole)
	}
}

// TestTailShorn restores the server's store from a copy while the reader has
// read further and the writer has confirmed further still.
func TestTailShorn(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		server := servertest.NATS(t)
		s := open(t, remoteConfig(t, server))
		h, _, at := settled(t, s)
		w := newWitness(t, s, at, trusting)
		backup := filepath.Join(t.TempDir(), "store")
		restart := func(swap func() error) {
			t.Helper()
			err := errors.Join(server.Stop(), swap(), server.Start(testContext(t)))
			if err != nil {
				t.Fatalf("restart: %v", err)
			}
			for deadline := time.Now().Add(patience); ; {
				if _, err = s.Info(testContext(t)); err == nil {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("no connection after the restart: %v", err)
				}
			}
		}
		restart(func() error { return os.CopyFS(backup, os.DirFS(server.StoreDir())) })
		x := begin(t, s, cdc.Start{Epoch: epochA, From: 51})
		h.sent(x, 51, 70)
		w.reach(71)
		restart(func() error {
			return errors.Join(os.RemoveAll(server.StoreDir()), os.CopyFS(server.StoreDir(), os.DirFS(backup)))
		})
		if !trusting {
			// It reads from the first message again, where the old start bridges
			// the break at once: nothing below the position is in doubt.
			w.until("back", func() bool { return w.point.Seq == h.info().LastSeq })
			if w.point.LSN != 71 {
				t.Errorf("position: got LSN %s, want 0/47", w.point.LSN)
			}
		}
		y := begin(t, s, cdc.Start{Epoch: epochA, From: 81}) // 71 to 80 were sent, confirmed and lost
		h.sent(y, 81, 90)
		return w, func() {
			w.adopt()
			h.sent(y, 91, 95)
			w.reach(96)
		}
	})
}
