// Package uninstall finds what an instance has made on the three servers, and
// removes it.
//
// What counts as made by the instance can be told from the thing itself: a slot
// of its name with pgoutput in its database and a publication with Freshet's
// comment, unless the bucket in NATS has no record of the slot; streams of its
// name with its subjects, the bookkeeping keys that end with its name. Anything else is left and said so. Cached values are the
// application's, and so are leases and tags, which every instance and the
// library share.
package uninstall

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/internal/stream"
)

// patience bounds how long one server may take to answer.
const patience = 15 * time.Second

// Config says which instance.
type Config struct {
	Name              string
	PostgresURL       string // empty: Postgres is left out
	Slot, Publication string
	Manage            bool // false: slot and publication were made by people
	Stream            stream.Config
	CacheURL          string // empty: Redis is left out
}

// State is what became of an item.
type State string

// The states of items.
const (
	Found   State = "found"   // would be removed
	Removed State = "removed" // was
	Left    State = "left"    // is not the instance's; the note says why
	Failed  State = "failed"  // could not be looked at, or removed
)

// Item is one thing that the instance made, or may have made.
type Item struct {
	Where string `json:"where"` // postgres, nats, redis
	Kind  string `json:"kind"`  // slot, publication, stream, bucket, folder, key, server
	Name  string `json:"name"`
	State State  `json:"state"`
	Note  string `json:"note,omitempty"`
	// SQL is what to run by hand, without a semicolon.
	SQL string `json:"sql,omitempty"`

	remove func(context.Context) error
}

// Report is what was found.
type Report struct {
	Instance string `json:"instance"`
	// Running says by what it shows that the instance runs. Nothing is removed
	// then.
	Running []string `json:"running"`
	Items   []*Item  `json:"items"`
}

// Count returns how many items are in a state.
func (r *Report) Count(state State) int {
	n := 0
	for _, i := range r.Items {
		if i.State == state {
			n++
		}
	}
	return n
}

// Run looks at everything, and with remove removes what was found, unless the
// instance runs.
func Run(ctx context.Context, cfg Config, remove bool) *Report {
	r := &Report{Instance: cfg.Name, Running: []string{}, Items: []*Item{}}
	// The connections are kept until what was found has been removed.
	for _, open := range []func(context.Context, Config, *Report) func(){openPostgres, openNATS, openRedis} {
		defer open(ctx, cfg, r)()
	}
	if !remove || len(r.Running) > 0 {
		return r
	}
	for _, i := range slices.SortedStableFunc(slices.Values(r.Items), byOrder) {
		if i.State != Found {
			continue
		}
		within, cancel := context.WithTimeout(ctx, patience)
		err := i.remove(within)
		cancel()
		switch {
		case err != nil:
			i.State, i.Note = Failed, err.Error()
		case i.State == Found:
			i.State = Removed
		}
	}
	return r
}

// byOrder puts the embedded server's folder last: its streams go before.
func byOrder(a, b *Item) int { return cmp.Compare(rank(a), rank(b)) }

func rank(i *Item) int {
	if i.Kind == "folder" {
		return 1
	}
	return 0
}

func (r *Report) add(i *Item) { r.Items = append(r.Items, i) }

// unreachable notes a server that cannot be asked.
func (r *Report) unreachable(where string, err error) {
	r.add(&Item{Where: where, Kind: "server", State: Failed, Note: err.Error()})
}

func nothing() {}
