package stream

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	defaultListen   = "127.0.0.1:4222"
	defaultStoreDir = "./freshet-data"
	defaultMaxAge   = 24 * time.Hour
	defaultMaxBytes = 1 << 30
)

// Config says how to reach NATS and what the streams look like.
type Config struct {
	// Name is the instance's name, part of every subject and stream name.
	// Required: letters, digits, "_" and "-".
	Name string
	// URL is one NATS URL, or several with commas between them. Empty: start
	// an embedded server.
	URL string
	// Credentials is the path of a .creds file. Empty: none.
	Credentials string
	// User and Password log in. Empty: none.
	User, Password string
	// Token logs in. Empty: none.
	Token string
	// NKeySeedFile is the path of a file with an NKey seed. Empty: none.
	NKeySeedFile string
	// CA is the path of a PEM file with the authorities to trust. Empty: the
	// system's.
	CA string
	// Cert and Key are the paths of the client's TLS certificate and key.
	// Empty: none.
	Cert, Key string
	// Embedded configures the embedded server, used when URL is empty.
	Embedded EmbeddedConfig
	// Replicas is the number of copies of every stream and of the bucket.
	// Defaults to 1.
	Replicas int
	// MaxAge is how long the change stream keeps messages. Defaults to 24h.
	MaxAge time.Duration
	// MaxBytes is how much the change stream keeps. Defaults to 1 GiB.
	MaxBytes int64
	// ClientName is the connection's name, shown by NATS monitoring. Defaults
	// to "freshet-<name>".
	ClientName string
	// OnRefused, if set, is called when the server refuses our user a subject that
	// Freshet cannot do without. It must not block.
	OnRefused func(*PermissionError)
	// Logger gets state changes of the connection, and events. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// EmbeddedConfig configures the embedded server.
type EmbeddedConfig struct {
	// Listen is the host:port of the TCP listener, on loopback because the
	// server asks nobody for a password. Port -1 or 0 takes any free one.
	// Defaults to 127.0.0.1:4222.
	Listen string
	// StoreDir is the folder of the streams' files; one server at a time uses
	// it. Defaults to ./freshet-data.
	StoreDir string
	// SyncAlways makes the server sync to disk before it acknowledges; slower,
	// and needed by confirm: published.
	SyncAlways bool
}

// withDefaults returns the configuration with zero values replaced, or every
// error in it.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("name: is required"))
	}
	for _, r := range c.Name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-') {
			errs = append(errs, fmt.Errorf("name: %q may hold letters, digits, _ and - only", c.Name))
			break
		}
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("stream.replicas: %d is not between 1 and 5", c.Replicas))
	}
	if c.MaxAge == 0 {
		c.MaxAge = defaultMaxAge
	}
	if c.MaxAge < time.Second {
		errs = append(errs, fmt.Errorf("stream.max_age: %s is less than a second", c.MaxAge))
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.MaxBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("stream.max_bytes: %d is less than 1 MiB", c.MaxBytes))
	}
	if c.ClientName == "" {
		c.ClientName = "freshet-" + c.Name
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, errors.New("tls: cert and key belong together"))
	}
	if c.URL == "" {
		if c.Embedded.Listen == "" {
			c.Embedded.Listen = defaultListen
		}
		if c.Embedded.StoreDir == "" {
			c.Embedded.StoreDir = defaultStoreDir
		}
		if _, _, err := c.Embedded.address(); err != nil {
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
}

// address splits Listen and insists on loopback.
func (e EmbeddedConfig) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(e.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("embedded.listen: %q: want host:port", e.Listen)
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < -1 || port > 65535 {
		return "", 0, fmt.Errorf("embedded.listen: %q: %q is not a port", e.Listen, text)
	}
	if port == 0 {
		port = -1
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("embedded.listen: %q is not a loopback address; the embedded server asks nobody for a password, so run a nats-server with accounts and set nats.url to reach it over a network", e.Listen)
	}
	return host, port, nil
}

func (c Config) subjects() cdc.Subjects { return cdc.Subjects{Name: c.Name} }

func (c Config) streamName() string { return "freshet-" + c.Name }
func (c Config) eventsName() string { return "freshet-" + c.Name + "-events" }
func (c Config) deadName() string   { return "freshet-" + c.Name + "-dead" }
func (c Config) warmName() string   { return "freshet-" + c.Name + "-warm" }
func (c Config) bucketName() string { return "freshet-" + c.Name }
