package monitor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/monitor"
)

// startWatched serves a watch that runs.
func startWatched(t *testing.T, cfg monitor.Config, sources ...monitor.Source) (*monitor.Watch, string) {
	t.Helper()
	cfg.Watch = monitor.NewWatch(monitor.WatchConfig{}, sources...)
	cfg.Listen = "127.0.0.1:0"
	server, err := monitor.Listen(t.Context(), cfg, sources...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- server.Run(ctx) }()
	go func() { done <- cfg.Watch.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	})
	return cfg.Watch, server.URL()
}

// follower reads /events.
type follower struct {
	t    *testing.T
	body io.ReadCloser
	scan *bufio.Scanner
}

func follow(t *testing.T, url string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); response.Body.Close() })
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("got %d %s, want an event stream", response.StatusCode, got)
	}
	scan := bufio.NewScanner(response.Body)
	scan.Buffer(nil, 1<<20)
	return &follower{t: t, body: response.Body, scan: scan}
}

// next reads on to the next message of that name.
func (f *follower) next(name string, into any) {
	f.t.Helper()
	for f.scan.Scan() {
		if f.scan.Text() != "event: "+name {
			continue
		}
		f.scan.Scan()
		data, found := strings.CutPrefix(f.scan.Text(), "data: ")
		if !found {
			f.t.Fatalf("got %q, want the data of %s", f.scan.Text(), name)
		}
		if err := json.Unmarshal([]byte(data), into); err != nil {
			f.t.Fatal(err)
		}
		return
	}
	f.t.Fatalf("the stream ended without %s: %v", name, f.scan.Err())
}

// Whoever follows is told the past, then the status every second.
func TestEventsBeginWithThePast(t *testing.T) {
	t.Parallel()
	_, url := startWatched(t, monitor.Config{}, &part{role: "consumer", reason: "no server"})
	f := follow(t, url)
	var past monitor.Columns
	f.next("history", &past)
	var frames [3]monitor.Frame
	for i := range frames {
		f.next("status", &frames[i])
	}
	last := frames[2]
	if len(last.Reports) != 1 || last.Reports[0].Reason != "no server" || last.Verdict.Level != monitor.LevelStuck {
		t.Errorf("got %+v, want the consumer's report and that it is stuck", last)
	}
	later := follow(t, url)
	later.next("history", &past)
	if n := len(past.Time); n < 2 || past.Time[n-1] < frames[1].Time.Unix() || len(past.Age) != n {
		t.Errorf("got a history of %v, want every second up to now", past.Time)
	}
}

// The feed is bounded, and says how much it leaves out.
func TestFeedIsBounded(t *testing.T) {
	t.Parallel()
	watch, url := startWatched(t, monitor.Config{})
	watch.Applied(monitor.FeedItem{Rows: -1}) // nobody follows: not kept
	f := follow(t, url)
	var past monitor.Columns
	f.next("history", &past) // it has joined
	const sent = 1000
	for i := range sent {
		watch.Applied(monitor.FeedItem{Rows: i})
	}
	for want := range 20 { // the limiter lets these through at once
		var item monitor.FeedItem
		if f.next("feed", &item); item.Rows != want || item.Skipped != 0 {
			t.Fatalf("got %+v, want item %d", item, want)
		}
	}
	// One that is let through later tells of those that were not.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			watch.Applied(monitor.FeedItem{Rows: sent})
			<-tick.C
		}
	}()
	for skipped := int64(0); skipped == 0; {
		var item monitor.FeedItem
		f.next("feed", &item)
		skipped = item.Skipped
	}
	cancel()
	<-done
}

// Somebody who does not read is dropped, and neither the sender nor the others wait.
func TestSlowFollowerIsDropped(t *testing.T) {
	t.Parallel()
	watch := monitor.NewWatch(monitor.WatchConfig{})
	slow, quick := watch.Join(), watch.Join()
	sent := 0
	for ; sent < 1000; sent++ {
		watch.Flood("a message")
		if message := string(<-quick); message != "event: flood\ndata: \"a message\"\n\n" {
			t.Fatalf("got %q", message)
		}
	}
	got := 0
	for range slow { // it ends: the channel is closed
		got++
	}
	if got == 0 || got == sent {
		t.Errorf("the slow one got %d of %d, want what had been waiting, and then the end", got, sent)
	}
	if !watch.Following() {
		t.Error("the quick one was dropped as well")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	_, url := startWatched(t, monitor.Config{Explain: func(_ context.Context, request []byte) (any, error) {
		type change struct {
			Table string `json:"table"`
		}
		c, err := monitor.Decode[change](request)
		return c.Table, err
	}})
	_, without := startWatched(t, monitor.Config{})
	for _, tc := range []struct {
		name, url, kind, body string
		code                  int
		want                  string
	}{
		{"good", url, "application/json", `{"table":"orders"}`, http.StatusOK, `{"ok":true,"result":"orders"}`},
		{"unknown field", url, "application/json; charset=utf-8", `{"tabel":"orders"}`, http.StatusBadRequest, `tabel`},
		{"a form of another site", url, "text/plain", `{"table":"orders"}`, http.StatusUnsupportedMediaType, `application/json`},
		{"too large", url, "application/json", `{"table":"` + strings.Repeat("x", 2<<20) + `"}`, http.StatusRequestEntityTooLarge, `too large`},
		{"no rules", without, "application/json", `{}`, http.StatusNotFound, `no rules`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tc.url+"/explain", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", tc.kind)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != tc.code || !strings.Contains(string(body), tc.want) {
				t.Errorf("got %d %s %v, want %d with %s", response.StatusCode, body, err, tc.code, tc.want)
			}
		})
	}
}
