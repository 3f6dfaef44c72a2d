package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// leastPayload is the smallest max_payload with which wide rows still travel.
const leastPayload = 64 << 10

// natsCheck checks the NATS server, or that an embedded one can start.
type natsCheck struct {
	cfg    stream.Config
	maxWAL int64 // how much WAL Postgres keeps for what the stream cannot take
	section
}

func (c *natsCheck) run(ctx context.Context) {
	c.limits()
	url := c.cfg.URL
	if url == "" {
		if url = c.embedded(ctx); url == "" {
			return
		}
	}
	options, err := natsOptions(c.cfg)
	if err != nil {
		c.fail("connection", oneLine(err), "mend nats in the configuration")
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	options = append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if refused := stream.Refusal(err); refused != nil {
			cancel(refused) // what was asked is not answered
		}
	}))
	nc, err := nats.Connect(url, options...)
	if err != nil {
		c.fail("connection", oneLine(withoutURL(err)), natsRemedy(err))
		return
	}
	defer nc.Close()
	c.server(nc)
	c.replicas(nc.ConnectedClusterName())
	js, err := jetstream.New(nc)
	if err != nil {
		c.fail("jetstream", err.Error(), "")
		return
	}
	c.jetStream(ctx, js)
}

// natsOptions says how to connect once, without trying again.
func natsOptions(cfg stream.Config) ([]nats.Option, error) {
	options := []nats.Option{nats.Name("freshet check"), nats.Timeout(connectTimeout), nats.NoReconnect()}
	if cfg.Credentials != "" {
		options = append(options, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.User != "" {
		options = append(options, nats.UserInfo(cfg.User, cfg.Password))
	}
	if cfg.Token != "" {
		options = append(options, nats.Token(cfg.Token))
	}
	if cfg.NKeySeedFile != "" {
		option, err := nats.NkeyOptionFromSeed(cfg.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("nats.nkey %q: %w", cfg.NKeySeedFile, err)
		}
		options = append(options, option)
	}
	if cfg.CA != "" {
		options = append(options, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		options = append(options, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	return options, nil
}

func natsRemedy(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return "mend credentials, user and password, token or nkey under nats"
	case errors.Is(err, nats.ErrSecureConnRequired):
		return "the server wants TLS: use a tls:// URL, and nats.tls where it has its own authority"
	case errors.Is(err, nats.ErrNoServers):
		return "see that the server runs and can be reached from here, or mend nats.url"
	}
	return "mend nats in the configuration"
}

// embedded checks that an embedded server can start, or returns the URL of the
// one that a running freshet has started.
func (c *natsCheck) embedded(ctx context.Context) (url string) {
	listen := c.cfg.Embedded.Listen
	if listen == "" {
		listen = "127.0.0.1:4222"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err == nil {
		_ = listener.Close() // only tried
		c.ok("connection", "an embedded server will listen on %s", listen)
		c.replicas("")
		c.store()
		return ""
	}
	nc, natsErr := nats.Connect("nats://"+listen, nats.Name("freshet check"), nats.Timeout(connectTimeout), nats.NoReconnect())
	if natsErr != nil {
		c.fail("connection", fmt.Sprintf("an embedded server cannot listen on %s: %s", listen, oneLine(err)), "choose another address in nats.embedded.listen")
		return ""
	}
	nc.Close()
	return "nats://" + listen
}

// store checks the folder of the embedded server.
func (c *natsCheck) store() {
	dir := c.cfg.Embedded.StoreDir
	if dir == "" {
		dir = "./freshet-data"
	}
	there := dir
	for {
		if _, err := os.Stat(there); err == nil || filepath.Dir(there) == there {
			break
		}
		there = filepath.Dir(there)
	}
	probe, err := os.CreateTemp(there, ".freshet-check-*")
	if err != nil {
		c.fail("storage", fmt.Sprintf("nats.embedded.store_dir %s cannot be written to: %s", dir, oneLine(err)), "make it writable for this user, or choose another")
		return
	}
	_ = probe.Close() // empty
	if err := os.Remove(probe.Name()); err != nil {
		c.warn("storage", "left a file behind: "+err.Error(), "")
	}
	free, known := freeBytes(there)
	switch {
	case !known:
		c.ok("storage", "%s can be written to", dir)
	case free < c.cfg.MaxBytes:
		c.warn("storage", fmt.Sprintf("the disk of %s has %s free, less than nats.stream.max_bytes (%s)", dir, size(free), size(c.cfg.MaxBytes)), "make room, or lower nats.stream.max_bytes")
	default:
		c.ok("storage", "%s can be written to, %s free", dir, size(free))
	}
}

func (c *natsCheck) server(nc *nats.Conn) {
	version := nc.ConnectedServerVersion()
	c.ok("connection", "nats-server %s at %s", version, nc.ConnectedAddr())
	if before(version, 2, 11) {
		c.fail("version", fmt.Sprintf("nats-server %s is older than 2.11", version), "upgrade the server")
	}
	address, err := net.ResolveTCPAddr("tcp", nc.ConnectedAddr())
	_, tlsErr := nc.TLSConnectionState()
	switch {
	case tlsErr == nil:
		c.ok("tls", "the connection is encrypted")
	case err == nil && local(address):
		c.ok("tls", "not encrypted, on this machine")
	default:
		c.warn("tls", "the connection is not encrypted", "let the server offer TLS and use a tls:// URL in nats.url")
	}
	if payload := nc.MaxPayload(); payload < leastPayload {
		c.warn("max_payload", fmt.Sprintf("%s: wider rows invalidate the whole table", size(payload)), "raise max_payload of the server to 1MB")
	} else {
		c.ok("max_payload", "%s", size(payload))
	}
}

func (c *natsCheck) jetStream(ctx context.Context, js jetstream.JetStream) {
	account, err := js.AccountInfo(ctx)
	if c.refused(ctx) {
		return
	}
	if err != nil {
		c.fail("jetstream", oneLine(err), "start the server with JetStream (-js, or a jetstream block in its configuration), and enable it for the account")
		return
	}
	name := "freshet-" + c.cfg.Name
	before := time.Now()
	existing, err := js.Stream(ctx, name)
	after := time.Now()
	if c.refused(ctx) {
		return
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		c.fail("stream", oneLine(err), "give the account the right to create and read streams")
		return
	}
	var held int64 // room in the account that is the stream's already
	if err == nil {
		held = existing.CachedInfo().Config.MaxBytes
		// Only with a stream does the server say what time it is.
		if there := existing.CachedInfo().TimeStamp; !there.IsZero() {
			aboutClock(&c.section, there, before, after)
		}
	}
	c.room(account, held)
	if err != nil {
		c.newStream(ctx, js, name)
		return
	}
	c.existing(existing.CachedInfo())
}

// refused tells what the server refused our user, if that ended ctx.
func (c *natsCheck) refused(ctx context.Context) bool {
	refused := (*stream.PermissionError)(nil)
	if !errors.As(context.Cause(ctx), &refused) {
		return false
	}
	c.fail("rights", fmt.Sprintf("the user may not %s %q", refused.Action, refused.Subject), refused.Remedy())
	return true
}

// leastShare is the smallest part of postgres.max_wal that the stream should be
// able to take before reading pauses: when that much WAL is kept, the changes in
// the stream are what can be confirmed to let go of some.
const leastShare = 32

// limits compares what the stream takes with what Postgres keeps.
func (c *natsCheck) limits() {
	// The consumer stops at half of either, so that nothing is dropped unread.
	room := c.cfg.MaxBytes / 2
	text := fmt.Sprintf("reading pauses when %s of changes, or %s, wait for Redis; Postgres keeps the rest, up to postgres.max_wal (%s)", size(room), c.cfg.MaxAge/2, size(c.maxWAL))
	if room < c.maxWAL/leastShare {
		c.warn("limits", text+": the stream is so small beside it that, with Redis away, max_wal is reached with little to confirm, and a gap is declared at twice as much",
			"raise nats.stream.max_bytes to "+size(2*c.maxWAL/leastShare)+" or more, or lower postgres.max_wal")
		return
	}
	c.ok("limits", "%s", text)
}

// replicas checks the number of replicas against what the server is part of.
func (c *natsCheck) replicas(cluster string) {
	n := max(1, c.cfg.Replicas)
	switch {
	case n > 1 && cluster == "":
		c.fail("replicas", fmt.Sprintf("nats.stream.replicas is %d, and the server is not part of a cluster", n), "set nats.stream.replicas to 1, or nats.url to the servers of a cluster")
	case n == 1 && cluster != "":
		c.warn("replicas", "the stream has one replica in a cluster: while its server is away nothing is published", "set nats.stream.replicas to 3")
	default:
		c.ok("replicas", "%d", n)
	}
}

// room compares the account's limit with what the stream may grow to.
func (c *natsCheck) room(account *jetstream.AccountInfo, held int64) {
	limit := account.Limits.MaxStore
	taken := max(int64(account.Store), int64(account.ReservedStore)) - max(0, held)
	switch free := limit - max(0, taken); {
	case limit < 0:
		c.ok("jetstream", "enabled, no limit on the account's storage, %s used", size(int64(account.Store)))
	case free < c.cfg.MaxBytes:
		c.fail("jetstream", fmt.Sprintf("the account has room for %s, less than nats.stream.max_bytes (%s)", size(max(0, free)), size(c.cfg.MaxBytes)),
			"raise the account's limit, or lower nats.stream.max_bytes")
	default:
		c.ok("jetstream", "enabled, room for %s", size(free))
	}
}

func (c *natsCheck) newStream(ctx context.Context, js jetstream.JetStream, name string) {
	for _, subject := range (cdc.Subjects{Name: c.cfg.Name}).Stream() {
		if other, err := js.StreamNameBySubject(ctx, subject); err == nil && other != name {
			c.fail("stream", fmt.Sprintf("stream %s captures %s already", other, subject),
				fmt.Sprintf("take the subject out with `nats stream edit %s`, or choose another instance name", other))
			return
		}
		if c.refused(ctx) {
			return
		}
	}
	c.ok("stream", "%s will be created, up to %s and %s", name, size(c.cfg.MaxBytes), c.cfg.MaxAge)
}

func (c *natsCheck) existing(info *jetstream.StreamInfo) {
	name, have := info.Config.Name, info.Config
	wrong := ""
	subjects := cdc.Subjects{Name: c.cfg.Name}.Stream()
	switch {
	case !slices.Equal(slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(subjects))):
		wrong = "captures " + strings.Join(have.Subjects, ", ") + " instead of " + strings.Join(subjects, ", ")
	case have.Storage != jetstream.FileStorage:
		wrong = "is not kept in files"
	case have.Retention != jetstream.LimitsPolicy:
		wrong = "does not keep messages by limits alone"
	case have.Mirror != nil || len(have.Sources) > 0:
		wrong = "is fed by other streams"
	case have.SubjectTransform != nil:
		wrong = "transforms subjects"
	case have.Sealed:
		wrong = "is sealed"
	}
	if wrong != "" {
		c.fail("stream", name+" "+wrong, fmt.Sprintf("remove it with `nats stream rm %s`, or choose another instance name", name))
		return
	}
	text := fmt.Sprintf("%s holds %d messages, %s of %s", name, info.State.Msgs, size(int64(info.State.Bytes)), size(have.MaxBytes))
	if have.MaxBytes != c.cfg.MaxBytes || have.MaxAge != c.cfg.MaxAge || have.Replicas != c.cfg.Replicas {
		text += fmt.Sprintf("; it will be set to %s, %s and %d replicas", size(c.cfg.MaxBytes), c.cfg.MaxAge, c.cfg.Replicas)
	}
	c.ok("stream", "%s", text)
}

// before reports whether a version is older than major.minor. One that cannot
// be read is not.
func before(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(version, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
