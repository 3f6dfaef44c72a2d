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
		if err := o.round(ctx, r, baseline, published, applied, both); err != nil {
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

// round writes one backlog and drains it once each way. Every way has slots of
// its own, so that each reads the same WAL.
func (o *drainOptions) round(ctx context.Context, r *rig, baseline, published, applied, both *way) error {
	if err := r.clean(ctx); err != nil {
		return err
	}
	// The first start makes publication, slot, stream and position.
	if err := r.warmUp(ctx); err != nil {
		return err
	}
	for _, slot := range []string{"loop", "copy"} {
		if _, err := r.db.Exec(ctx, `select pg_copy_logical_replication_slot('freshet_bench', $1)`, slot); err != nil {
			return err
		}
	}
	end, err := o.write(ctx, r)
	if err != nil {
		return err
	}

	began := time.Now()
	if err := dropEverything(ctx, r, "loop", end); err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	baseline.times = append(baseline.times, time.Since(began))

	began = time.Now()
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
	err = until(ctx, "the backlog is applied", func() bool { return p.Invalidator.Status().Position.LSN >= end })
	applied.times = append(applied.times, time.Since(began))
	if err := errors.Join(err, p.stop()); err != nil {
		return err
	}

	// The same WAL again, through the copied slot and an empty stream.
	if err := r.rewind(ctx); err != nil {
		return err
	}
	began = time.Now()
	if p, err = r.start(ctx, nil); err != nil {
		return err
	}
	err = until(ctx, "the backlog is published and applied", func() bool {
		return p.Consumer.Status().Changes >= uint64(o.rows) && p.Invalidator.Status().Position.LSN >= end
	})
	both.times = append(both.times, time.Since(began))
	return errors.Join(err, p.stop())
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

// warmUp runs the service until it has a position, so that slot and
// publication exist.
func (r *rig) warmUp(ctx context.Context) error {
	p, err := r.start(ctx, nil)
	if err != nil {
		return err
	}
	end, err := r.walEnd(ctx)
	if err == nil {
		err = until(ctx, "the first mark is applied", func() bool { return p.Invalidator.Status().Position.LSN >= end })
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

// rewind puts the copied slot in the place of the one that was read.
func (r *rig) rewind(ctx context.Context) error {
	if err := r.slotsFree(ctx); err != nil {
		return err
	}
	_, err := r.db.Exec(ctx, `select pg_drop_replication_slot('freshet_bench'), pg_copy_logical_replication_slot('copy', 'freshet_bench')`)
	if err != nil {
		return err
	}
	return r.forget(ctx)
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
func dropEverything(ctx context.Context, r *rig, slot string, end cdc.LSN) error {
	conn, err := pgconn.Connect(ctx, r.postgres.URL()+"&replication=database")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
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
