package stream

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// TestEmbeddedForTheCommandLine: another client can watch the changes.
func TestEmbeddedForTheCommandLine(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatalf("connect to %s: %v", s.ClientURL(), err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("freshet.shop.changes.>")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	history{s: s, t: t}.sent(begin(t, s, cdc.Start{Epoch: epochA, From: 1}), 1, 1)
	msg, err := sub.NextMsgWithContext(testContext(t))
	if err != nil || msg.Subject != "freshet.shop.changes.public.orders" {
		t.Errorf("got %+v, %v", msg, err)
	}
}

func TestEmbeddedKeepsTheStream(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Embedded.SyncAlways = true
	s, err := Open(testContext(t), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h := history{s: s, t: t}
	x, err := s.NewSession(testContext(t), cdc.Start{Epoch: epochA, From: 1})
	if err != nil {
		t.Fatalf("session: %v", err)
	}
	h.sent(x, 1, 10)
	if err := x.Close(testContext(t)); err != nil {
		t.Errorf("close session: %v", err)
	}
	before := h.info()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	h.s = open(t, cfg)
	if after := h.info(); after.ID != before.ID || after.LastSeq != before.LastSeq {
		t.Errorf("after a restart: got %+v, want %+v", after, before)
	}
}

func TestEmbeddedStoreInUse(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := open(t, cfg)
	_, err := Open(testContext(t), cfg)
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), "store_dir") {
		t.Errorf("a second server on one store: got %v, want the store named as in use", err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	open(t, cfg) // unlocked
}

func TestEmbeddedPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	defer l.Close()
	cfg := testConfig(t)
	cfg.Embedded.Listen = l.Addr().String()
	_, err = Open(testContext(t), cfg)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "embedded.listen") {
		t.Errorf("got %v, want the address and the setting named", err)
	}
	cfg.Embedded.Listen = "127.0.0.1:-1"
	open(t, cfg) // the failed start released the store
}

func TestEmbeddedStoreNotWritable(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Embedded.StoreDir = filepath.Join(file, "store")
	if _, err := Open(testContext(t), cfg); err == nil || !strings.Contains(err.Error(), "store_dir") {
		t.Errorf("got %v, want the setting named", err)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	_, err := Open(testContext(t), Config{
		Name: "a.b", Replicas: 9, MaxAge: time.Millisecond, MaxBytes: 5, Cert: "cert.pem",
		Embedded: EmbeddedConfig{Listen: "0.0.0.0:4222"},
	})
	if err == nil {
		t.Fatal("opened")
	}
	for _, part := range []string{"name:", "replicas:", "max_age:", "max_bytes:", "tls:", "not a loopback address"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// TestOpenWaitsForTheServer: a server that is away at start is waited for, as
// long as the caller likes.
func TestOpenWaitsForTheServer(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.URL = "nats://app:hunter2@127.0.0.1:1"
	ctx, cancel := context.WithTimeout(testContext(t), 600*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Open(ctx, cfg)
	if err == nil || time.Since(began) < 500*time.Millisecond {
		t.Errorf("got %v after %s, want it to try until its context ends", err, time.Since(began))
	}
	if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "127.0.0.1:1")) {
		t.Errorf("error %q: want the server named and no password", err)
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"nats://10.0.0.1:4222":                  "nats://10.0.0.1:4222",
		"nats://u:p@a:4222, tls://token@b:4222": "nats://u:xxxxx@a:4222,tls://xxxxx@b:4222",
		"nats://u:p%zz@a:4222":                  "(unreadable URL)",
	} {
		if got := redactURL(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
