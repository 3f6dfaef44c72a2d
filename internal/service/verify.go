package service

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/internal/verify"
)

// VerifyRequest is the body of the verb verify.
type VerifyRequest struct {
	Sample int     `json:"sample,omitempty"` // keys of each target; 0: all
	Rate   float64 `json:"rate,omitempty"`   // keys a second; 0: 200
	Fix    bool    `json:"fix,omitempty"`    // invalidate stale values
}

// VerifyEvent is the fields of the events of a verification.
type VerifyEvent struct {
	Job    string `json:"job"`
	Done   bool   `json:"done"`
	Looked int    `json:"looked"` // keys looked at so far
	Of     int    `json:"of"`     // keys to look at
	// The rest is set when it is done; each stale key has had its event.
	Checked       int     `json:"checked"`        // values compared
	Mismatches    int     `json:"mismatches"`     // of these, stale
	Fixed         int     `json:"fixed"`          // of these, invalidated
	Skipped       int     `json:"skipped"`        // behind the watermark, or changing
	NotVerifiable int     `json:"not_verifiable"` // targets
	Failed        int     `json:"failed"`         // keys whose query or read failed
	Bound         float64 `json:"bound_95"`
	Error         string  `json:"error,omitempty"`
}

// verify begins a verification, which goes on in ctx.
func (c *control) verify(ctx context.Context, request []byte) (any, error) {
	r, err := monitor.Decode[VerifyRequest](request)
	switch {
	case err != nil:
		return nil, err
	case r.Sample < 0:
		return nil, monitor.BadRequest("", "sample %d: want a number of keys, or 0 for all", r.Sample)
	case r.Rate < 0:
		return nil, monitor.BadRequest("", "rate %g: want a number of keys a second", r.Rate)
	case !c.rules.Warms():
		return nil, &monitor.RefusedError{Message: "no rule has a warm query, and nothing else says what a key should hold", Remedy: "add warm: with key, sql and ttl"}
	case !c.comparing.TryLock():
		return nil, &monitor.RefusedError{Message: "another verification is running", Remedy: "wait for its last event: `freshet tail --events`"}
	}
	job := "verify-" + randomID()
	c.jobs.Go(func() {
		defer c.comparing.Unlock()
		last := VerifyEvent{Job: job}
		report, err := c.compare(ctx, r, &last)
		last.Done = true
		if err != nil {
			last.Error = err.Error()
		}
		if report != nil {
			last.Checked, last.Mismatches, last.Fixed, last.Skipped = report.Checked, len(report.Mismatches), report.Fixed, report.Skipped
			last.NotVerifiable, last.Failed, last.Bound = report.NotVerifiable, report.Failed, report.Bound
		}
		c.tellVerify(last)
	})
	return JobResult{Job: job}, nil
}

// compare verifies and tells about once a second how far it is, which it keeps in so.
func (c *control) compare(ctx context.Context, r VerifyRequest, so *VerifyEvent) (*verify.Report, error) {
	told := time.Now()
	v, done, err := openVerifier(ctx, c.cfg, c.rules, c.stream, verify.Config{
		Rate: r.Rate, Sample: r.Sample, Fix: r.Fix,
		OnProgress: func(looked, of int) {
			so.Looked, so.Of = looked, of
			if looked < of && time.Since(told) > time.Second {
				told = time.Now()
				c.tellVerify(*so)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	defer done()
	return v.Run(ctx)
}

func (c *control) tellVerify(e VerifyEvent) {
	message := fmt.Sprintf("verify: %d of %d keys looked at", e.Looked, e.Of)
	switch {
	case e.Error != "":
		message = "verify failed: " + e.Error
	case e.Done:
		message = fmt.Sprintf("verify: %d values compared, %d stale, %d of these invalidated, %d left out, %d failed; with 95 %% confidence at most %.3g %% are stale",
			e.Checked, e.Mismatches, e.Fixed, e.Skipped, e.Failed, 100*e.Bound)
	}
	c.stream.Emit(stream.Event{Kind: "verify", Role: RoleInvalidator, Message: message, Fields: fieldsOf(e)})
}
