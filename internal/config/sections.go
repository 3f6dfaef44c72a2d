package config

import (
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	validSlot = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
)

// read decodes a file's content: all of it, or only the sections that are named.
func read(path string, data []byte, env Env, only ...string) (*File, error) {
	doc, syntax := parse(path, data)
	if syntax != nil {
		return nil, Errors{syntax}
	}
	f := defaults()
	f.Path, f.document = path, doc
	d := &decoder{document: doc, env: env}
	d.file(f, only)
	d.ruleSyntax(f.Rules)
	if len(d.errs) > 0 {
		d.errs.sort()
		return nil, d.errs
	}
	return f, nil
}

// defaults is what a file that says nothing means.
func defaults() *File {
	return &File{
		Postgres: Postgres{Manage: true, Confirm: "applied", MaxWAL: 8 << 30, Heartbeat: 10 * time.Second, MarkInterval: 100 * time.Millisecond, Chunk: 256},
		NATS: NATS{
			Embedded: Embedded{Listen: "127.0.0.1:4222", StoreDir: "./freshet-data"},
			Stream:   Stream{Replicas: 1, MaxAge: 24 * time.Hour, MaxBytes: 1 << 30},
		},
		HTTP:        HTTP{Listen: "127.0.0.1:8080", ReadyLag: 30 * time.Second},
		Invalidator: Invalidator{Batch: 1000, Bulk: 1_000_000, ScanShare: 0.2, FlushRate: 20_000},
		Warmer:      Warmer{Rate: 200, Concurrency: 8, Timeout: 5 * time.Second},
	}
}

// keys are those of the whole file.
func (d *decoder) keys(f *File) []field {
	return []field{
		d.text("name", &f.Name, checkName).needed(),
		d.section("postgres", d.postgres(&f.Postgres)),
		d.section("nats", d.nats(&f.NATS)),
		d.section("cache", d.cache(&f.Cache)),
		d.section("http", d.http(&f.HTTP)),
		d.section("invalidator", []field{
			d.integer("batch", &f.Invalidator.Batch, 1_000_000),
			d.count("bulk", &f.Invalidator.Bulk),
			d.share("scan_share", &f.Invalidator.ScanShare),
			d.rate("flush_rate", &f.Invalidator.FlushRate),
		}),
		d.section("warmer", []field{
			d.rate("rate", &f.Warmer.Rate),
			d.integer("concurrency", &f.Warmer.Concurrency, 10_000),
			d.duration("timeout", &f.Warmer.Timeout),
		}),
		d.section("verify", []field{d.rate("rate", &f.Verify.Rate)}),
		d.rules("rules", &f.Rules).needed(),
	}
}

func (d *decoder) file(f *File, only []string) {
	fields := d.keys(f)
	for i := range fields {
		if len(only) > 0 && !slices.Contains(only, fields[i].name) {
			fields[i].decode = func(string, ast.Node) {}
		}
	}
	d.mapping("", d.root, fields...)
	if _, list := d.root.(*ast.SequenceNode); list {
		return
	}
	if _, given := d.spots["name"]; !given || d.scalars["name"] == nil {
		d.fail(&Error{File: d.document.file, Path: "name", Message: "the instance has no name", Remedy: "add a line such as name: shop"})
	}
	if len(only) > 0 {
		return
	}
	if _, given := d.spots["rules"]; !given || len(f.Rules) == 0 && len(d.errs) == 0 {
		d.fail(&Error{File: d.document.file, Path: "rules", Message: "there are no rules", Remedy: "add at least one, with table and invalidate"})
	}
	if f.Postgres.Slot == "" {
		f.Postgres.Slot = defaultSlot(f.Name)
	}
	if f.Postgres.Publication == "" {
		f.Postgres.Publication = defaultSlot(f.Name)
	}
}

// section is a key whose value is a mapping.
func (d *decoder) section(name string, fields []field) field {
	return field{
		name: name, shape: shape{kind: kindSection, fields: fields},
		decode: func(path string, n ast.Node) { d.mapping(path, n, fields...) },
	}
}

func (d *decoder) postgres(p *Postgres) []field {
	return append(d.secretURL(&p.URL, checkPostgresURL, setPostgresPassword),
		d.text("slot", &p.Slot, func(text string) (want, remedy string) {
			if !validSlot.MatchString(text) {
				return "at most 63 lower case letters, digits and _", ""
			}
			return "", ""
		}),
		d.text("publication", &p.Publication, func(text string) (want, remedy string) {
			if text == "" || len(text) > 63 {
				return "1 to 63 bytes", ""
			}
			return "", ""
		}),
		d.boolean("manage", &p.Manage),
		d.word("confirm", &p.Confirm, "applied", "published"),
		d.size("max_wal", &p.MaxWAL),
		d.duration("heartbeat", &p.Heartbeat),
		d.duration("mark_interval", &p.MarkInterval),
		d.integer("chunk", &p.Chunk, math.MaxInt16),
	)
}

func (d *decoder) nats(c *NATS) []field {
	fields := []field{
		d.secretText("url", &c.URL, checkNATSURL),
		d.text("credentials", &c.Credentials, nil),
		d.text("user", &c.User, nil),
	}
	fields = append(fields, d.secret("password", &c.Password)...)
	fields = append(fields, d.secret("token", &c.Token)...)
	return append(fields,
		d.text("nkey", &c.NKey, nil),
		d.section("tls", []field{d.text("ca", &c.TLS.CA, nil), d.text("cert", &c.TLS.Cert, nil), d.text("key", &c.TLS.Key, nil)}),
		d.section("embedded", []field{d.text("listen", &c.Embedded.Listen, checkListen(false)), d.text("store_dir", &c.Embedded.StoreDir, checkPath)}),
		d.section("stream", []field{
			d.integer("replicas", &c.Stream.Replicas, 5),
			d.duration("max_age", &c.Stream.MaxAge),
			d.size("max_bytes", &c.Stream.MaxBytes),
		}),
	)
}

func (d *decoder) cache(c *Cache) []field {
	return append(d.secretURL(&c.URL, checkCacheURL, setCachePassword), d.text("prefix", &c.Prefix, nil))
}

func (d *decoder) http(h *HTTP) []field {
	return []field{d.text("listen", &h.Listen, checkListen(true)), d.duration("ready_lag", &h.ReadyLag)}
}

func checkName(text string) (want, remedy string) {
	if !validName.MatchString(text) {
		return "letters, digits, _ and -", ""
	}
	return "", ""
}

func checkPath(text string) (want, remedy string) {
	if text == "" {
		return "a path", ""
	}
	return "", ""
}

func checkListen(off bool) func(string) (want, remedy string) {
	return func(text string) (want, remedy string) {
		if text == "" && off {
			return "", ""
		}
		_, port, err := net.SplitHostPort(text)
		n, notNumber := strconv.Atoi(port)
		if err != nil || notNumber != nil || n < -1 || n > math.MaxUint16 {
			return "an address with a port", "for example 127.0.0.1:8080"
		}
		return "", ""
	}
}

// defaultSlot makes a name that a replication slot may have.
func defaultSlot(name string) string {
	slot := []byte("freshet_" + strings.ToLower(name))
	for i, c := range slot {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			slot[i] = '_'
		}
	}
	return string(slot[:min(len(slot), 63)])
}
