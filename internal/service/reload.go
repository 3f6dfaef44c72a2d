package service

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/stream"
)

// ReloadResult is what reload answers: the file is taken, and begun with next.
type ReloadResult struct {
	Taken bool `json:"taken"`
}

func (c *control) reload(ctx context.Context, request []byte, _ string) (any, error) {
	if _, err := monitor.Decode[struct{}](request); err != nil {
		return nil, err
	}
	return ReloadResult{Taken: true}, c.cfg.Reload(ctx)
}

// hearReloads has this process read its configuration again, too, when another one
// of the instance was asked to and did. Beginning anew gives the work away: one that
// stood by would take over with the rules that it read when it started.
func (c *control) hearReloads(ctx context.Context) error {
	told := make(chan struct{}, 1) // more tell nothing new
	sub, err := c.stream.Conn().Subscribe(c.stream.Subjects().Event("control"), func(m *nats.Msg) {
		if c.reloadedElsewhere(m.Data) {
			select {
			case told <- struct{}{}:
			default:
			}
		}
	})
	if err != nil { // the connection is closed: the process stops
		return nil
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may have gone
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-told:
			_ = c.cfg.Reload(ctx) // which announces a refusal
		}
	}
}

func (c *control) reloadedElsewhere(event []byte) bool {
	var e stream.Event
	if json.Unmarshal(event, &e) != nil || e.Fields["verb"] != "reload" {
		return false
	}
	_, refused := e.Fields["error"]
	return !refused && e.Fields["process"] != c.cfg.ID
}
