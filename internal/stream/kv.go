package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The keys of the bucket that this package writes. The consumer keeps its
// evidence under keys of its own.
const (
	keyWatermark   = "watermark"
	keyResend      = "resend"
	keyRulesPrefix = "rules."
	keyLeasePrefix = "lease."

	resendPoll = 250 * time.Millisecond
)

type resendRequest struct {
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}

// RequestResend asks the consumer for a session from the slot's confirmed LSN
// without skipping. A request that is already there stays as it is.
func (s *Stream) RequestResend(ctx context.Context, reason string) error {
	data, err := json.Marshal(resendRequest{Reason: reason, Time: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode resend request: %w", err)
	}
	_, err = s.kv.Create(ctx, keyResend, data)
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("request resend: %w", err)
	}
	return nil
}

// ResendRequested reports whether a request is there.
func (s *Stream) ResendRequested(ctx context.Context) (bool, error) {
	_, err := s.kv.Get(ctx, keyResend)
	if isMissingKey(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a resend request: %w", err)
	}
	return true, nil
}

// ClearResend ends the request, if any. Call it when the session that answers
// the request has begun.
func (s *Stream) ClearResend(ctx context.Context) error {
	if err := s.kv.Delete(ctx, keyResend); err != nil {
		return fmt.Errorf("clear resend request: %w", err)
	}
	return nil
}

// WatchResend calls f whenever a request is (already) there, once for each
// request, and blocks until ctx ends, when it returns nil.
func (s *Stream) WatchResend(ctx context.Context, f func()) error {
	var seen uint64
	for ctx.Err() == nil {
		// Asking is cheap and has no state that a restarted server, a deleted
		// bucket or a lost subscription could spoil.
		entry, err := s.kv.Get(ctx, keyResend)
		if err == nil && entry.Revision() != seen {
			seen = entry.Revision()
			f()
		}
		sleep(ctx, resendPoll)
	}
	return nil
}

// SaveRules keeps a rule set under its fingerprint.
func (s *Stream) SaveRules(ctx context.Context, fingerprint string, rules []byte) error {
	if _, err := s.kv.Put(ctx, keyRulesPrefix+fingerprint, rules); err != nil {
		return fmt.Errorf("save rules %s: %w", fingerprint, err)
	}
	return nil
}

// Rules returns the rule set with the fingerprint, and whether it is known.
func (s *Stream) Rules(ctx context.Context, fingerprint string) ([]byte, bool, error) {
	entry, err := s.kv.Get(ctx, keyRulesPrefix+fingerprint)
	if isMissingKey(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read rules %s: %w", fingerprint, err)
	}
	return entry.Value(), true, nil
}

// isMissingKey reports whether the key is not in the bucket.
func isMissingKey(err error) bool { return errors.Is(err, jetstream.ErrKeyNotFound) }
