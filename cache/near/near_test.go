package near_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func TestCodecGivesBackWhatItGot(t *testing.T) {
	t.Parallel()
	sent := near.Broadcast{
		Sender: "inv.1", N: 7, Keys: []string{"order:42", "emoji:🙂", "line\nbreak"}, Patterns: []string{"a:*"},
		Tags: []string{"client:7"}, AllTags: true, LSN: "0/1A2B3C8", Epoch: "7301:1:0",
	}
	data, err := sent.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, beat, err := near.Decode(data)
	if err != nil || beat != nil || !reflect.DeepEqual(*got, sent) {
		t.Errorf("got %+v, %v, %v, want %+v", got, beat, err, sent)
	}
	heart := near.Heartbeat{Sender: "inv.1", N: 7, Every: time.Second, Role: near.RoleLibrary, Age: time.Minute, Bye: true}
	if data, err = heart.Encode(); err != nil {
		t.Fatal(err)
	}
	b, beat, err := near.Decode(data)
	if err != nil || b != nil || *beat != heart {
		t.Errorf("got %v, %+v, %v, want %+v", b, beat, err, heart)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":            `{`,
		"no kind":            `{"sender":"a","n":1}`,
		"unknown kind":       `{"kind":"more","sender":"a","n":1}`,
		"no number":          `{"kind":"invalidate","sender":"a"}`,
		"no sender":          `{"kind":"heartbeat","n":1,"every":1}`,
		"keys of wrong type": `{"kind":"invalidate","sender":"a","n":1,"keys":7}`,
	} {
		if b, h, err := near.Decode([]byte(text)); err == nil {
			t.Errorf("%s: got %+v, %+v, want an error", name, b, h)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"kind":"invalidate","sender":"inv","n":12,"keys":["order:42"],"all_tags":true}`))
	f.Add([]byte(`{"kind":"heartbeat","sender":"inv","n":12,"every":1000000000}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, h, err := near.Decode(data)
		if err != nil {
			return
		}
		if (b == nil) == (h == nil) {
			t.Fatalf("got %v and %v, want exactly one", b, h)
		}
		if b == nil {
			return
		}
		again, err := b.Encode()
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := near.Decode(again)
		if err != nil || second.N != b.N || len(second.Keys) != len(b.Keys) {
			t.Fatalf("got %+v, %v, want %+v", second, err, b)
		}
	})
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func next(t *testing.T, sub *nats.Subscription) (*near.Broadcast, *near.Heartbeat) {
	t.Helper()
	msg, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	b, h, err := near.Decode(msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	return b, h
}

func TestAnnouncerNumbersSplitsAndBeats(t *testing.T) {
	t.Parallel()
	server := servertest.NATS(t)
	receiver := connect(t, server.URL())
	sub, err := receiver.SubscribeSync(near.Subjects("shop"))
	if err != nil {
		t.Fatal(err)
	}
	// The subscription must be there before the first message is sent.
	if err := receiver.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	a := near.NewAnnouncer(connect(t, server.URL()), "shop", "inv.1 *", near.RoleInvalidator)

	// Three megabytes of keys, and one key that no message can hold.
	want := map[string]bool{}
	keys := []string{strings.Repeat("\x01", 1<<20)}
	for i := range 30_000 {
		key := fmt.Sprintf("order:%d:%s", i, strings.Repeat("x", 100))
		keys, want[key] = append(keys, key), true
	}
	if err := a.Announce(near.Broadcast{Keys: keys, Tags: []string{"client:7"}, AllTags: true, LSN: "0/10", Epoch: "1:1:0"}); err != nil {
		t.Fatal(err)
	}
	everything, tags, allTags := false, 0, 0
	messages := uint64(0)
	for len(want) > 0 || tags == 0 {
		b, _ := next(t, sub)
		if messages++; b.N != messages {
			t.Fatalf("number: got %d, want %d", b.N, messages)
		}
		if b.Sender != "inv.1 *" || b.LSN != "0/10" || b.Epoch != "1:1:0" {
			t.Errorf("got %q %q %q", b.Sender, b.LSN, b.Epoch)
		}
		for _, key := range b.Keys {
			delete(want, key)
		}
		everything = everything || len(b.Patterns) == 1 && b.Patterns[0] == "*"
		tags += len(b.Tags)
		if b.AllTags {
			allTags++
		}
	}
	if messages < 3 || !everything || allTags != 1 {
		t.Errorf("got %d messages, everything %v, all tags %d times; want at least 3, true, 1", messages, everything, allTags)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	if _, h := next(t, sub); h == nil || h.N != messages || h.Every != near.Every || h.Role != near.RoleInvalidator || h.Age <= 0 || h.Bye {
		t.Errorf("heartbeat: got %+v, want number %d", h, messages)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, h := next(t, sub); h == nil || !h.Bye {
		t.Errorf("last heartbeat: got %+v, want a bye", h)
	}
}
