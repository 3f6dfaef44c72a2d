package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// metadataID holds the stream's random id: JetStream reuses names and
	// sequences, so nothing else tells a stream from its successor.
	metadataID = "freshet-id"

	minDuplicates = 100 * time.Millisecond // the least that the server allows

	eventsMaxAge   = 7 * 24 * time.Hour
	eventsMaxBytes = 64 << 20
	deadMaxAge     = 14 * 24 * time.Hour
	deadMaxBytes   = 256 << 20
)

// Ensure creates the streams and the bucket where they are missing, and brings
// the settings of existing ones in line. It returns a *SettingsError for one
// that cannot be brought in line.
func (s *Stream) Ensure(ctx context.Context) error {
	err := s.ensureAll(ctx)
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("nats at %s has no JetStream for this account: %w; start nats-server with -js, or enable JetStream for the account", s.ClientURL(), err)
	}
	return err
}

func (s *Stream) ensureAll(ctx context.Context) error {
	subjects := s.cfg.subjects()
	err := s.ensureStream(ctx, jetstream.StreamConfig{
		Name:        s.cfg.streamName(),
		Description: "Freshet " + s.cfg.Name + ": row changes",
		Subjects:    subjects.Stream(),
		MaxAge:      s.cfg.MaxAge,
		MaxBytes:    s.cfg.MaxBytes,
	})
	if err != nil {
		return err
	}
	err = s.ensureStream(ctx, jetstream.StreamConfig{
		Name:        s.cfg.eventsName(),
		Description: "Freshet " + s.cfg.Name + ": events",
		Subjects:    []string{"freshet." + s.cfg.Name + ".events.*"},
		MaxAge:      eventsMaxAge,
		MaxBytes:    eventsMaxBytes,
	})
	if err != nil {
		return err
	}
	err = s.ensureStream(ctx, jetstream.StreamConfig{
		Name:        s.cfg.deadName(),
		Description: "Freshet " + s.cfg.Name + ": messages that could not be evaluated",
		Subjects:    []string{"freshet." + s.cfg.Name + ".dead.>"},
		MaxAge:      deadMaxAge,
		MaxBytes:    deadMaxBytes,
	})
	if err != nil {
		return err
	}
	return s.ensureBucket(ctx)
}

func (s *Stream) ensureBucket(ctx context.Context) error {
	bucket := s.cfg.bucketName()
	kv, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:      bucket,
		Description: "Freshet " + s.cfg.Name + ": leases, evidence, rules, watermark",
		History:     1,
		Storage:     jetstream.FileStorage,
		Replicas:    s.cfg.Replicas,
	})
	if err != nil {
		if isSettings(err) {
			return &SettingsError{
				Stream: "KV_" + bucket, Setting: "cannot be updated: " + err.Error(),
				Remedy: fmt.Sprintf("back up what you need and remove the bucket with `nats kv del %s`", bucket),
			}
		}
		return fmt.Errorf("bucket %q: create or update: %w", bucket, err)
	}
	if s.kv == nil { // handles name the bucket only and outlive its re-creation
		s.kv = kv
	}
	return nil
}

// ensureStream creates the stream, or updates what differs from want in the
// settings that Freshet relies on; others, such as placement, stay.
func (s *Stream) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	want.Storage = jetstream.FileStorage
	want.Retention = jetstream.LimitsPolicy
	want.Discard = jetstream.DiscardOld
	want.Duplicates = minDuplicates
	want.Replicas = s.cfg.Replicas
	want.AllowDirect = true
	for range 3 {
		have, err := s.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			want.Metadata = map[string]string{metadataID: rand.Text()}
			_, err = s.js.CreateStream(ctx, want)
			if err == nil {
				return nil
			}
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // another process was faster; its id holds
			}
			return s.createError(ctx, want, err)
		}
		if err != nil {
			return fmt.Errorf("stream %q: info: %w", want.Name, err)
		}
		current := have.CachedInfo().Config
		if err := s.anothers(current); err != nil {
			return err
		}
		next, err := reconcile(current, want)
		if err != nil {
			return err
		}
		if reflect.DeepEqual(current, next) {
			return nil
		}
		if _, err = s.js.UpdateStream(ctx, next); err == nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if isSettings(err) {
			return &SettingsError{Stream: want.Name, Setting: "cannot be updated: " + err.Error(), Remedy: removeRemedy(want.Name)}
		}
		return fmt.Errorf("stream %q: update: %w", want.Name, err)
	}
	return fmt.Errorf("stream %q: created and deleted by others at the same time", want.Name)
}

