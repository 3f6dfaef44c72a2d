package servers_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestNATSKeepsStreamsAcrossKill(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	n := servertest.NATS(t)
	js := connectJetStream(t, n)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	url, pid := n.URL(), n.PID()
	if err := n.WipeStore(); !errors.Is(err, servers.ErrRunning) {
		t.Errorf("WipeStore of a running server: got %v, want ErrRunning", err)
	}
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	if existing(t, pid) {
		t.Errorf("process %d outlived Kill", pid)
	}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := n.URL(); got != url {
		t.Errorf("URL after Start: got %s, want %s", got, url)
	}
	stream, err := connectJetStream(t, n).Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages after Kill and Start: got %d, want 1", got)
	}
	if err := errors.Join(n.Stop(), n.WipeStore(), n.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := connectJetStream(t, n).Stream(ctx, "S"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("stream after WipeStore: got %v, want ErrStreamNotFound", err)
	}
}

func TestNATSPauseAndResume(t *testing.T) {
	t.Parallel()
	n := servertest.NATS(t)
	conn, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := n.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(50 * time.Millisecond); err == nil {
		t.Error("a paused server answered")
	}
	if err := n.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(time.Minute); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestNATSCredentialsAndConfig(t *testing.T) {
	t.Parallel()
	n := servertest.NATS(t, servers.NATSOptions{
		User: "u", Password: "p", SyncAlways: true, Config: "max_payload: 2048\n",
	})
	conn, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, want := conn.MaxPayload(), int64(2048); got != want {
		t.Errorf("max_payload: got %d, want %d", got, want)
	}
	if stranger, err := nats.Connect(n.URL()); !errors.Is(err, nats.ErrAuthorization) {
		stranger.Close()
		t.Errorf("without credentials: got %v, want ErrAuthorization", err)
	}
}

func TestNATSCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	parent := enterableDir(t)
	n := servertest.NATS(t, servers.NATSOptions{Dir: parent})
	pid := n.PID()
	if err := errors.Join(n.Pause(), n.Close(), n.Close()); err != nil {
		t.Fatal(err)
	}
	if existing(t, pid) {
		t.Errorf("process %d outlived Close", pid)
	}
	assertEmpty(t, parent)
}

func TestNATSMissingSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := servers.FindNATS(t.Context(), filepath.Join(t.TempDir(), "none"))
	var missing *servers.MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "go install") {
		t.Errorf("got %v, want a MissingError with its remedy", err)
	}
}

func connectJetStream(t *testing.T, n *servers.NATS) jetstream.JetStream {
	t.Helper()
	conn, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
