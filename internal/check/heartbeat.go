package check

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	// beatPrefix marks our messages in the WAL, a few bytes each, which no
	// subscriber of a publication is sent unasked.
	beatPrefix = "freshet check"
	// beatPatience is how long a message may take to come back. A running
	// service takes a few tenths of a second.
	beatPatience = 5 * time.Second
	// slotPatience is how long making a temporary slot may take. It waits for
	// every transaction that is writing.
	slotPatience = "5s"
	// queryCanceled is Postgres' code for a statement that took too long.
	queryCanceled = "57014"
	// undefinedObject is its code for a publication that is not there.
	undefinedObject = "42704"
)

// heartbeat writes a message into the WAL and sees it come back. The slot
// itself is left alone: where a service reads it, the message has come back
// when the watermark, which that service announces, has passed it; where none
// does, a temporary slot, which ends with our connection, decodes it.
func (c *postgresCheck) heartbeat(ctx context.Context, slot *catalog.Slot) {
	const check = "heartbeat"
	if c.info.WALLevel != "logical" || c.info.InRecovery || !c.replicates {
		return // reported already, and no message could come back
	}
	began := time.Now()
	if slot != nil && slot.Active {
		err := c.throughService(ctx)
		switch {
		case err == nil:
			c.publishing.ok(check, "a message came back through the running service, as the watermark, in %s", time.Since(began).Round(time.Millisecond))
		case errors.Is(err, context.DeadlineExceeded):
			c.publishing.warn(check, fmt.Sprintf("the service reads the slot, and the watermark has not passed a message written %s ago", beatPatience),
				"see what holds it up: /status of consumer and invalidator; is the invalidator running, is it paused, is there a backlog?")
		default:
			c.publishing.warn(check, "not tried: "+oneLine(err), "")
		}
		return
	}
	if c.info.MaxSlots-c.info.Slots < 1 {
		c.publishing.warn(check, "not tried: there is no room for a temporary slot", "")
		return
	}
	err := c.throughTemporarySlot(ctx)
	switch {
	case err == nil:
		c.publishing.ok(check, "a message came back through a temporary slot in %s", time.Since(began).Round(time.Millisecond))
	case sqlState(err) == queryCanceled:
		c.publishing.warn(check, "a slot cannot be created while a transaction goes on writing: one does for longer than "+slotPatience,
			"look for the oldest xact_start in pg_stat_activity, and for prepared transactions")
	default:
		c.publishing.fail(check, "a message does not come back: "+oneLine(err), "see the server's log")
	}
}

// emit writes a message. Its transaction makes the server flush it at once.
func emit(ctx context.Context, db *pgx.Conn) (cdc.LSN, error) {
	var text string
	if err := db.QueryRow(ctx, "SELECT pg_logical_emit_message(true, $1, '')::text", beatPrefix).Scan(&text); err != nil {
		return 0, fmt.Errorf("write a message: %w", err)
	}
	return cdc.ParseLSN(text)
}

// throughService returns when the watermark of the running service has passed
// a message.
func (c *postgresCheck) throughService(ctx context.Context) error {
	options, err := natsOptions(c.cfg.Stream)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(natsURL(c.cfg.Stream), options...)
	if err != nil {
		return fmt.Errorf("connect to nats: %w", withoutURL(err))
	}
	defer nc.Close()
	marks, err := nc.SubscribeSync(cdc.Subjects{Name: c.cfg.Name}.Watermark())
	if err == nil {
		err = nc.Flush() // the subscription is there before the message is
	}
	if err != nil {
		return fmt.Errorf("listen to the watermark: %w", err)
	}
	written, err := emit(ctx, c.db)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, beatPatience)
	defer cancel()
	for {
		message, err := marks.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		var w stream.Watermark
		if json.Unmarshal(message.Data, &w) == nil && w.LSN > written {
			return nil
		}
	}
}

// natsURL is where NATS is, or would be were it embedded in a running service.
func natsURL(cfg stream.Config) string {
	switch {
	case cfg.URL != "":
		return cfg.URL
	case cfg.Embedded.Listen != "":
		return "nats://" + cfg.Embedded.Listen
	}
	return "nats://127.0.0.1:4222"
}

// throughTemporarySlot decodes a message on a connection of its own, which
// takes the slot with it.
func (c *postgresCheck) throughTemporarySlot(ctx context.Context) error {
	cfg := c.db.Config().Copy()
	cfg.RuntimeParams["statement_timeout"] = slotPatience
	db, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	name := "freshet_check_" + strings.ToLower(rand.Text())
	if _, err := db.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)", name); err != nil {
		return fmt.Errorf("create a temporary slot: %w", err)
	}
	if _, err := emit(ctx, db); err != nil {
		return err
	}
	// Messages begin with an M. Rows of tables may stand between.
	var found bool
	err = db.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
                           'proto_version', '1', 'publication_names', quote_ident($2), 'messages', 'true')
               WHERE get_byte(data, 0) = ascii('M') AND position($3::bytea IN data) > 0)`,
		name, c.cfg.Publication, []byte(beatPrefix)).Scan(&found)
	switch {
	case sqlState(err) == undefinedObject:
		// Somebody changed a row meanwhile, which was decoded and looked for in
		// the publication that is still to be made.
		return nil
	case err != nil:
		return fmt.Errorf("decode: %w", err)
	case !found:
		return errors.New("it is not among what was decoded")
	}
	return nil
}
