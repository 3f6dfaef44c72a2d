package main

import (
	"log/slog"
	"os"

	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/service"
)

// loadService reads the configuration file and turns it into what the service
// takes.
func loadService(path string, logger *slog.Logger) (service.Config, error) {
	file, err := loadFile(path)
	if err != nil {
		return service.Config{}, err
	}
	cfg := service.Config{
		PostgresURL: file.Postgres.URL,
		Compile:     file.Compile,
		Stream:      file.StreamConfig(),
		Consumer:    file.ConsumerConfig(nil),
		Invalidator: file.InvalidatorConfig(),
		Warmer:      file.WarmerConfig(),
		Applier:     file.ApplierConfig(),
		CacheURL:    file.Cache.URL,
		HTTP:        file.MonitorConfig(),
		ReadyLag:    file.HTTP.ReadyLag,
		VerifyRate:  file.Verify.Rate,
		Version:     buildVersion(),
		Logger:      logger,
	}
	cfg.Stream.Logger, cfg.Consumer.Logger, cfg.Invalidator.Logger = logger, logger, logger
	cfg.Applier.Logger, cfg.HTTP.Logger, cfg.Warmer.Logger = logger, logger, logger
	return cfg, nil
}

// loadFile reads the configuration file and refuses one that names no Redis.
func loadFile(path string) (*config.File, error) {
	file, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	if file.Cache.URL == "" {
		return nil, usageErrorf("%s: cache.url is empty: a service needs a Redis to keep fresh; set it to a redis:// URL", path)
	}
	return file, nil
}
