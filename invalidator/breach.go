package invalidator

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	// resendEvery is how often the request for a session without skipping is
	// repeated while a break stays.
	resendEvery = 10 * time.Second
	// gapWait is how long a start of another epoch may stand without the gap
	// message that belongs behind it before everything is flushed instead.
	gapWait = time.Second
	// askTime bounds a request to NATS made by the reading side, which has
	// messages to apply meanwhile.
	askTime = 2 * time.Second
)

// breach follows one break of the stream until it is bridged.
type breach struct {
	open     bool
	since    time.Time
	lost     time.Time // when it was first seen to be lost
	asked    time.Time // when a resend was last asked for
	told     bool
	flushing bool // coverage for it is being flushed
}

// watch looks for a break and does what it calls for: say so, ask for what the
// slot still has, or flush what will not come again. Messages are applied
// meanwhile, and the reader marks them as not movable.
func (in *intake) watch(ctx context.Context) *flush {
	select {
	case was := <-in.adopt:
		in.breach.flushing = false
		if now, broken := in.reader.Broken(); broken && now.Lost && now.At == was.At && now.Point == was.Point {
			in.reader.Adopt(was.Point)
			in.fresh = false
			in.v.log.Info("continuing behind the break", "seq", was.Point.Seq, "lsn", was.Point.LSN)
		}
	default:
	}
	now, broken := in.reader.Broken()
	in.v.stats.broken(broken && !in.fresh, now.Reason)
	breaks, last := in.reader.Breaks()
	if breaks > in.breaks && !broken {
		in.breach.since = last.Since
		in.tell(last) // bridged by the very next message, and told all the same
	}
	in.breaks = breaks
	if !broken {
		if in.breach.told {
			in.v.log.Info("the change stream is whole again", "after", time.Since(in.breach.since).Round(time.Millisecond))
		}
		in.breach = breach{flushing: in.breach.flushing}
		in.fresh = false
		return nil
	}
	if !in.breach.open {
		in.breach = breach{open: true, since: time.Now(), flushing: in.breach.flushing}
	}
	in.tell(now)
	if now.Lost {
		return in.lost(now)
	}
	in.breach.lost = time.Time{}
	in.ask(ctx, now)
	return nil
}

// tell announces a break once. A first start has nothing to lose.
func (in *intake) tell(now stream.Break) {
	if in.breach.told || in.fresh {
		return
	}
	in.breach.told = true
	in.v.emit("stream_loss", "the change stream has a hole ("+now.Reason+"); what the slot still has is sent again, the rest is flushed", map[string]any{
		"reason": now.Reason, "seq": in.last.Seq, "lsn": in.last.LSN.String(), "at": now.At,
	})
}

// lost flushes the coverage of every rule: what lies between the position and
// the start behind the break will not come again.
func (in *intake) lost(now stream.Break) *flush {
	if in.breach.lost.IsZero() {
		in.breach.lost = time.Now()
	}
	if in.breach.flushing {
		return nil
	}
	// The gap message behind a new epoch's start says which tables it is
	// about, and ends the break when it has been flushed.
	if !in.last.Epoch.IsZero() && now.Start.Epoch != in.last.Epoch && time.Since(in.breach.lost) < gapWait {
		return nil
	}
	in.breach.flushing = true
	reason := "the stream lost changes: " + now.Reason
	if in.fresh {
		reason = "first start"
	}
	f := newFlush(reason, in.v.rules.CoverageAll())
	f.below, f.epoch = now.Start.From, now.Start.Epoch
	f.finished = func() { in.adopt <- now }
	return f
}

// ask requests a session from the slot's confirmed LSN when nothing bridges
// the break by itself.
func (in *intake) ask(ctx context.Context, now stream.Break) {
	if in.fresh && now.At == 0 {
		return // an empty stream before the consumer's first session
	}
	if time.Since(in.breach.since) < in.v.cfg.ResendAfter || time.Since(in.breach.asked) < resendEvery {
		return
	}
	in.breach.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	// The stream and the bucket may be gone altogether.
	if err := in.v.stream.Ensure(ctx); err != nil {
		in.v.log.Warn("the change stream cannot be made again", "error", err)
	}
	if err := in.v.stream.RequestResend(ctx, now.Reason); err != nil {
		in.v.log.Warn("what the slot still has cannot be asked for", "error", err)
		return
	}
	in.v.log.Info("asked for what the slot still has", "reason", now.Reason)
}
