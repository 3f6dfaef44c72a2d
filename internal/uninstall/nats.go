package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/stream"
)

// listening is how long to listen for processes of the instance: each speaks once
// a second, on a busy machine a little later.
const listening = 2200 * time.Millisecond

// openNATS looks for streams and bucket, and listens for processes.
func openNATS(ctx context.Context, cfg Config, r *Report) (done func()) {
	embedded := cfg.Stream.URL == ""
	if embedded {
		if _, err := os.Stat(cfg.Stream.Embedded.StoreDir); errors.Is(err, fs.ErrNotExist) {
			return nothing // and it would be made by starting the server
		}
		cfg.Stream.Embedded.Listen = "127.0.0.1:-1" // nobody is to come
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, err := stream.Attach(within, cfg.Stream)
	if errors.Is(err, stream.ErrInUse) {
		r.Running = append(r.Running, err.Error())
		return nothing
	}
	if err != nil {
		r.unreachable("nats", err)
		return nothing
	}
	done = func() { _ = s.Close() } // what was to be done is done
	found, err := s.Belongings(within)
	if err != nil {
		r.unreachable("nats", err)
		return done
	}
	for _, b := range found {
		r.add(streamItem(s, b))
	}
	if err := r.disown(within, s, cfg); err != nil {
		r.unreachable("nats", err)
		return done
	}
	if embedded {
		r.add(folderItem(s))
		return done // its lock says that nobody else has it
	}
	running, err := processes(within, s.Conn(), cfg.Name)
	if err != nil {
		r.unreachable("nats", err)
	}
	r.Running = append(r.Running, running...)
	return done
}

// disown leaves slot and publication where the instance's consumer has no record
// of the slot: by their names they may be another's, as shop-eu and shop_eu name
// the same ones.
func (r *Report) disown(ctx context.Context, s *stream.Stream, cfg Config) error {
	var evidence struct{ Slot string }
	kv, err := s.JetStream().KeyValue(ctx, "freshet-"+cfg.Name)
	if err == nil {
		var entry jetstream.KeyValueEntry
		if entry, err = kv.Get(ctx, "evidence"); err == nil {
			err = json.Unmarshal(entry.Value(), &evidence)
		}
	}
	if err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return fmt.Errorf("look for the record of the slot: %w", err)
	}
	if evidence.Slot == cfg.Slot {
		return nil
	}
	for _, i := range r.Items {
		if i.Where != "postgres" || i.State != Found {
			continue
		}
		i.State, i.Note = Left, "the instance has no record of having read slot "+cfg.Slot+": perhaps another's"
		if i.Kind == "slot" {
			i.SQL = catalog.DropSlotSQL(i.Name)
		} else {
			i.SQL = catalog.DropPublicationSQL(i.Name)
		}
	}
	return nil
}

func streamItem(s *stream.Stream, b stream.Belonging) *Item {
	i := &Item{Where: "nats", Kind: "stream", Name: b.Name, State: Found, Note: fmt.Sprintf("%d messages, %d MB", b.Messages, b.Bytes>>20)}
	i.remove = func(ctx context.Context) error { return s.Remove(ctx, b) }
	if bucket, ok := strings.CutPrefix(b.Name, "KV_"); ok {
		i.Kind, i.Name = "bucket", bucket
	}
	return i
}

func folderItem(s *stream.Stream) *Item {
	i := &Item{Where: "nats", Kind: "folder", Name: s.Store(), State: Found, Note: "of the embedded server"}
	i.remove = func(ctx context.Context) error {
		kept, err := s.Discard(ctx)
		if len(kept) > 0 {
			i.State, i.Note = Left, "holds streams of others: "+strings.Join(kept, ", ")
		}
		return err
	}
	return i
}

// processes says which processes of the instance are heard.
func processes(ctx context.Context, conn *nats.Conn, name string) ([]string, error) {
	sub, err := conn.SubscribeSync("freshet." + name + ".status.*.*")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // ends with the connection
	ctx, cancel := context.WithTimeout(ctx, listening)
	defer cancel()
	var heard []string
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = nil // it was quiet until the time was over
			}
			return heard, err
		}
		var part struct{ Role, ID string }
		if json.Unmarshal(msg.Data, &part) != nil {
			continue // not of ours
		}
		if said := part.Role + " " + part.ID + " reports its status"; !slices.Contains(heard, said) {
			heard = append(heard, said)
		}
	}
}
