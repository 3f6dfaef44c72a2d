package invalidator_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/invalidator"
)

// asked waits for the request to send again and answers it as a consumer
// does: with a session from the given LSN.
func (w *world) asked(from cdc.LSN) {
	w.t.Helper()
	servertest.Eventually(w.t, waiting, func() (bool, string) {
		ok, err := w.stream.ResendRequested(w.t.Context())
		return ok, fmt.Sprintf("requested: %v, %v", ok, err)
	})
	w.begin(from)
	if err := w.stream.ClearResend(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) purge() {
	w.t.Helper()
	s, err := w.stream.JetStream().Stream(w.t.Context(), "freshet-"+instance)
	if err == nil {
		err = s.Purge(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestAForeignMessageWidensAndHoldsThePosition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	at := w.lsn
	w.fill("order:1", "order:2", "user:1")
	if _, err := w.stream.JetStream().Publish(t.Context(), w.stream.Subjects().Changes("public", "orders"), []byte("?")); err != nil {
		t.Fatal(err)
	}
	w.gone("order:1", "order:2")
	w.stays("user:1")
	v.is(invalidator.StateBroken)
	events.await("stream_loss", 1)
	events.await("poison", 1)
	if got := v.Status().Position.LSN; got != at {
		t.Errorf("position: got %s, want %s", got, at)
	}
	w.asked(at)
	v.reaches(w.mark())
	v.is(invalidator.StateActive)
}

func TestNothingIsBelievedBehindAPurge(t *testing.T) {
	t.Parallel()
	for _, believing := range []bool{false, true} {
		t.Run(fmt.Sprintf("believing=%v", believing), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.begin(w.lsn)
			v := w.start()
			w.settle(v)
			v.stop()
			at := w.lsn
			keys := orders(0, 100)
			w.fill(keys...)
			for i := range 50 {
				w.publish("orders", order(i))
			}
			w.mark()
			w.purge()
			for i := range 50 {
				w.publish("orders", order(50+i))
			}
			last := w.mark()
			v = w.start(func(c *invalidator.Config) {
				if believing {
					c.BelieveTheStream()
				}
			})
			w.gone(keys[50:]...)
			if believing {
				// The proof that the check is what the test is about.
				v.reaches(last)
				w.stays(keys[:50]...)
				return
			}
			if got := v.Status().Position.LSN; got > at {
				t.Errorf("position: got %s, beyond what was purged at %s", got, at)
			}
			w.asked(at)
			for i := range keys {
				w.publish("orders", order(i))
			}
			v.reaches(w.mark())
			w.gone(keys...)
		})
	}
}

func TestASessionAboveThePositionMeansAFlush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("order:1", "orders:client:1", "dashboard:1", "user:1", "unrelated")
	w.lsn += 1000 // transactions that nobody will send again
	w.begin(w.lsn)
	w.settle(v)
	if left := w.present("order:1", "orders:client:1", "dashboard:1", "user:1"); len(left) > 0 {
		t.Errorf("left by the time the position moved on: %q", left)
	}
	w.stays("unrelated")
	events.await("stream_loss", 1)
	v.is(invalidator.StateActive)
}

func TestTheStreamIsDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	at := w.lsn
	keys := orders(0, 100)
	w.fill(keys...)
	v.stop()
	for i := range 50 {
		w.publish("orders", order(i))
	}
	w.mark()
	if err := w.stream.JetStream().DeleteStream(t.Context(), "freshet-"+instance); err != nil {
		t.Fatal(err)
	}
	v = w.start()
	// The slot confirms what was applied, so it has everything from there.
	w.asked(at)
	for i := range keys {
		w.publish("orders", order(i))
	}
	v.reaches(w.mark())
	w.gone(keys...)
}

func TestASecondWriterMovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	at := w.lsn
	// A zombie's change and mark, with headers of its own chain.
	for i, subject := range []string{w.stream.Subjects().Changes("public", "orders"), w.stream.Subjects().Mark()} {
		msg := nats.NewMsg(subject)
		msg.Header.Set("Freshet-Id", fmt.Sprintf("zombie:%d", 8+i))
		msg.Header.Set("Freshet-Prev", fmt.Sprintf("zombie:%d", 7+i))
		msg.Data = []byte(`{"v":1,"epoch":"7301:1:0","lsn":"0/FFFF","schema":"public","table":"orders","transactions":[],"changes":[]}`)
		if i == 1 {
			msg.Data = []byte(`{"epoch":"7301:1:0","lsn":"0/FFFF","time":"2030-01-01T00:00:00Z"}`)
		}
		if _, err := w.stream.JetStream().PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	v.is(invalidator.StateBroken)
	if got := v.Status().Position.LSN; got != at {
		t.Errorf("position: got %s, want %s", got, at)
	}
	w.asked(at)
	w.settle(v)
	if got := w.position(); got.Time.Year() == 2030 {
		t.Errorf("the position believes the zombie's mark: %+v", got)
	}
}
