package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
)

type memoryOptions struct {
	rows   int // of the large transaction, and of the backlog
	keys   int // that are cached, and warmed, and that a pattern looks through
	length time.Duration
}

// memoryRules have all kinds of effects: keys, a pattern, a tag, and keys that are
// warmed, with a small value and with one of a hundred kilobytes.
const memoryRules = `
  - table: orders
    invalidate: ["order:{id}", "orders:client:{client_id}"]
    tags: ["client:{client_id}"]
    warm:
      - {key: "order:{id}", sql: "select to_jsonb(o) from orders o where o.id = {id}", ttl: 10m}
  - table: inventory
    invalidate: ["stock:{id}:*"]
  - table: documents
    invalidate: ["document:{id}"]
    warm:
      - {key: "document:{id}", sql: "select to_jsonb(repeat('x', 100000)) from documents where id = {id}", ttl: 10m}
`

// role is a process of the service with one role.
type role struct {
	name string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

// load is what the processes are put under.
type load struct {
	name string
	run  func(context.Context) error
}

func (o *memoryOptions) run(ctx context.Context, out io.Writer, results string) (err error) {
	r, err := newRig(ctx, o.rows, "full")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if _, err := r.db.Exec(ctx, `
create table inventory (id bigint primary key, n int not null);
create table documents (id bigint primary key, n int not null);
insert into inventory select n, 0 from generate_series(1, 1000) n;
insert into documents select n, 0 from generate_series(1, 1000) n`); err != nil {
		return err
	}
	broker, err := servers.StartNATS(ctx, servers.NATSOptions{})
	if err != nil {
		return err
	}
	r.undo = append(r.undo, broker.Close)
	roles, err := r.spawn(ctx, broker)
	if err != nil {
		return err
	}

	var report strings.Builder
	fmt.Fprintf(&report, "peak resident memory and mean processor use of one process for each role; %d rows, %d cached keys, steady loads of %s\n%s\n\n",
		o.rows, o.keys, o.length, r.environment(ctx))
	table := tabwriter.NewWriter(&report, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "load\tseconds\tconsumer MiB\tcores\tinvalidator MiB\tcores\twarmer MiB\tcores\t")
	for _, l := range o.loads(r, broker, roles) {
		fmt.Fprintf(os.Stderr, "%s\n", l.name)
		before := make([]time.Duration, len(roles))
		for i, p := range roles {
			if before[i], err = p.forget(); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := l.run(ctx); err != nil {
			return fmt.Errorf("%s: %w%s", l.name, err, logs(roles))
		}
		took := time.Since(began)
		fmt.Fprintf(table, "%s\t%.1f\t", l.name, took.Seconds())
		for i, p := range roles {
			peak, used, err := p.usage()
			if err != nil {
				return fmt.Errorf("%s: %w%s", l.name, err, logs(roles))
			}
			fmt.Fprintf(table, "%.0f\t%.2f\t", float64(peak)/(1<<20), (used-before[i]).Seconds()/took.Seconds())
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return publish(out, results, "memory", report.String())
}

// spawn builds the service and starts one process for each role.
func (r *rig) spawn(ctx context.Context, broker *servers.NATS) ([]*role, error) {
	binary, config := filepath.Join(r.dir, "freshet"), filepath.Join(r.dir, "freshet.yaml")
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build freshet: %w: %s", err, text)
	}
	text := fmt.Sprintf("name: %s\npostgres: {url: %q}\nnats: {url: %q, stream: {max_bytes: 4GiB}}\ncache: {url: %q}\nhttp: {listen: \"127.0.0.1:0\"}\nwarmer: {rate: 2000/s}\nrules:%s",
		instance, r.postgres.URL(), broker.URL(), r.redis.URL(), memoryRules)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var roles []*role
	for _, name := range []string{service.RoleConsumer, service.RoleInvalidator, service.RoleWarmer} {
		p := &role{name: name, cmd: exec.CommandContext(ctx, binary, "run", "-c", config, "--roles", name)}
		p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
		p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
		if err := p.cmd.Start(); err != nil {
			return nil, fmt.Errorf("start the %s: %w", name, err)
		}
		r.undo = append(r.undo, func() error {
			return errors.Join(p.cmd.Process.Signal(syscall.SIGTERM), p.cmd.Wait())
		})
		roles = append(roles, p)
	}
	return roles, nil
}

func (o *memoryOptions) loads(r *rig, broker *servers.NATS, roles []*role) []load {
	statement := func(sql string, args ...any) func(context.Context) error {
		return func(ctx context.Context) error {
			if _, err := r.db.Exec(ctx, sql, args...); err != nil {
				return err
			}
			return r.applied(ctx, broker)
		}
	}
	steady := func(rate int) func(context.Context) error {
		return func(ctx context.Context) error {
			l := latencyOptions{rate: rate, length: o.length}
			if _, err := l.commit(ctx, r, min(o.keys, o.rows)); err != nil {
				return err
			}
			return r.applied(ctx, broker)
		}
	}
	cached := func(ctx context.Context) error { return o.cache(ctx, r) }
	invalidator := roles[1].cmd.Process
	return []load{
		{"start", func(ctx context.Context) error { return r.applied(ctx, broker) }},
		{"idle", func(ctx context.Context) error { return pause(ctx, o.length) }},
		{"1,000 commits/s", steady(1000)},
		{"2,000 commits/s", steady(2000)},
		{"a transaction of all rows", statement(`update orders set status = 'B'`)},
		{"a backlog of all rows, applied at once", func(ctx context.Context) error {
			// It stands still while the consumer publishes.
			if err := invalidator.Signal(syscall.SIGSTOP); err != nil {
				return err
			}
			_, err := r.db.Exec(ctx, `call small_transactions(1, $1)`, o.rows/5)
			if err == nil {
				_, err = r.db.Exec(ctx, `update orders set status = 'C'`)
			}
			if err = errors.Join(err, invalidator.Signal(syscall.SIGCONT)); err != nil {
				return err
			}
			return r.applied(ctx, broker)
		}},
		{"keys being cached", cached},
		{"patterns over all cached keys", statement(`update inventory set n = n + 1`)},
		{"all cached keys change and are warmed", func(ctx context.Context) error {
			if err := statement(`update orders set status = 'W' where id <= $1`, o.keys)(ctx); err != nil {
				return err
			}
			return pause(ctx, o.length)
		}},
		{"1,000 values of 100 kB are warmed", func(ctx context.Context) error {
			for n := range 1000 {
				if err := r.rdb.Set(ctx, "document:"+strconv.Itoa(n+1), "{}", time.Hour).Err(); err != nil {
					return err
				}
			}
			if err := statement(`update documents set n = n + 1`)(ctx); err != nil {
				return err
			}
			return until(ctx, "the values are warmed", func() bool {
				n, err := r.rdb.StrLen(ctx, "document:1000").Result()
				return err == nil && n > 100_000
			})
		}},
	}
}

// cache stores keys that the rules cover, as readers would.
func (o *memoryOptions) cache(ctx context.Context, r *rig) error {
	const batch = 1000
	for first := 0; first < o.keys; first += batch {
		pipe := r.rdb.Pipeline()
		for n := first; n < min(first+batch, o.keys); n++ {
			pipe.Set(ctx, "order:"+strconv.Itoa(n+1), "{}", time.Hour)
			pipe.Set(ctx, fmt.Sprintf("stock:%d:%d", n%1000, n), "1", time.Hour)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// applied waits until everything committed so far is in Redis, as the watermark says.
func (r *rig) applied(ctx context.Context, broker *servers.NATS) error {
	end, err := r.walEnd(ctx)
	if err != nil {
		return err
	}
	connection, err := broker.Connect()
	if err != nil {
		return err
	}
	defer connection.Close()
	reached := make(chan struct{}, 1) // 1: said once
	_, err = connection.Subscribe("freshet."+instance+".watermark", func(m *nats.Msg) {
		var w stream.Watermark
		if json.Unmarshal(m.Data, &w) != nil || w.LSN < end {
			return
		}
		select {
		case reached <- struct{}{}:
		default: // said already
		}
	})
	if err != nil {
		return err
	}
	select {
	case <-reached:
		return nil
	case <-time.After(5 * time.Minute):
		return errors.New("not applied after five minutes")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget makes the process's peak that of now on (proc(5), clear_refs), and returns
// the processor time that it has used so far.
func (p *role) forget() (time.Duration, error) {
	if err := os.WriteFile(p.proc("clear_refs"), []byte("5"), 0); err != nil {
		return 0, err
	}
	_, used, err := p.usage()
	return used, err
}

// usage is the process's peak resident memory in bytes, and its processor time.
func (p *role) usage() (peak int, used time.Duration, err error) {
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &peak); n == 1 {
			break
		}
	}
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, 0, err
	}
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // after the name; Linux counts in hundredths of seconds
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= stime || peak == 0 {
		return 0, 0, fmt.Errorf("%s says neither memory nor time: it has ended", p.name)
	}
	for _, text := range []string{fields[utime], fields[stime]} {
		ticks, err := strconv.Atoi(text)
		if err != nil {
			return 0, 0, err
		}
		used += time.Duration(ticks) * tick
	}
	return peak << 10, used, nil
}

func (p *role) proc(file string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)
}

// logs is what the processes have written, for an error.
func logs(roles []*role) string {
	var all strings.Builder
	for _, p := range roles {
		if text := p.log.String(); text != "" {
			fmt.Fprintf(&all, "\n%s:\n%s", p.name, text)
		}
	}
	return all.String()
}
