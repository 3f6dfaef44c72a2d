package warmer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

// Each server may go and come back: that is shown, said once, and warming goes on.
func TestServersComeAndGo(t *testing.T) {
	t.Parallel()
	nats := servertest.NATS(t)
	w := newWorld(t, table, []rule.Config{rows(nil)}, nats)
	v := w.start(nil)
	key := 0
	fills := func() {
		t.Helper()
		before := v.Status().Results.Filled
		servertest.Eventually(t, waiting, func() (bool, string) {
			key++
			w.offered.Offer([]stream.WarmTask{w.task(0, fmt.Sprintf("t:%d", key), "1")})
			s := v.Status()
			return s.Results.Filled > before && s.State == warmer.StateActive, fmt.Sprintf("%+v", s)
		})
	}
	fills()
	for _, server := range []struct {
		kill  func() error
		start func(context.Context) error
		state warmer.State
	}{
		{w.redis.Kill, w.redis.Start, warmer.StateRedisDown},
		{w.postgres.Kill, w.postgres.Start, warmer.StatePostgresDown},
		{nats.Kill, nats.Start, warmer.StateNATSDown},
	} {
		if err := server.kill(); err != nil {
			t.Fatal(err)
		}
		servertest.Eventually(t, waiting, func() (bool, string) {
			key++
			w.offered.Offer([]stream.WarmTask{w.task(0, fmt.Sprintf("t:%d", key), "1")})
			s := v.Status()
			return s.State == server.state && s.Reason != "", fmt.Sprintf("want %s with a reason, got %+v", server.state, s)
		})
		if err := server.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Without a task too: readiness must not wait for one.
		w.is(v, "active again", func(s warmer.Status) bool { return s.State == warmer.StateActive })
		fills()
		if got := strings.Count(w.log.String(), "state="+string(server.state)); got == 0 || got > 5 {
			t.Errorf("%s is logged %d times, want once for each time it went", server.state, got)
		}
	}
}
