package config

import (
	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
	"github.com/freshet-dev/freshet/warmer"
)

// StreamConfig returns the configuration of the NATS connection and streams.
func (f *File) StreamConfig() stream.Config {
	n := f.NATS
	return stream.Config{
		Name: f.Name, URL: n.URL,
		Credentials: n.Credentials, User: n.User, Password: n.Password, Token: n.Token, NKeySeedFile: n.NKey,
		CA: n.TLS.CA, Cert: n.TLS.Cert, Key: n.TLS.Key,
		Embedded: stream.EmbeddedConfig{
			Listen: n.Embedded.Listen, StoreDir: n.Embedded.StoreDir,
			// Only what is on disk may be forgotten by Postgres.
			SyncAlways: f.Postgres.Confirm == consumer.Published.String(),
		},
		Replicas: n.Stream.Replicas, MaxAge: n.Stream.MaxAge, MaxBytes: n.Stream.MaxBytes,
	}
}

// ConsumerConfig returns the configuration of the consumer, publishing what
// the rules need.
func (f *File) ConsumerConfig(needs []rule.Need) consumer.Config {
	p := f.Postgres
	cfg := consumer.Config{
		Name: f.Name, URL: p.URL, Slot: p.Slot, Publication: p.Publication, Manage: p.Manage,
		MaxWAL: p.MaxWAL, Heartbeat: p.Heartbeat, MarkInterval: p.MarkInterval, Chunk: p.Chunk,
	}
	if p.Confirm == consumer.Published.String() {
		cfg.Confirm = consumer.Published
	}
	for _, need := range needs {
		bulk := need.Bulk
		if bulk == 0 {
			bulk = f.Invalidator.Bulk
		}
		cfg.Tables = append(cfg.Tables, consumer.Table{
			Schema: need.Table.Schema, Name: need.Table.Table,
			Columns: need.Columns, All: need.All, Ops: need.Ops, Bulk: bulk,
		})
	}
	return cfg
}

// InvalidatorConfig returns the configuration of the invalidator.
func (f *File) InvalidatorConfig() invalidator.Config {
	return invalidator.Config{
		Name: f.Name, Prefix: f.Cache.Prefix, Batch: f.Invalidator.Batch, Bulk: f.Invalidator.Bulk, FlushRate: f.Invalidator.FlushRate,
	}
}

// WarmerConfig returns the configuration of the warmer.
func (f *File) WarmerConfig() warmer.Config {
	return warmer.Config{Name: f.Name, Rate: f.Warmer.Rate, Concurrency: f.Warmer.Concurrency, Timeout: f.Warmer.Timeout}
}

// ApplierConfig returns how invalidations are applied to the cache.
func (f *File) ApplierConfig() cache.ApplierConfig {
	return cache.ApplierConfig{Name: f.Name, Prefix: f.Cache.Prefix, ScanShare: f.Invalidator.ScanShare}
}

// MonitorConfig returns the configuration of the HTTP server.
func (f *File) MonitorConfig() monitor.Config { return monitor.Config{Listen: f.HTTP.Listen} }
