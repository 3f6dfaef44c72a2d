package cache_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// stampedeVariable makes the test binary one process of a stampede instead.
const stampedeVariable = "FRESHET_TEST_STAMPEDE"

const callersEach = 250

// stampedeChild is one of the processes: it says when it is ready, waits for its
// standard input to end, lets its callers loose and prints how many succeeded,
// failed, panicked and gave up.
func stampedeChild(out io.Writer, in io.Reader, how string) error {
	url, kind, _ := strings.Cut(how, " ")
	opts, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	ctx := context.Background()
	c := cache.New(rdb, cache.Config{WaitLimit: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	defer c.Close()
	if err := c.Ping(ctx); err != nil {
		return err
	}
	load := func(ctx context.Context) (string, error) {
		rdb.Incr(ctx, "loads")
		timer := time.NewTimer(200 * time.Millisecond)
		defer timer.Stop()
		<-timer.C
		// On a busy machine some callers come late; one that comes after a load
		// has failed rightly begins another.
		for deadline := time.Now().Add(time.Minute); c.Stats().Shared < callersEach-1 && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		switch kind {
		case "fails":
			return "", errBoom
		case "panics":
			panic("kaboom")
		}
		return "value", nil
	}
	fmt.Fprintln(out, "ready")
	if _, err := io.ReadAll(in); err != nil {
		return err
	}
	var ok, failed, panicked, cancelled atomic.Int64
	var wg sync.WaitGroup
	for i := range callersEach {
		wg.Go(func() {
			defer func() {
				if recover() != nil {
					panicked.Add(1)
				}
			}()
			ctx := ctx
			if kind == "cancelled" && i == 0 { // with luck the first
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			got, err := cache.GetOrSet(ctx, c, "k", time.Minute, load)
			switch {
			case err == nil && got == "value":
				ok.Add(1)
			case errors.Is(err, context.DeadlineExceeded):
				cancelled.Add(1)
			default:
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	fmt.Fprintln(out, ok.Load(), failed.Load(), panicked.Load(), cancelled.Load())
	return nil
}

// TestStampedeOfProcesses: a thousand callers in four processes on one cold key, with a
// loader that takes 200 ms: one load. A loader that fails or panics is called once
// by each process at most, and all of its callers learn of it.
func TestStampedeOfProcesses(t *testing.T) {
	t.Parallel()
	const processes = 4
	for kind, want := range map[string]struct{ loads, ok, failed, panicked, cancelled int }{
		"succeeds":  {1, processes * callersEach, 0, 0, 0},
		"fails":     {processes, 0, processes * callersEach, 0, 0},
		"panics":    {processes, 0, 0, processes * callersEach, 0},
		"cancelled": {1, processes * (callersEach - 1), 0, 0, processes},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t)
			var got struct{ ok, failed, panicked, cancelled int }
			type child struct {
				start io.Closer
				out   *bufio.Reader
				cmd   *exec.Cmd
			}
			children := make([]child, processes)
			for i := range children {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), stampedeVariable+"="+server.URL()+" "+kind)
				cmd.Stderr = os.Stderr
				in, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				children[i] = child{in, bufio.NewReader(out), cmd}
			}
			for _, child := range children {
				if line, err := child.out.ReadString('\n'); err != nil || line != "ready\n" {
					t.Fatalf("got %q, %v, want ready", line, err)
				}
			}
			for _, child := range children {
				if err := child.start.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for _, child := range children {
				line, err := child.out.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				var ok, failed, panicked, cancelled int
				if _, err := fmt.Sscan(line, &ok, &failed, &panicked, &cancelled); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				got.ok, got.failed, got.panicked, got.cancelled = got.ok+ok, got.failed+failed, got.panicked+panicked, got.cancelled+cancelled
				if err := child.cmd.Wait(); err != nil {
					t.Error(err)
				}
			}
			rdb := server.Client()
			defer rdb.Close()
			loads, err := strconv.Atoi(rdb.Get(t.Context(), "loads").Val())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d loads for %d callers: %+v", kind, loads, processes*callersEach, got)
			if loads < 1 || loads > want.loads {
				t.Errorf("got %d loads, want %d at the most", loads, want.loads)
			}
			// A caller that is meant to give up may be served before that.
			if got.ok < want.ok || got.failed != want.failed || got.panicked != want.panicked || got.cancelled > want.cancelled ||
				got.ok+got.failed+got.panicked+got.cancelled != processes*callersEach {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
