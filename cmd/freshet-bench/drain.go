package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/service"
)

type drainOptions struct {
	rows     int
	rounds   int
	identity string
}

// way is one way to drain the backlog.
type way struct {
	name  string
	times []time.Duration
}

func (o *drainOptions) run(ctx context.Context, out io.Writer, results string) (err error) {
	r, err := newRig(ctx, o.rows, o.identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()

	baseline := &way{name: "pglogrepl loop that drops everything"}
	published := &way{name: "consumer, into JetStream"}
	applied := &way{name: "invalidator, from JetStream into Redis"}
	both := &way{name: "both at once, into Redis"}
	for round := range o.rounds {
		_, _ = fmt.Fprintf(os.Stderr, "round %d of %d: writing %d rows …\n", round+1, o.rounds, o.rows)
		if err := o.round(ctx, r, round, baseline, published, applied, both); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}

	var report strings.Builder
	fmt.Fprintf(&report, "backlog of %d updates (%d transactions of one row, three large ones) under replica identity %s, median of %d rounds\n%s\n\n",
		o.rows, o.rows*2/5, o.identity, o.rounds, r.environment(ctx))
	table := tabwriter.NewWriter(&report, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\trows/s\tagainst the loop\t")
	base := o.rowsPerSecond(baseline)
	for _, w := range []*way{baseline, published, applied, both} {
		rate := o.rowsPerSecond(w)
		fmt.Fprintf(table, "%s\t%.0f\t%.2f\t\n", w.name, rate, rate/base)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return publish(out, results, "drain-"+o.identity, report.String())
}

func (o *drainOptions) rowsPerSecond(w *way) float64 {
	return float64(o.rows) / median(w.times).Seconds()
}

// round writes one backlog and drains it once each way, in another order each time.
// Every way begins with the same slot, stream and position, as a service that was
// away for the backlog. What is timed includes the start of the service.
func (o *drainOptions) round(ctx context.Context, r *rig, n int, baseline, published, applied, both *way) error {
	if err := r.clean(ctx); err != nil {
		return err
	}
	// The first start makes publication, slot, stream and position.
	if err := r.warmUp(ctx); err != nil {
		return err
	}
	begin, err := r.remember(ctx)
	if err != nil {
		return err
	}
	end, err := o.write(ctx, r)
	if err != nil {
		return err
	}
	if _, err := r.db.Exec(ctx, `checkpoint`); err != nil { // now, and not amid one of the ways
		return err
	}
	turns := []func() error{
		func() error { return dropEverything(ctx, r, end, baseline) },
		func() error { return o.inTurn(ctx, r, end, published, applied) },
		func() error { return o.atOnce(ctx, r, end, both) },
	}
	for i := range turns {
		if err := r.rewind(ctx, begin); err != nil {
			return err
		}
		if err := turns[(n+i)%len(turns)](); err != nil {
			return err
		}
	}
	return nil
}

// inTurn publishes the backlog, and then applies it.
func (o *drainOptions) inTurn(ctx context.Context, r *rig, end cdc.LSN, published, applied *way) error {
	began := time.Now()
	p, err := r.start(ctx, nil, service.RoleConsumer)
	if err != nil {
		return err
	}
	err = until(ctx, "the backlog is published", func() bool { return p.Consumer.Status().Published >= end })
	published.times = append(published.times, time.Since(began))
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}
	began = time.Now()
	if p, err = r.start(ctx, nil, service.RoleInvalidator); err != nil {
		return err
	}
	err = until(ctx, "the backlog is applied", func() bool { return o.done(p, end) })
	applied.times = append(applied.times, time.Since(began))
	return errors.Join(err, p.stop())
}

// atOnce publishes and applies it in one process.
func (o *drainOptions) atOnce(ctx context.Context, r *rig, end cdc.LSN, both *way) error {
	began := time.Now()
	p, err := r.start(ctx, nil)
	if err != nil {
		return err
	}
	err = until(ctx, "the backlog is published and applied", func() bool { return o.done(p, end) })
	both.times = append(both.times, time.Since(began))
	return errors.Join(err, p.stop())
}

// done reports whether every row of the backlog was applied: the position alone would
// also be there after a flush.
func (o *drainOptions) done(p *process, end cdc.LSN) bool {
	s := p.Invalidator.Status()
	return s.Changes >= int64(o.rows) && s.Position.LSN >= end
}

// write makes the backlog and returns a WAL position behind it.
func (o *drainOptions) write(ctx context.Context, r *rig) (cdc.LSN, error) {
	small := o.rows * 2 / 5
	if _, err := r.db.Exec(ctx, `call small_transactions(1, $1)`, small); err != nil {
		return 0, err
	}
	for i := range 3 {
		first, last := small+i*(o.rows-small)/3, small+(i+1)*(o.rows-small)/3
		if _, err := r.db.Exec(ctx, `update orders set status = 'L' || random(), updated_at = clock_timestamp() where id > $1 and id <= $2`, first, last); err != nil {
			return 0, err
		}
	}
	return r.walEnd(ctx)
}

// warmUp runs the service until it has a position and is done with the gap of its
// first start, so that slot and publication exist and nothing is left to make up for.
func (r *rig) warmUp(ctx context.Context) error {
	p, err := r.start(ctx, nil)
	if err != nil {
		return err
	}
	end, err := r.walEnd(ctx)
	if err == nil {
		err = until(ctx, "the first start is over", func() bool {
			at := p.Invalidator.Status().Position
			return at.LSN >= end && at.Hold == 0
		})
	}
	return errors.Join(err, p.stop())
}

// clean begins a round: no slots, no stream, an empty Redis.
func (r *rig) clean(ctx context.Context) error {
	if err := r.slotsFree(ctx); err != nil {
		return err
	}
	if _, err := r.db.Exec(ctx, `select pg_drop_replication_slot(slot_name) from pg_replication_slots`); err != nil {
		return err
	}
	return r.forget(ctx)
}

// beginning is what every way of a round begins with: beside it, a copy of the slot
// and one of the stream's folder.
type beginning map[string]string // the service's keys in Redis, as DUMP gives them

// remember keeps where a stopped service is.
func (r *rig) remember(ctx context.Context) (beginning, error) {
	if _, err := r.db.Exec(ctx, `select pg_copy_logical_replication_slot('freshet_bench', 'copy')`); err != nil {
		return nil, err
	}
	copied := filepath.Join(r.dir, "nats-copy")
	if err := errors.Join(os.RemoveAll(copied), os.CopyFS(copied, os.DirFS(filepath.Join(r.dir, "nats")))); err != nil {
		return nil, err
	}
	keys, err := r.rdb.Keys(ctx, "freshet:*").Result()
	if err != nil {
		return nil, err
	}
	begin := beginning{}
	for _, key := range keys {
		if begin[key], err = r.rdb.Dump(ctx, key).Result(); err != nil {
			return nil, err
		}
	}
	return begin, nil
}

// rewind goes back there.
func (r *rig) rewind(ctx context.Context, begin beginning) error {
	if err := r.slotsFree(ctx); err != nil {
		return err
	}
	_, err := r.db.Exec(ctx, `select pg_drop_replication_slot('freshet_bench'), pg_copy_logical_replication_slot('copy', 'freshet_bench')`)
	if err != nil {
		return err
	}
	if err := r.forget(ctx); err != nil {
		return err
	}
	for key, value := range begin {
		if err := r.rdb.Restore(ctx, key, 0, value).Err(); err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(r.dir, "nats"), os.DirFS(filepath.Join(r.dir, "nats-copy")))
}

// slotsFree waits until the server has seen that nobody reads a slot.
func (r *rig) slotsFree(ctx context.Context) error {
	return until(ctx, "the slots are free", func() bool {
		var active int
		err := r.db.QueryRow(ctx, `select count(*) from pg_replication_slots where active`).Scan(&active)
		return err == nil && active == 0
	})
}

func (r *rig) forget(ctx context.Context) error {
	return errors.Join(os.RemoveAll(filepath.Join(r.dir, "nats")), r.rdb.FlushAll(ctx).Err())
}

// dropEverything is the baseline: the receive loop of pglogrepl's example,
// without the decoding.
func dropEverything(ctx context.Context, r *rig, end cdc.LSN, baseline *way) error {
	began := time.Now()
	defer func() { baseline.times = append(baseline.times, time.Since(began)) }()
	conn, err := pgconn.Connect(ctx, r.postgres.URL()+"&replication=database")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pglogrepl.StartReplication(ctx, conn, "freshet_bench", 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'freshet_bench'"},
	})
	if err != nil {
		return err
	}
	var reached pglogrepl.LSN
	report := time.Now()
	for uint64(reached) < uint64(end) {
		message, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		data, ok := message.(*pgproto3.CopyData)
		if !ok {
			continue
		}
		switch data.Data[0] {
		case pglogrepl.XLogDataByteID:
			x, err := pglogrepl.ParseXLogData(data.Data[1:])
			if err != nil {
				return err
			}
			reached = max(reached, x.WALStart)
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			k, err := pglogrepl.ParsePrimaryKeepaliveMessage(data.Data[1:])
			if err != nil {
				return err
			}
			reached = max(reached, k.ServerWALEnd)
			if k.ReplyRequested {
				report = time.Time{}
			}
		}
		if time.Since(report) > time.Second {
			report = time.Now()
			if err := pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: reached}); err != nil {
				return err
			}
		}
	}
	return nil
}
