package invalidator_test

import (
	"fmt"
	"testing"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/invalidator"
)

func TestATableGapIsFlushedTwiceAndHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	before := w.lsn

	w.fill("order:1", "orders:client:1", "user:1")
	gap := cdc.Gap{ID: "g1", Reason: "table_changed", Tables: []cdc.TableName{{Schema: "public", Table: "orders"}}}
	w.gap(gap)
	v.reaches(w.mark())
	if left := w.present("order:1", "orders:client:1"); len(left) > 0 {
		t.Errorf("left when the position had passed the gap: %q", left)
	}
	w.stays("user:1")
	p := w.position()
	if p.Hold != cache.LSN(before) || p.LSN != cache.LSN(w.lsn) || p.Watermark() != p.Hold {
		t.Errorf("position %s holds %s, want %s holding %s", p.LSN, p.Hold, w.lsn, before)
	}
	frozen := p.Time
	w.mark()
	v.reaches(w.lsn)
	if p := w.position(); !p.Time.Equal(frozen) {
		t.Errorf("the position's time went on to %v while it held, from %v", p.Time, frozen)
	}

	// A transaction that straddled the cause was never decoded.
	w.fill("order:1")
	gap.Final = true
	w.gap(gap)
	v.reaches(w.mark())
	if left := w.present("order:1"); len(left) > 0 {
		t.Errorf("left after the second flush: %q", left)
	}
	if p := w.position(); p.Hold != 0 || !p.Time.After(frozen) {
		t.Errorf("position still holds %s, time %v", p.Hold, p.Time)
	}
	if got := events.await("flushed", 3); len(got) != 3 { // the first start, and twice
		t.Errorf("flushed %d times, want 3: %v", len(got), got)
	}
}

func TestAnEpochThatEndedLetsNothingBeBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("order:1", "dashboard:1", "user:1", "unrelated")
	w.epoch.Counter++
	w.lsn = 500 // went back
	w.begin(w.lsn)
	w.gap(cdc.Gap{ID: "g1", Reason: "slot_lost"})
	last := w.mark()
	v.within(waiting, "the new epoch", func(s invalidator.Status) bool {
		return s.Position.Epoch == w.epoch && s.Position.LSN >= last
	})
	if left := w.present("order:1", "dashboard:1", "user:1"); len(left) > 0 {
		t.Errorf("left when the position had passed the gap: %q", left)
	}
	w.stays("unrelated")
	if p := w.position(); p.Hold != 1 {
		t.Errorf("hold: got %s, want 0/1", p.Hold)
	}

	// Another invalidator must know what it waits for.
	v.stop()
	v = w.start()
	v.reaches(w.mark())
	if p := w.position(); p.Hold != 1 {
		t.Errorf("hold after a restart: got %s, want 0/1", p.Hold)
	}
	w.gap(cdc.Gap{ID: "other", Reason: "crash"})
	w.gap(cdc.Gap{ID: "g1", Reason: "slot_lost", Final: true})
	v.reaches(w.mark())
	if p := w.position(); p.Hold == 0 {
		t.Error("the hold ended with one of two gaps")
	}
	w.gap(cdc.Gap{ID: "other", Reason: "crash", Final: true})
	v.reaches(w.mark())
	if p := w.position(); p.Hold != 0 {
		t.Errorf("hold: got %s after both final messages, want none", p.Hold)
	}
}

func TestALostPositionDoesNotForgetAPendingGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	gap := cdc.Gap{ID: "g1", Reason: "table_changed", Tables: []cdc.TableName{{Schema: "public", Table: "orders"}}}
	w.gap(gap)
	v.reaches(w.mark())
	v.stop()
	if err := w.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	v = w.start()
	w.settle(v)
	if p := w.position(); p.Hold != 1 {
		t.Errorf("hold of a position that was adopted behind a pending gap: got %s, want 0/1", p.Hold)
	}
	gap.Final = true
	w.gap(gap)
	v.reaches(w.mark())
	if p := w.position(); p.Hold != 0 {
		t.Errorf("hold: got %s, want none", p.Hold)
	}
}

func TestChangedRulesFlushWhatChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	old := w.position().Rules
	v.stop()

	w.fill("order:1", "orders:client:1", "dashboard:1", "user:1", "profile:1")
	w.rules = []rule.Config{
		shopRules[0],
		shopRules[1],
		{Table: "users", Invalidate: []string{"profile:{id}"}},
	}
	v = w.start()
	v.reaches(w.mark())
	// The rule of orders is word for word the same; that of users is not, and
	// what its old form covered is not kept fresh any more.
	if left := w.present("user:1", "profile:1"); len(left) > 0 {
		t.Errorf("left when the position had the new rules: %q", left)
	}
	w.stays("order:1", "orders:client:1", "dashboard:1")
	if p := w.position(); p.Rules == old || p.Rules != compile(t, w.rules).Fingerprint() {
		t.Errorf("rules in the position: got %s", p.Rules)
	}
	if got := events.await("rules_changed", 1); len(got) != 1 {
		t.Errorf("rules_changed was announced %d times", len(got))
	}
	v.stop()
	v = w.start()
	v.reaches(w.mark())
	if n := len(events.of("rules_changed")); n != 1 {
		t.Errorf("the same rules were announced as changed")
	}
}

func TestUnknownOldRulesFlushEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	fingerprint := w.position().Rules
	v.stop()
	if err := w.stream.KV().Purge(t.Context(), "rules."+fingerprint); err != nil {
		t.Fatal(err)
	}
	w.fill("order:1", "dashboard:1", "user:1")
	w.rules = shopRules[:2]
	v = w.start()
	v.reaches(w.mark())
	w.gone("order:1", "dashboard:1")
}

func TestAStreamThatIsLostDoesNotForgetAPendingGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	orders := []cdc.TableName{{Schema: "public", Table: "orders"}}
	w.gap(cdc.Gap{ID: "g1", Reason: "table_changed", Tables: orders})
	w.gap(cdc.Gap{ID: "g2", Reason: "table_changed", Tables: orders})
	at := w.mark()
	v.reaches(at)
	v.stop()
	if err := w.stream.JetStream().DeleteStream(t.Context(), "freshet-"+instance); err != nil {
		t.Fatal(err)
	}
	v = w.start()
	w.asked(at)
	v.reaches(w.mark())
	w.gap(cdc.Gap{ID: "g1", Reason: "table_changed", Tables: orders, Final: true})
	v.reaches(w.mark())
	if p := w.position(); p.Hold == 0 {
		t.Error("the hold ended with one of two gaps")
	}
	w.gap(cdc.Gap{ID: "g2", Reason: "table_changed", Tables: orders, Final: true})
	v.reaches(w.mark())
	if p := w.position(); p.Hold != 0 {
		t.Errorf("hold: got %s after both final messages, want none", p.Hold)
	}
}

// A prefix that was wrong, or left out, and is mended: nothing under the right one was ever removed.
func TestAnotherPrefixFlushesWhatIsUnderIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("app:order:1", "app:dashboard:1", "order:2", "app:unrelated")
	w.publish("orders", order(1))
	v.reaches(w.mark())
	w.stays("app:order:1") // not known to be ours
	v.stop()

	w.prefix = "app:"
	prefixed := func(c *invalidator.Config) { c.Prefix = w.prefix }
	v = w.start(prefixed)
	w.settle(v)
	if left := w.present("app:order:1", "app:dashboard:1"); len(left) > 0 {
		t.Errorf("left when the position was claimed for the prefix: %q", left)
	}
	w.stays("app:unrelated", "order:2")
	w.fill("app:dashboard:1")
	v.stop()
	v = w.start(prefixed)
	w.settle(v)
	w.stays("app:dashboard:1") // once
}

// What a gap stands for was in no batch, and a standby may not have replayed it when its coverage has been flushed.
func TestAGapKeepsFillsFromAStandbyBehindItAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.publish("orders", order(1))
	v.reaches(w.mark())
	w.lsn += 1000 // written by what was not decoded
	at := w.mark()
	w.gap(cdc.Gap{ID: "g1", Reason: "table_changed", Tables: []cdc.TableName{{Schema: "public", Table: "orders"}}})
	v.reaches(w.mark())
	got, err := w.rdb.Get(t.Context(), "freshet:ahead:"+instance).Result()
	if err != nil {
		t.Fatal(err)
	}
	var ahead uint64
	if _, err := fmt.Sscanf(got, w.epoch.String()+" %x", &ahead); err != nil || ahead+1 < uint64(at) {
		t.Errorf("ahead is %q, want everything below %s in epoch %s: %v", got, at, w.epoch, err)
	}
}
