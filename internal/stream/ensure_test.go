package stream

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

func TestEnsureIsIdempotentAndKeepsTheID(t *testing.T) {
	t.Parallel()
	server := open(t, testConfig(t))
	cfg := testConfig(t)
	cfg.URL = server.ClientURL()
	h := history{s: server, t: t}
	first := h.info()
	if len(first.ID) < 16 {
		t.Fatalf("id %q is too short to be random", first.ID)
	}
	cfg.MaxAge, cfg.MaxBytes = time.Hour, 64<<20
	s := open(t, cfg)
	updated := h.info()
	if updated.ID != first.ID {
		t.Errorf("id after an update: got %q, want %q", updated.ID, first.ID)
	}
	if updated.MaxAge != time.Hour || updated.MaxBytes != 64<<20 {
		t.Errorf("not updated: %+v", updated)
	}
	js, err := s.js.Stream(testContext(t), s.cfg.streamName())
	if err != nil {
		t.Fatalf("stream: %v", err)
	}
	got := js.CachedInfo().Config
	if got.Duplicates != 100*time.Millisecond || got.Storage != jetstream.FileStorage || got.Discard != jetstream.DiscardOld ||
		got.Retention != jetstream.LimitsPolicy || !got.AllowDirect {
		t.Errorf("settings: %+v", got)
	}
	for _, name := range []string{s.cfg.eventsName(), s.cfg.deadName()} {
		if _, err := s.js.Stream(testContext(t), name); err != nil {
			t.Errorf("stream %s: %v", name, err)
		}
	}
	if err := s.js.DeleteStream(testContext(t), s.cfg.streamName()); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if err := errors.Join(s.Ensure(testContext(t)), server.Ensure(testContext(t))); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	if again := h.info(); again.ID == first.ID || again.ID == "" {
		t.Errorf("id after re-creation: got %q, want another than %q", again.ID, first.ID)
	}
}

// TestEnsureKeepsOtherSettings: what Freshet does not rely on is the
// operator's.
func TestEnsureKeepsOtherSettings(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	js, err := s.js.Stream(testContext(t), s.cfg.streamName())
	if err != nil {
		t.Fatalf("stream: %v", err)
	}
	cfg := js.CachedInfo().Config
	cfg.Metadata["team"] = "shop"
	cfg.MaxMsgs = 10 // would discard what is not applied
	if _, err := s.js.UpdateStream(testContext(t), cfg); err != nil {
		t.Fatalf("update: %v", err)
	}
	if err := s.Ensure(testContext(t)); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	js, err = s.js.Stream(testContext(t), s.cfg.streamName())
	if err != nil {
		t.Fatalf("stream: %v", err)
	}
	if got := js.CachedInfo().Config; got.Metadata["team"] != "shop" || got.MaxMsgs != -1 {
		t.Errorf("got metadata %v and max_msgs %d, want team kept and no limit", got.Metadata, got.MaxMsgs)
	}
}

func TestEnsureRefusesForeignBucket(t *testing.T) {
	t.Parallel()
	server := open(t, testConfig(t))
	_, err := server.js.CreateKeyValue(testContext(t), jetstream.KeyValueConfig{Bucket: "freshet-cafe", Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	cfg := testConfig(t)
	cfg.Name, cfg.URL = "cafe", server.ClientURL()
	_, err = Open(testContext(t), cfg)
	var settings *SettingsError
	if !errors.As(err, &settings) || !strings.Contains(err.Error(), "nats kv del freshet-cafe") {
		t.Errorf("got %v, want a *SettingsError with its remedy", err)
	}
}

func TestEnsureWithoutJetStream(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatalf("server: %v", err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(patience) {
		t.Fatal("server not ready")
	}
	cfg := testConfig(t)
	cfg.URL = srv.ClientURL()
	if _, err := Open(testContext(t), cfg); err == nil || !strings.Contains(err.Error(), "nats-server with -js") {
		t.Errorf("got %v, want the remedy", err)
	}
}

func TestEnsureRefusesForeignSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		have jetstream.StreamConfig
		want []string // parts of the error
	}{
		{
			"memory storage",
			jetstream.StreamConfig{Name: "freshet-cafe", Subjects: []string{"freshet.cafe.changes.>", "freshet.cafe.progress.*"}, Storage: jetstream.MemoryStorage},
			[]string{`stream "freshet-cafe"`, "Memory storage", "nats stream rm freshet-cafe"},
		},
		{
			"work queue",
			jetstream.StreamConfig{Name: "freshet-cafe", Subjects: []string{"freshet.cafe.changes.>", "freshet.cafe.progress.*"}, Retention: jetstream.WorkQueuePolicy},
			[]string{"WorkQueue retention", "nats stream rm freshet-cafe"},
		},
		{
			"other subjects",
			jetstream.StreamConfig{Name: "freshet-cafe", Subjects: []string{"freshet.cafe.>"}},
			[]string{"captures the subjects [freshet.cafe.>]", "nats stream rm freshet-cafe"},
		},
		{
			"another stream on the subjects",
			jetstream.StreamConfig{Name: "everything", Subjects: []string{"freshet.cafe.>"}},
			[]string{`stream "everything" already captures`, "nats stream edit everything"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := open(t, testConfig(t))
			if _, err := server.js.CreateStream(testContext(t), tc.have); err != nil {
				t.Fatalf("create: %v", err)
			}
			cfg := testConfig(t)
			cfg.Name, cfg.URL = "cafe", server.ClientURL()
			s, err := Open(testContext(t), cfg)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			var settings *SettingsError
			if !errors.As(err, &settings) {
				t.Fatalf("got %v, want a *SettingsError", err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

// Of shop and shop-events, one has a stream by the name of one of the other's. Which of them comes second is told so, whichever it is,
// and is not told to remove anything.
func TestEnsureLeavesTheStreamsOfOtherInstances(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"-events", "-dead", "-warm"} {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			server := open(t, testConfig(t))
			for _, names := range [][2]string{{"bar", "bar" + suffix}, {"inn" + suffix, "inn"}} {
				var err error
				for i, name := range names {
					cfg := testConfig(t)
					cfg.Name, cfg.URL = name, server.ClientURL()
					var s *Stream
					if s, err = Open(testContext(t), cfg); err == nil {
						defer s.Close()
						err = s.EnsureWarm(testContext(t))
					}
					if i == 0 && err != nil {
						t.Fatal(err)
					}
				}
				var settings *SettingsError
				if !errors.As(err, &settings) || settings.Remedy != "choose another instance name" {
					t.Errorf("%s beside %s: got %v", names[1], names[0], err)
				}
			}
		})
	}
}
