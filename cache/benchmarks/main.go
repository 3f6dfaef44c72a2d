// Command benchmarks compares package cache and what is below it with what else
// can be imported for the same, on servers of its own. All contenders of a
// contest take turns, many short ones, and what is reported is the median of
// their ratios, round by round. Targets that are missed are explained by
// profiles.
//
//	go run . [-o json] [-only 'near|GCRA'] [-results results]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	runtime.MemProfileRate = 0 // see record
	o := options{out: os.Stdout, progress: os.Stderr}
	only := ""
	flag.StringVar(&o.format, "o", "text", "output `FORMAT`: text or json")
	flag.StringVar(&only, "only", "", "run only the contests whose names match the `PATTERN`")
	flag.StringVar(&o.results, "results", "", "`FOLDER` to write DATE-COMMIT.md to; empty for none")
	flag.IntVar(&o.timing.rounds, "rounds", 200, "rounds of each contest")
	flag.DurationVar(&o.timing.length, "length", 20*time.Millisecond, "length of each contender's turn")
	flag.BoolVar(&o.explain, "explain", false, "profile every contest, not only those with a target that was missed")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(only); err != nil || flag.NArg() > 0 || o.timing.rounds < 1 || o.format != "text" && o.format != "json" {
		flag.Usage()
		os.Exit(2) //nolint:gocritic // nothing has begun
	}
	if err := run(ctx, &o); err != nil {
		fmt.Fprintf(os.Stderr, "benchmarks: %v\n", err)
		cancel()
		os.Exit(1)
	}
}

type options struct {
	out, progress io.Writer
	format        string
	only          *regexp.Regexp
	results       string
	timing        timing
	explain       bool
}

func run(ctx context.Context, o *options) error {
	e, err := newEnvironment(ctx)
	if err != nil {
		return err
	}
	r := report{Began: time.Now(), Machine: describe(ctx, e.rdb), Rounds: o.timing.rounds, Length: o.timing.length.String()}
	err = errors.Join(measure(ctx, e, o, &r), e.close())
	r.Took = time.Since(r.Began).Round(time.Second).String()
	r.Machine.LoadAfter = load()
	if err == nil && o.results != "" {
		err = r.save(o.results, o.progress)
	}
	return errors.Join(err, r.print(o.out, o.format)) // what there is, in any case
}

// measure runs the contests one after the other, each followed by profiles of
// what was missed.
func measure(ctx context.Context, e *environment, o *options, r *report) error {
	for _, build := range e.contests(ctx) {
		c, err := build()
		if err != nil {
			return err
		}
		if !o.only.MatchString(c.name) {
			continue
		}
		if _, err := fmt.Fprintln(o.progress, c.name); err != nil {
			return err
		}
		found, err := c.run(ctx, o.timing)
		if err != nil {
			return err
		}
		rows := c.rows(&found)
		r.Rows = append(r.Rows, rows...)
		kinds := kindsOf(rows)
		if o.explain {
			kinds = []string{kindCPU, kindAllocs}
		}
		for _, kind := range kinds {
			p, err := explain(ctx, &c, kind)
			if err != nil {
				return err
			}
			r.Profiles = append(r.Profiles, p)
		}
	}
	if !o.only.MatchString(metricTrips) {
		return nil
	}
	trips, err := countTrips(ctx, e.redis.Addr())
	r.Rows = append(r.Rows, trips...)
	return err
}

// kindsOf returns which profiles explain the targets that were missed.
func kindsOf(rows []row) (kinds []string) {
	for i := range rows {
		kind := kindCPU
		if rows[i].Metric == metricAllocs {
			kind = kindAllocs
		}
		if rows[i].Verdict == missed && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// environment is what contests run on.
type environment struct {
	redis *servers.Redis
	nats  *servers.NATS
	rdb   *redis.Client
	heeds *redis.Client // gives up when a context ends, as ratelimit asks for
	conn  *nats.Conn
	kv    *clients
	near  *nearClients
	rate  *limiters // by heeds
	plain *limiters // by rdb
}

func newEnvironment(ctx context.Context) (e *environment, err error) {
	e = &environment{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.redis, err = servers.StartRedis(ctx, servers.RedisOptions{}); err != nil {
		return e, err
	}
	if e.nats, err = servers.StartNATS(ctx, servers.NATSOptions{}); err != nil {
		return e, err
	}
	e.rdb = redis.NewClient(&redis.Options{Addr: e.redis.Addr()})
	e.heeds = redis.NewClient(&redis.Options{Addr: e.redis.Addr(), ContextTimeoutEnabled: true})
	if e.conn, err = nats.Connect(e.nats.URL()); err != nil {
		return e, err
	}
	e.kv = newClients(e.rdb, "new:")
	if e.near, err = newNearClients(ctx, e.rdb, e.conn); err != nil {
		return e, err
	}
	e.rate, e.plain = newLimiters(e.heeds), newLimiters(e.rdb)
	return e, nil
}

// close ends what was started, as far as it got.
func (e *environment) close() error {
	var errs []error
	if e.rate != nil {
		errs = append(errs, e.rate.close(), e.plain.close())
	}
	if e.near != nil {
		errs = append(errs, e.near.close())
	}
	if e.kv != nil {
		errs = append(errs, e.kv.ours.Close())
	}
	if e.conn != nil {
		e.conn.Close()
	}
	if e.rdb != nil {
		errs = append(errs, e.rdb.Close(), e.heeds.Close())
	}
	if e.nats != nil {
		errs = append(errs, e.nats.Close())
	}
	if e.redis != nil {
		errs = append(errs, e.redis.Close())
	}
	return errors.Join(errs...)
}

// contests returns what prepares each contest, in the order of the report.
func (e *environment) contests(ctx context.Context) []func() (contest, error) {
	const few, many = 256, 16
	return []func() (contest, error){
		func() (contest, error) { return hit(ctx, e.kv, "hit", newOrder(1), few, 1) },
		func() (contest, error) { return hit(ctx, e.kv, "hit, 16 callers", newOrder(1), few, many) },
		func() (contest, error) { return hit(ctx, e.kv, "hit, 10 kB", newList(), few, 1) },
		func() (contest, error) { return hit(ctx, e.kv, "hit, 100,000 keys", newOrder(1), 100_000, 1) },
		func() (contest, error) { return hitMany(ctx, e.kv) },
		func() (contest, error) { return taggedHit(ctx, e.kv) },
		func() (contest, error) { return set(ctx, e.kv) },
		func() (contest, error) { return miss(ctx, e.kv, 1) },
		func() (contest, error) { return miss(ctx, e.kv, many) },
		func() (contest, error) { return nearHit(ctx, e.near, 1) },
		func() (contest, error) { return nearHit(ctx, e.near, runtime.GOMAXPROCS(0)) },
		func() (contest, error) { return nearDecoded(ctx, e.near) },
		func() (contest, error) { return e.rate.gcra(ctx, "GCRA, admitted", 1) },
		func() (contest, error) { return e.rate.gcra(ctx, "GCRA, admitted, 16 callers", many) },
		func() (contest, error) { return e.plain.gcra(ctx, "GCRA, admitted, client with defaults", 1) },
		func() (contest, error) { return e.rate.denied(ctx) },
		func() (contest, error) { return e.rate.remembered(ctx) },
		func() (contest, error) { return e.rate.sliding(ctx) },
		func() (contest, error) { return e.rate.fixed(ctx) },
		func() (contest, error) { return e.rate.several(ctx) },
		func() (contest, error) { return e.rate.inMemory(ctx) },
	}
}
