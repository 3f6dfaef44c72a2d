package near_test

import (
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache/near"
)

// TestUntil follows up to when an ear with a patience of 30 vouches.
func TestUntil(t *testing.T) {
	t.Parallel()
	e := near.NewEar("me", 30)
	own := func(sent, heard int64) {
		e.Beat(near.Heartbeat{Sender: "me", Every: 1, Role: near.RoleLibrary, Age: time.Duration(sent)}, heard)
	}
	inv := func(heard int64) { e.Beat(near.Heartbeat{Sender: "inv", Every: 1, Role: near.RoleInvalidator}, heard) }
	expect := func(step string, want int64) {
		t.Helper()
		if got := e.Until(); got != want {
			t.Errorf("%s: vouches until %d, want %d", step, got, want)
		}
	}
	expect("at first", 0)
	inv(1)
	expect("an invalidator alone is not enough", 0)
	own(2, 5)
	expect("one heard before own heartbeats came back does not count", 0)
	inv(6)
	expect("from when the own one was sent", 32)
	own(10, 12)
	expect("the invalidator was heard longer ago", 36)
	inv(13)
	expect("the own one was sent longer ago", 40)
	own(8, 14)
	expect("an older one takes nothing back", 40)

	e.Deafen(20)
	expect("a hole", 0)
	own(19, 21)
	inv(21)
	expect("own ones from before it do not end it", 0)
	own(20, 22)
	inv(22)
	expect("nor one of the same instant", 0)
	own(23, 24)
	expect("a later one does, but the invalidator must be heard anew", 0)
	inv(25)
	expect("and all is well", 53)
}
