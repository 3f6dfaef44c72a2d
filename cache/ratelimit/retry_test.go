package ratelimit_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

// lossy dials connections that break in the moment that they bring a reply of
// the script: the server has done what it was told, and the client does not
// know.
type lossy struct {
	lose func() bool
	lost atomic.Int64
}

func (l *lossy) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &lossyConn{Conn: conn, lossy: l}, nil
}

type lossyConn struct {
	net.Conn
	lossy *lossy
}

func (c *lossyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	isReply := bytes.HasPrefix(b[:n], []byte("$33\r\n")) || bytes.HasPrefix(b[:n], []byte("$57\r\n"))
	if isReply && c.lossy.lose() {
		c.lossy.lost.Add(1)
		_ = c.Conn.Close()
		return 0, syscall.ECONNRESET
	}
	return n, err
}

func lossyClient(t *testing.T, l *lossy, retries int) *redis.Client {
	t.Helper()
	s, err := shared.redis()
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{
		Addr: s.Addr(), Dialer: l.dial, ReadTimeout: patience, MaxRetries: retries, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 5 * time.Millisecond,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// everySecond loses the first reply to each call.
func everySecond() func() bool {
	var n atomic.Int64
	return func() bool { return n.Add(1)%2 == 1 }
}

// takesOnce makes calls whose first reply is lost, and reports whether each was
// counted once.
func takesOnce(t *testing.T, l *ratelimit.Limiter, limits []ratelimit.Limit) bool {
	t.Helper()
	id := fresh()
	const most = 5
	for i := range most {
		rs, err := l.AllowAll(t.Context(), id, "/pay", limits...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			if !r.Allowed || r.Remaining != most-i-1 {
				return false
			}
		}
	}
	rs, err := l.AllowAll(t.Context(), id, "/pay", limits...)
	if err != nil {
		t.Fatal(err)
	}
	return !rs.Allowed()
}

func TestRepeatedCommandCountsOnce(t *testing.T) {
	t.Parallel()
	cases := map[string][]ratelimit.Limit{"together": {ratelimit.PerHour(5), ratelimit.PerHour(5).By(ratelimit.GCRA)}}
	for _, a := range algorithms {
		cases[a.String()] = []ratelimit.Limit{ratelimit.PerHour(5).By(a)}
	}
	for name, limits := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := &lossy{lose: everySecond()}
			l := over(lossyClient(t, net, 3), generous())
			if !takesOnce(t, l, limits) {
				t.Error("a call was counted twice, or its outcome changed")
			}
			if net.lost.Load() < 5 {
				t.Errorf("%d replies were lost; the test proves nothing", net.lost.Load())
			}

			broken := over(lossyClient(t, &lossy{lose: everySecond()}, 3), generous())
			ratelimit.Rewrite(t, broken, "if attempt > 0 then", "if false then")
			if takesOnce(t, broken, limits) {
				t.Error("a script that does not know calls again was not noticed")
			}
		})
	}
}

// TestRepeatedOnCluster: the client of a Cluster repeats in another way.
func TestRepeatedOnCluster(t *testing.T) {
	t.Parallel()
	s, err := shared.cluster()
	if err != nil {
		t.Fatal(err)
	}
	net := &lossy{lose: everySecond()}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.Addrs(), Dialer: net.dial, ReadTimeout: patience, MinRetryBackoff: time.Millisecond})
	t.Cleanup(func() { _ = rdb.Close() })
	l := over(rdb, generous())
	if !takesOnce(t, l, []ratelimit.Limit{ratelimit.PerHour(5), ratelimit.PerHour(5).By(ratelimit.GCRA)}) {
		t.Error("a call was counted twice, or its outcome changed")
	}
	if net.lost.Load() < 5 {
		t.Errorf("%d replies were lost; the test proves nothing", net.lost.Load())
	}
}

// TestRepeatedUnderLoad: many callers, any reply lost. What was admitted is what
// was counted.
func TestRepeatedUnderLoad(t *testing.T) {
	t.Parallel()
	net := &lossy{lose: func() bool { return rand.IntN(3) == 0 }}
	cfg := generous()
	cfg.RememberedDenials = -1
	l := over(lossyClient(t, net, 20), cfg)
	id, limit := fresh(), ratelimit.PerHour(300)
	var admitted, failed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				r, err := l.Allow(t.Context(), id, "", limit)
				switch {
				case err != nil:
					failed.Add(1)
				case r.Allowed:
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	// A call without an answer may have been counted.
	if got := admitted.Load(); got > 300 || got+failed.Load() < 300 {
		t.Errorf("%d admitted, %d failed, of 400; want 300", got, failed.Load())
	}
	if net.lost.Load() < 50 {
		t.Errorf("%d replies were lost; the test proves nothing", net.lost.Load())
	}
}

// TestCallIsKnownForASecond: however many others come in between, and while the
// banks of ids change.
func TestCallIsKnownForASecond(t *testing.T) {
	t.Parallel()
	l := longLived(t, open(t, redisURL(t), noDenials()))
	limit := ratelimit.PerHour(10_000)
	now := int64(1_700_000_000_000_000)
	ratelimit.SetClock(l, func() int64 { return now })
	for _, between := range []int{0, 1, 3, 250, 700} {
		for _, start := range []int64{0, 100_000, 500_000, 999_999, 1_000_000, 1_000_001} {
			now += 10_000_000
			id := fresh()
			allow(t, l, id, "", limit) // begins a bank
			now += start
			call := ratelimit.NewCall(l, id, "", limit)
			if rs, err := call.Send(t.Context()); err != nil || !rs.Allowed() {
				t.Fatal(rs, err)
			}
			for range between {
				now += 1_000_000 / int64(between)
				allow(t, l, id, "", limit)
			}
			for range 2 {
				rs, err := call.Send(t.Context())
				if want := limit.Max - between - 2; err != nil || !rs.Allowed() || rs[0].Remaining != want {
					t.Errorf("%d calls later, begun %dµs into the bank: got %+v, %v, want %d left", between, start, rs, err, want)
				}
			}
		}
	}
}
