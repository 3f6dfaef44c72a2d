package invalidator

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// deadPerSecond is how many dead letters are kept a second. A rule that errors
// on every row must not fill the stream of dead letters or slow the rest; what
// is not kept is counted.
const deadPerSecond = 20

// deadLetters copies what could not be evaluated to the dead-letter subject.
// The reading side's goroutine only.
type deadLetters struct {
	v       *Invalidator
	second  int64 // the second that sent counts
	sent    int
	dropped int
}

// letter keeps a copy of data with the reason, at most deadPerSecond a second,
// and says so once a second. A nil one keeps nothing.
func (d *deadLetters) letter(ctx context.Context, table cdc.TableName, reason string, data []byte) {
	if d == nil {
		return
	}
	d.v.stats.dead()
	now := time.Now().Unix()
	if now != d.second {
		d.second, d.sent = now, 0
	}
	d.sent++
	if d.sent > deadPerSecond {
		d.dropped++
		return
	}
	if d.sent == 1 {
		d.v.emit("poison", "a change could not be evaluated and was widened to everything that depends on its table; see the dead-letter stream", map[string]any{
			"table": table.String(), "reason": reason, "not_kept": d.dropped,
		})
		d.dropped = 0
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	schema, name := table.Schema, table.Table
	if table == (cdc.TableName{}) {
		schema, name = "unknown", "unknown"
	}
	if err := d.v.stream.DeadLetter(ctx, schema, name, reason, data); err != nil && ctx.Err() == nil {
		d.v.log.Warn("a dead letter could not be kept", "table", table.String(), "error", err)
	}
}
