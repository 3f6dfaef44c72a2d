package stream

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The lease's times. A standby counts leaseTTL on its own clock from when it
// first saw a revision, which is after the holder began to write it. A holder
// counts leaseGiveUp from when it began to write it. So the holder has stopped
// leaseTTL - leaseGiveUp before a standby can start, whatever the clocks say,
// and a vanished holder is replaced within leaseTTL + leasePoll + a request.
const (
	leaseRenew   = 500 * time.Millisecond
	leaseGiveUp  = 1700 * time.Millisecond
	leaseTTL     = 2200 * time.Millisecond
	leasePoll    = 100 * time.Millisecond
	leaseRequest = time.Second // bound of one request
)

type leaseValue struct {
	Owner    string `json:"owner"`
	Renewals uint64 `json:"renewals"`
}

// Lead waits for the role's lease, runs f while it is held, and cancels f's
// context (cause ErrLeaseLost) when it is lost; then it waits for f to return
// and competes again. It returns f's result when f returns for another reason,
// or nil when ctx ends. owner must be unique to this process. onWait, if not
// nil, is called when it begins to wait behind another holder.
//
// The lease keeps two from working at the same time as long as processes run;
// one that was paused can still wake up and act for a moment, and what it does
// then must be harmless.
func (s *Stream) Lead(ctx context.Context, role, owner string, onWait func(holder string), f func(context.Context) error) error {
	l := &lease{s: s, key: keyLeasePrefix + role, owner: owner, onWait: onWait}
	for ctx.Err() == nil {
		if !l.acquire(ctx) {
			return nil
		}
		again, err := l.hold(ctx, f)
		if !again {
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		}
		s.log.Warn("lease lost", "role", role, "owner", owner)
	}
	return nil
}

// lease is one competitor for a role.
type lease struct {
	s      *Stream
	key    string
	owner  string
	onWait func(holder string)

	renewals uint64
	revision uint64    // of our last write, while held
	since    time.Time // when that write began
}

// acquire returns true once the lease is ours, or false when ctx ends.
func (l *lease) acquire(ctx context.Context) bool {
	var seen uint64 // revision of the present holder
	var seenAt time.Time
	var waitingFor string
	for ctx.Err() == nil {
		entry, err := l.get(ctx)
		now := time.Now()
		switch {
		case isMissingKey(err):
			if l.write(ctx, 0) {
				return true
			}
		case err != nil:
			// NATS is away: nobody's lease can be judged. What was seen before
			// does not count as unchanged time.
			seen = 0
		case entry.Revision() != seen:
			seen, seenAt = entry.Revision(), now
			if holder := holderOf(entry); holder != waitingFor {
				waitingFor = holder
				if l.onWait != nil {
					l.onWait(holder)
				}
			}
		case now.Sub(seenAt) >= leaseTTL:
			if l.write(ctx, seen) {
				return true
			}
			seen = 0
		}
		sleep(ctx, leasePoll)
	}
	return false
}

// hold runs f and renews the lease beside it. again is true when f was stopped
// because the lease was lost.
func (l *lease) hold(ctx context.Context, f func(context.Context) error) (again bool, err error) {
	held, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	returned := make(chan struct{})
	var keeper sync.WaitGroup
	// When ctx ends, f drains; the lease is kept until it has returned.
	keeper.Go(func() {
		if !l.keep(context.WithoutCancel(ctx), returned) {
			cancel(ErrLeaseLost)
		}
	})
	err = f(held)
	close(returned)
	keeper.Wait()
	if ctx.Err() == nil && errors.Is(context.Cause(held), ErrLeaseLost) {
		return true, nil
	}
	l.release()
	return false, err
}

// keep renews the lease until returned is closed. It returns false as soon as
// the lease is another's, or may soon be.
func (l *lease) keep(ctx context.Context, returned <-chan struct{}) bool {
	pause := leaseRenew
	for {
		timer := time.NewTimer(min(pause, time.Until(l.since.Add(leaseGiveUp))))
		select {
		case <-returned:
			timer.Stop()
			return true
		case <-timer.C:
		}
		deadline := l.since.Add(leaseGiveUp)
		if !time.Now().Before(deadline) {
			return false
		}
		request, cancel := context.WithDeadline(ctx, deadline)
		ok := l.write(request, l.revision)
		cancel()
		switch {
		case ok:
			pause = leaseRenew - min(time.Since(l.since), leaseRenew)
		case l.revision == 0:
			return false
		default:
			pause = leasePoll
		}
	}
}

// write writes the lease over the given revision, 0 for none, and reports
// whether it is ours now. When it is another's, l.revision becomes 0.
func (l *lease) write(ctx context.Context, over uint64) bool {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, leaseRequest)
	defer cancel()
	l.renewals++
	data, err := json.Marshal(leaseValue{Owner: l.owner, Renewals: l.renewals})
	if err != nil {
		return false // strings and numbers always encode
	}
	var revision uint64
	if over == 0 {
		revision, err = l.s.kv.Create(ctx, l.key, data)
	} else {
		revision, err = l.s.kv.Update(ctx, l.key, data, over)
	}
	if err == nil {
		l.revision, l.since = revision, start
		return true
	}
	if !isConflict(err) {
		return false // not known; asked again before it matters
	}
	// A request of ours that seemed to fail may have arrived.
	entry, err := l.s.kv.Get(ctx, l.key)
	var v leaseValue
	if err == nil && json.Unmarshal(entry.Value(), &v) == nil && v.Owner == l.owner {
		l.revision = entry.Revision()
		if v.Renewals == l.renewals {
			l.since = start
			return true
		}
		return false // ours, written earlier: the next write goes over it
	}
	if err == nil || isMissingKey(err) {
		l.revision = 0
	}
	return false
}

// isConflict reports whether a write was refused because of another before it.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) && api.ErrorCode == errCodeWrongSequence
}

// get reads the lease.
func (l *lease) get(ctx context.Context) (jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseRequest)
	defer cancel()
	return l.s.kv.Get(ctx, l.key)
}

func holderOf(entry jetstream.KeyValueEntry) string {
	var v leaseValue
	if json.Unmarshal(entry.Value(), &v) != nil {
		return "unknown"
	}
	return v.Owner
}

// release deletes the lease, by revision, so that a standby need not wait.
func (l *lease) release() {
	if l.revision == 0 || !l.s.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseRequest)
	defer cancel()
	// Whoever took it meanwhile keeps it, and a lease that cannot be deleted
	// runs out.
	_ = l.s.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision))
}
