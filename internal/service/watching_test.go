package service_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// get reads path from the service.
func (r *running) get(path string) []byte {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.HTTP+path, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %d %v", path, response.StatusCode, err)
	}
	return body
}

// Every process knows how the parts in the others are doing, and what happened
// before it was there.
func TestEachProcessShowsTheWholeInstance(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}"), nats: true})
	worker := b.start("invalidator")
	servertest.Eventually(t, patience, func() (bool, string) {
		past, err := worker.Stream.PastEvents(t.Context(), 10)
		return err == nil && len(past) > 0, "no takeover yet"
	})
	reader := b.start("consumer")
	b.settle(worker)
	servertest.Eventually(t, patience, func() (bool, string) {
		var reports []monitor.Report
		body := reader.get("/status")
		if err := json.Unmarshal(body, &reports); err != nil {
			t.Fatal(err)
		}
		var roles []string
		known := false
		for _, report := range reports {
			roles = append(roles, report.Role)
			known = known || strings.Contains(string(report.Status), `"stream":{"messages":`)
		}
		return slices.Equal(roles, []string{"consumer", "invalidator"}) && known, string(body)
	})
	servertest.Eventually(t, patience, func() (bool, string) {
		verdict, events := begin(t, reader.HTTP)
		return verdict.Level == monitor.LevelFresh && strings.Contains(events, `"kind":"slot_created"`) && strings.Contains(events, `"kind":"takeover"`), string(verdict.Level) + events
	})
	worker.stop()
	servertest.Eventually(t, patience, func() (bool, string) {
		verdict, _ := begin(t, reader.HTTP)
		return verdict.Stage == monitor.StageInvalidator, string(verdict.Level)
	})
}

// begin returns what somebody who begins to follow is told.
func begin(t *testing.T, url string) (v monitor.Verdict, events string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lines := openEvents(ctx, t, url)
	events = lines.next(t, "events")
	var frame monitor.Frame
	if err := json.Unmarshal([]byte(lines.next(t, "status")), &frame); err != nil {
		t.Fatal(err)
	}
	return frame.Verdict, events
}

type eventLines struct{ *bufio.Scanner }

func openEvents(ctx context.Context, t *testing.T, url string) eventLines {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { response.Body.Close() })
	lines := eventLines{bufio.NewScanner(response.Body)}
	lines.Buffer(nil, 1<<20)
	return lines
}

// next reads on to the next message of that name.
func (l eventLines) next(t *testing.T, name string) string {
	t.Helper()
	for l.Scan() {
		if l.Text() == "event: "+name {
			l.Scan()
			return strings.TrimPrefix(l.Text(), "data: ")
		}
	}
	t.Fatalf("no %s: %v", name, l.Err())
	return ""
}

// What is applied is shown to those who follow: rows, keys, and how long it took.
func TestFeedShowsWhatIsApplied(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{schema: `create table t (id int primary key)`, rules: on("t", "t:{id}", "all:*")})
	r := b.start()
	b.settle(r)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lines := openEvents(ctx, t, r.HTTP)
	lines.next(t, "events") // it follows
	b.exec(`insert into t values (7)`)
	var item monitor.FeedItem
	if err := json.Unmarshal([]byte(lines.next(t, "feed")), &item); err != nil {
		t.Fatal(err)
	}
	if len(item.Changes) != 1 || item.Changes[0].Table != "public.t" || item.Changes[0].Op != "insert" || item.Changes[0].Latency <= 0 || !slices.Equal(item.Keys, []string{"t:7"}) {
		t.Errorf("got %+v, want the insert into t, its key and its latency", item)
	}
	item = monitor.FeedItem{}
	if err := json.Unmarshal([]byte(lines.next(t, "feed")), &item); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(item.Patterns, []string{"all:*"}) {
		t.Errorf("got %+v, want the pattern when its pass has ended", item)
	}
}
