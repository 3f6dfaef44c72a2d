package servertest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// recorder is a test that notes its failure instead of failing.
type recorder struct {
	testing.TB
	fatal   string
	skipped bool
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (r *recorder) Skip(...any)          { r.skipped = true; runtime.Goexit() }
func (r *recorder) Skipf(string, ...any) { r.skipped = true; runtime.Goexit() }
func (r *recorder) SkipNow()             { r.skipped = true; runtime.Goexit() }

// record runs body as a test of its own and returns how it ended.
func record(t *testing.T, body func(tb testing.TB)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		body(r)
	}()
	<-done
	return r
}

func TestMissingServerFailsWithTheRemedy(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]func(testing.TB){
		"postgres": func(tb testing.TB) { servertest.Postgres(tb, servers.PostgresOptions{Bin: "/none"}) },
		"redis":    func(tb testing.TB) { servertest.Redis(tb, servers.RedisOptions{Bin: "/none"}) },
		"cluster":  func(tb testing.TB) { servertest.RedisCluster(tb, 3, servers.RedisOptions{Bin: "/none"}) },
		"sentinel": func(tb testing.TB) { servertest.Sentinel(tb, servers.RedisOptions{Bin: "/none"}) },
		"nats":     func(tb testing.TB) { servertest.NATS(tb, servers.NATSOptions{Bin: "/none"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record(t, body)
			if r.skipped {
				t.Error("skipped, which nobody would notice")
			}
			if !strings.Contains(r.fatal, "install") {
				t.Errorf("failed with %q, want what to install", r.fatal)
			}
		})
	}
}

func TestEventuallyNamesTheLastState(t *testing.T) {
	t.Parallel()
	calls := 0
	r := record(t, func(tb testing.TB) {
		servertest.Eventually(tb, 30*time.Millisecond, func() (bool, string) {
			calls++
			return false, fmt.Sprintf("look %d", calls)
		})
	})
	if want := fmt.Sprintf("look %d", calls); calls < 3 || !strings.HasSuffix(r.fatal, want) {
		t.Errorf("after %d looks: failed with %q, want the last state %q", calls, r.fatal, want)
	}
	calls = 0
	r = record(t, func(tb testing.TB) {
		servertest.Eventually(tb, time.Minute, func() (bool, string) { calls++; return calls == 3, "" })
	})
	if r.fatal != "" || calls != 3 {
		t.Errorf("after %d looks: failed with %q, want success at the third", calls, r.fatal)
	}
}

func TestNeverFailsAtOnce(t *testing.T) {
	t.Parallel()
	r := record(t, func(tb testing.TB) {
		servertest.Never(tb, time.Minute, func() (bool, string) { return true, "it did" })
	})
	if !strings.Contains(r.fatal, "it did") {
		t.Errorf("failed with %q, want the state", r.fatal)
	}
	r = record(t, func(tb testing.TB) {
		servertest.Never(tb, 5*time.Millisecond, func() (bool, string) { return false, "" })
	})
	if r.fatal != "" {
		t.Errorf("failed with %q, want success", r.fatal)
	}
}

func TestEventuallyOnce(t *testing.T) {
	t.Parallel()
	// A deadline that has passed already still gets one look.
	servertest.Eventually(t, 0, func() (bool, string) { return true, "" })
}
