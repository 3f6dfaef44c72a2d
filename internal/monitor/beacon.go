package monitor

import (
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
)

var semverPattern = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// beaconEvery is how often the status of each part is published.
const beaconEvery = time.Second

// Report is the status of one part of one process, as it is published.
type Report struct {
	V        int             `json:"v"` // of this form: 1
	Instance string          `json:"instance"`
	Role     string          `json:"role"`
	ID       string          `json:"id"` // of the process
	Version  string          `json:"version"`
	Rules    string          `json:"rules,omitempty"` // names the rules that the process has read
	Started  time.Time       `json:"started"`
	Time     time.Time       `json:"time"`
	Ready    bool            `json:"ready"`
	Reason   string          `json:"reason,omitempty"` // why it is not ready, with the remedy
	Status   json.RawMessage `json:"status"`           // what /status shows of the part
}

// Beacon publishes the status of each part once a second.
type Beacon struct {
	// Instance, ID and Version are those of the process.
	Instance, ID, Version string
	// Rules is the fingerprint of the rules that the process has read.
	Rules string
	// Started is when the process started.
	Started time.Time
	// Subject makes the subject of a role.
	Subject func(role, id string) string
	// Logger defaults to discarding everything.
	Logger *slog.Logger
}

// Reports returns the report of every part.
func (b *Beacon) Reports(sources ...Source) []Report {
	reports := make([]Report, 0, len(sources))
	for _, source := range sources {
		status, err := json.Marshal(source.Snapshot())
		if err != nil { // a bug: snapshots are plain data
			status = []byte("null")
		}
		reason := source.Ready()
		reports = append(reports, Report{
			V: 1, Instance: b.Instance, Role: source.Role(), ID: b.ID, Version: b.Version, Rules: b.Rules,
			Started: b.Started, Time: time.Now().UTC(), Ready: reason == "", Reason: reason, Status: status,
		})
	}
	return reports
}

// Run publishes until ctx ends. Nobody waits for it: what cannot be published is
// published a second later.
func (b *Beacon) Run(ctx context.Context, conn *nats.Conn, sources ...Source) error {
	tick := time.NewTicker(beaconEvery)
	defer tick.Stop()
	for {
		for _, report := range b.Reports(sources...) {
			data, err := json.Marshal(report)
			if err == nil {
				err = conn.Publish(b.Subject(report.Role, report.ID), data)
			}
			if err != nil && b.Logger != nil {
				b.Logger.Debug("a status was not published", "role", report.Role, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