// anothers returns a *SettingsError for a stream that another instance has: the
// change stream of shop-events has the name of the events of shop. Whoever removed
// it would remove that one's.
func (s *Stream) anothers(have jetstream.StreamConfig) error {
	for _, subject := range have.Subjects {
		if rest, ok := strings.CutPrefix(subject, "freshet."); ok && !strings.HasPrefix(rest, s.cfg.Name+".") {
			return &SettingsError{
				Stream: have.Name, Setting: fmt.Sprintf("captures the subjects %v, of another instance", have.Subjects),
				Remedy: "choose another instance name",
			}
		}
	}
	return nil
}

// reconcile returns the existing configuration with Freshet's settings in it,
// or the *SettingsError that says why there is none.
func reconcile(have, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	refuse := func(format string, args ...any) (jetstream.StreamConfig, error) {
		return have, &SettingsError{Stream: want.Name, Setting: fmt.Sprintf(format, args...), Remedy: removeRemedy(want.Name)}
	}
	a, b := slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects))
	switch {
	case !slices.Equal(a, b):
		return refuse("captures the subjects %v, not %v", have.Subjects, want.Subjects)
	case have.Storage != want.Storage:
		return refuse("has %s storage, not file", have.Storage)
	case have.Retention != want.Retention:
		return refuse("has %s retention, not limits", have.Retention)
	case have.Mirror != nil || len(have.Sources) > 0:
		return refuse("is fed by a mirror or by sources")
	case have.SubjectTransform != nil:
		return refuse("transforms subjects")
	case have.Sealed:
		return refuse("is sealed")
	}
	next := have
	next.Description = want.Description
	next.MaxAge = want.MaxAge
	next.MaxBytes = want.MaxBytes
	next.Replicas = want.Replicas
	next.Discard = want.Discard
	next.Duplicates = want.Duplicates
	next.AllowDirect = true
	next.NoAck = false
	next.MaxMsgs, next.MaxMsgsPerSubject, next.MaxMsgSize = -1, -1, -1
	next.DiscardNewPerSubject = false
	if have.Metadata[metadataID] == "" {
		next.Metadata = make(map[string]string, len(have.Metadata)+1)
		for k, v := range have.Metadata {
			next.Metadata[k] = v
		}
		next.Metadata[metadataID] = rand.Text()
	}
	return next, nil
}

func removeRemedy(name string) string {
	return fmt.Sprintf("remove it with `nats stream rm %s` (Freshet makes it again, and what was not yet applied is sent again or flushed), or choose another instance name", name)
}

// createError explains the one refusal that users meet: another stream already
// captures our subjects.
func (s *Stream) createError(ctx context.Context, want jetstream.StreamConfig, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == errCodeSubjectOverlap {
		for _, subject := range want.Subjects {
			if other, lookup := s.js.StreamNameBySubject(ctx, subject); lookup == nil && other != want.Name {
				return &SettingsError{
					Stream: want.Name, Setting: fmt.Sprintf("stream %q already captures %s", other, subject),
					Remedy: fmt.Sprintf("take the subject out of %q with `nats stream edit %s`, or choose another instance name", other, other),
				}
			}
		}
	}
	return fmt.Errorf("stream %q: create: %w", want.Name, err)
}

const (
	errCodeSubjectOverlap = 10065
	errCodeInvalid        = 10052 // the configuration makes no sense to the server
	errCodeUpdate         = 10069 // the server does not change this setting
)

// isSettings reports whether the server refused a configuration, as opposed to
// being away or busy.
func isSettings(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == errCodeUpdate || api.ErrorCode == errCodeInvalid)
}
