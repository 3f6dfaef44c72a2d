package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/freshet-dev/freshet/internal/rule"
)

// File is a configuration, with defaults filled in and secrets read.
type File struct {
	// Path is the file that it was read from.
	Path string
	// Name is the instance's name: letters, digits, "_" and "-".
	Name        string
	Postgres    Postgres
	NATS        NATS
	Cache       Cache
	HTTP        HTTP
	Invalidator Invalidator
	Warmer      Warmer
	Verify      Verify
	Rules       []rule.Config

	document *document
}

// Postgres is the database to follow.
type Postgres struct {
	URL          string        // a URL or keywords and values; with the password that was given apart, if any
	Slot         string        // defaults to freshet_<name>
	Publication  string        // defaults to freshet_<name>
	Manage       bool          // create and alter publication and slot; defaults to true
	Confirm      string        // applied or published; defaults to applied
	MaxWAL       int64         // bytes; defaults to 8 GiB
	Heartbeat    time.Duration // defaults to 10s
	MarkInterval time.Duration // defaults to 100ms
	Chunk        int           // rows per message at most; defaults to 256
}

// NATS is the server that carries the changes.
type NATS struct {
	URL         string // one URL, or several with commas between them; empty: an embedded server
	Credentials string // .creds file
	User        string
	Password    string
	Token       string
	NKey        string // file with an NKey seed
	TLS         TLS
	Embedded    Embedded
	Stream      Stream
}

// TLS holds the paths of PEM files.
type TLS struct{ CA, Cert, Key string }

// Embedded is the embedded NATS server.
type Embedded struct {
	Listen   string // defaults to 127.0.0.1:4222
	StoreDir string // defaults to ./freshet-data
}

// Stream is the change stream.
type Stream struct {
	Replicas int           // defaults to 1
	MaxAge   time.Duration // defaults to 24h
	MaxBytes int64         // defaults to 1 GiB
}

// Cache is the Redis to keep fresh.
type Cache struct {
	URL    string // empty is refused by run
	Prefix string // what the application's cache puts before every key; defaults to none
}

// HTTP is the server of health, metrics, status and dashboard.
type HTTP struct {
	Listen   string        // defaults to 127.0.0.1:8080; empty: off
	ReadyLag time.Duration // defaults to 30s
}

// Invalidator configures the worker that removes keys.
type Invalidator struct {
	Batch     int     // messages; defaults to 1000
	Bulk      int64   // rows of one transaction; defaults to 1,000,000
	ScanShare float64 // of Redis' time; defaults to 0.2
	FlushRate int     // keys a second; defaults to 20,000
}

// Warmer configures the worker that refills keys.
type Warmer struct {
	Rate        int           // queries a second; defaults to 200
	Concurrency int           // defaults to 8
	Timeout     time.Duration // of a query; defaults to 5s
}

// Verify configures the comparison of cached values in the running service.
type Verify struct {
	Rate int // keys a second; defaults to 0: off
}

// String names the file. The configuration holds secrets and is not printed.
func (f *File) String() string { return "configuration of " + f.Name + " in " + f.Path }

// LogValue is what String returns.
func (f *File) LogValue() slog.Value { return slog.StringValue(f.String()) }

// Load reads a configuration file. The error is an Errors with every mistake.
func Load(path string, env Env) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Errors{unreadable(path, err)}
	}
	return read(path, data, env)
}

// LoadClient reads what a client of a running instance needs of a configuration
// file, its name and the nats section, and passes over the rest: the machine that it
// runs on need not have the other servers' secrets.
func LoadClient(path string, env Env) (*File, error) { return loadSections(path, env, "name", "nats") }

// LoadHTTP reads where a service answers over HTTP, and passes over the rest.
func LoadHTTP(path string, env Env) (*File, error) { return loadSections(path, env, "name", "http") }

func loadSections(path string, env Env, only ...string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Errors{unreadable(path, err)}
	}
	return read(path, data, env, only...)
}

// unreadable says what to do about a file that cannot be read.
func unreadable(path string, err error) *Error {
	e := &Error{File: path, Message: "cannot read the configuration"}
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Message = "there is no such file"
		e.Remedy = "write one with `freshet init`, copy deploy/freshet.yaml, or name another with -c FILE or $FRESHET_CONFIG"
	case errors.Is(err, fs.ErrPermission):
		e.Message = "no permission to read the configuration"
		e.Remedy = "make it readable for the user that runs freshet"
	default:
		e.Message = fmt.Sprintf("cannot read the configuration: %v", err)
		e.Remedy = "name a file with -c FILE or $FRESHET_CONFIG"
	}
	return e
}

// Compile compiles the rules against a schema; nil checks the syntax only. The
// error is an Errors that points into the file.
func (f *File) Compile(schema rule.Schema) (*rule.Set, error) {
	set, err := rule.Compile(f.Rules, schema)
	var mistakes rule.Errors
	if errors.As(err, &mistakes) {
		return nil, f.document.locate(mistakes)
	}
	return set, err
}

// Warnings returns what a compiled set warns of, as errors that point into the
// file.
func (f *File) Warnings(set *rule.Set) Errors { return f.document.locate(set.Warnings()) }
