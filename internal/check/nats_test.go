package check_test

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

// natsServer starts a NATS server in this process.
func natsServer(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", -1, true, true
	options.StoreDir = t.TempDir()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("nats server does not start")
	}
	return s
}

// limit gives the account that clients are in by default so much storage.
func limit(t *testing.T, s *server.Server, bytes int64) {
	t.Helper()
	err := s.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{
		"": {MaxMemory: -1, MaxStore: bytes, MaxStreams: -1, MaxConsumers: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNATSLines(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	bare := natsServer(t, &server.Options{})
	b.cfg.Stream.URL = bare.ClientURL()
	report := b.check(t)
	expect(t, report, "nats", "connection", check.OK, "nats-server 2.")
	expect(t, report, "nats", "jetstream", check.Fail, "start the server with JetStream")

	small := natsServer(t, &server.Options{JetStream: true, MaxPayload: 1000})
	limit(t, small, 512<<10)
	b.cfg.Stream.URL = small.ClientURL()
	report = b.check(t)
	expect(t, report, "nats", "jetstream", check.Fail, "less than nats.stream.max_bytes")
	expect(t, report, "nats", "max_payload", check.Warn, "raise max_payload")

	locked := natsServer(t, &server.Options{JetStream: true, Username: "u", Password: "p"})
	b.cfg.Stream.URL = locked.ClientURL()
	expect(t, b.check(t), "nats", "connection", check.Fail, "mend credentials")
	b.cfg.Stream.User, b.cfg.Stream.Password = "u", "p"
	if report = b.check(t); report.Failed() {
		t.Errorf("with the password:\n%s", text(t, report))
	}

	b.cfg.Stream.URL = "nats://" + servertest.FreeAddr(t)
	expect(t, b.check(t), "nats", "connection", check.Fail, "see that the server runs")
	b.cfg.Stream.URL = "nats://u:se%cret@127.0.0.1"
	if all := text(t, b.check(t)); strings.Contains(all, "se%cret") {
		t.Errorf("the password is in the report:\n%s", all)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	s := natsServer(t, &server.Options{JetStream: true})
	limit(t, s, 1<<30)
	b.cfg.Stream.URL = s.ClientURL()
	report := b.check(t)
	expect(t, report, "nats", "stream", check.OK, "freshet-shop will be created")
	expect(t, report, "nats", "jetstream", check.OK, "room for")

	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(name string) {
		t.Helper()
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	create := func(cfg jetstream.StreamConfig) {
		t.Helper()
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	// With its last stream the server removes the folder of all streams, some
	// time after it has answered, and fails to create one at that moment.
	create(jetstream.StreamConfig{Name: "keeps-the-folder", Subjects: []string{"elsewhere"}, MaxBytes: 1 << 20})
	create(jetstream.StreamConfig{Name: "archive", Subjects: []string{"freshet.>"}, MaxBytes: 1 << 20})
	expect(t, b.check(t), "nats", "stream", check.Fail, "archive captures")
	remove("archive")
	create(jetstream.StreamConfig{Name: "freshet-shop", Subjects: []string{"freshet.shop.changes.>"}, MaxBytes: 1 << 20})
	expect(t, b.check(t), "nats", "stream", check.Fail, "instead of")
	remove("freshet-shop")
	create(jetstream.StreamConfig{
		Name: "freshet-shop", Subjects: []string{"freshet.shop.changes.>", "freshet.shop.progress.*"},
		Storage: jetstream.MemoryStorage, MaxBytes: 1 << 20,
	})
	expect(t, b.check(t), "nats", "stream", check.Fail, "not kept in files")
	remove("freshet-shop")

	// Made by the service itself, with other limits than those of today.
	cfg := b.cfg.Stream
	cfg.MaxAge = time.Minute
	own, err := stream.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	report = b.check(t)
	expect(t, report, "nats", "stream", check.OK, "it will be set to 1 MiB, 1h0m0s and 1 replicas")
	expect(t, report, "nats", "clock", check.OK, "differs from this machine's by")
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	expect(t, b.check(t), "nats", "replicas", check.OK, "1")
	b.cfg.Stream.Replicas = 3
	expect(t, b.check(t), "nats", "replicas", check.Fail, "not part of a cluster") // an embedded one
	b.cfg.Stream.URL = natsServer(t, &server.Options{JetStream: true}).ClientURL()
	expect(t, b.check(t), "nats", "replicas", check.Fail, "set nats.stream.replicas to 1")
	clustered := &server.Options{Cluster: server.ClusterOpts{Name: "three", Host: "127.0.0.1", Port: -1}}
	b.cfg.Stream.URL = natsServer(t, clustered).ClientURL()
	expect(t, b.check(t), "nats", "replicas", check.OK, "3")
	b.cfg.Stream.Replicas = 1
	expect(t, b.check(t), "nats", "replicas", check.Warn, "set nats.stream.replicas to 3")
}

func TestStreamLimits(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	b.cfg.Stream.MaxBytes = 64 << 20
	expect(t, b.check(t), "nats", "limits", check.Warn, "raise nats.stream.max_bytes to 512 MiB")
	b.cfg.Stream.MaxBytes = 512 << 20
	expect(t, b.check(t), "nats", "limits", check.OK, "256 MiB of changes, or 30m0s")
}

func TestEmbeddedServer(t *testing.T) {
	t.Parallel()
	b := start(t, nil, orders...)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b.cfg.Stream.Embedded.Listen = taken.Addr().String()
	go func() {
		// Somebody who does not speak NATS.
		for {
			conn, err := taken.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	expect(t, b.check(t), "nats", "connection", check.Fail, "choose another address")

	b.cfg.Stream.Embedded.Listen = servertest.FreeAddr(t)
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := b.cfg.Stream.Embedded.StoreDir
	b.cfg.Stream.Embedded.StoreDir = file + "/below"
	expect(t, b.check(t), "nats", "storage", check.Fail, "cannot be written to")
	b.cfg.Stream.Embedded.StoreDir = good
	b.cfg.Stream.MaxBytes = 1 << 60
	expect(t, b.check(t), "nats", "storage", check.Warn, "make room")
	b.cfg.Stream.MaxBytes = 1 << 20

	// A running service has it.
	running, err := stream.Open(t.Context(), b.cfg.Stream)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	report := b.check(t)
	expect(t, report, "nats", "stream", check.OK, "freshet-shop holds")
	if report.Failed() {
		t.Errorf("beside a running service:\n%s", text(t, report))
	}
}
