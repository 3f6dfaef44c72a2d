package invalidator_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
)

// events are what was announced, in order.
type events struct {
	t   testing.TB
	mu  sync.Mutex
	all []stream.Event
}

func (e *events) add(msg *nats.Msg) {
	var event stream.Event
	if err := json.Unmarshal(msg.Data, &event); err != nil {
		e.t.Errorf("event %q: %v", msg.Data, err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) of(kind string) (found []stream.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		if event.Kind == kind {
			found = append(found, event)
		}
	}
	return found
}

// await waits until n events of the kind were announced and returns them.
func (e *events) await(kind string, n int) []stream.Event {
	e.t.Helper()
	servertest.Eventually(e.t, waiting, func() (bool, string) {
		found := e.of(kind)
		return len(found) >= n, fmt.Sprintf("%d of %d events %s: %v", len(found), n, kind, found)
	})
	return e.of(kind)
}
