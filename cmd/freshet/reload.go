package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
)

// validateTime bounds how long a new configuration is looked at: Postgres, which
// has the schema, may be away.
const validateTime = 30 * time.Second

// reloadable runs the service, and runs it anew with what its file says then when it
// is told to: by SIGHUP, or by the control verb reload. A file that is wrong, or does
// not fit the database, changes nothing. Beginning again is what the service can do
// at any time: the position is in Redis, the publication is made to follow, and
// coverage that changed is flushed.
type reloadable struct {
	load     func() (service.Config, error)
	requests chan chan error // unbuffered
}

func newReloadable(load func() (service.Config, error)) *reloadable {
	return &reloadable{load: load, requests: make(chan chan error)}
}

// reload asks for it and says whether the new configuration is taken.
func (r *reloadable) reload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case r.requests <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run runs until ctx ends or the service ends by itself.
func (r *reloadable) run(ctx context.Context, cfg service.Config) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	var before *service.Config // what ran before cfg, until cfg has started
	for {
		started := make(chan service.Running, 1)
		cfg.OnStarted = func(running service.Running) {
			cfg.Logger.Info("freshet runs", "version", buildVersion(), "http", running.HTTP, "nats", running.NATS)
			started <- running
		}
		cfg.Reload = r.reload
		one, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- service.Run(one, cfg) }()
		next, err := r.until(ctx, cfg, hangups, started, ended, &before)
		stop()
		if next == nil && before != nil && err != nil && ctx.Err() == nil {
			cfg.Logger.Error("the service does not run with the new configuration; going on with the one before", "error", err)
			next, before = before, nil
		} else if next == nil {
			return err
		} else {
			if err := <-ended; err != nil {
				cfg.Logger.Warn("the service did not stop well before the new configuration", "error", err)
			}
			old := cfg
			before = &old
		}
		cfg = *next
	}
}

// until returns the configuration to go on with, when one is taken, or how the
// service has ended.
func (r *reloadable) until(
	ctx context.Context, cfg service.Config, hangups <-chan os.Signal, started <-chan service.Running, ended <-chan error, before **service.Config,
) (*service.Config, error) {
	var running service.Running
	for {
		var answer chan error
		select {
		case err := <-ended:
			return nil, err
		case running = <-started:
			*before = nil
			continue
		case <-hangups:
			answer = make(chan error, 1)
		case answer = <-r.requests:
		}
		next, err := r.take(ctx)
		answer <- err
		if err == nil {
			cfg.Logger.Info("the configuration has been read again; beginning with it")
			return &next, nil
		}
		if running.Stream == nil {
			cfg.Logger.Error("the configuration was not taken; nothing has changed", "error", err)
			continue
		}
		running.Stream.Emit(stream.Event{ // which is logged
			Kind: "reload_failed", Role: "control", Message: "the configuration was not taken, and nothing has changed: " + err.Error(),
		})
	}
}

// take reads the file and sees whether it could be run with.
func (r *reloadable) take(ctx context.Context) (service.Config, error) {
	next, err := r.load()
	if err != nil {
		return next, err
	}
	ctx, cancel := context.WithTimeout(ctx, validateTime)
	defer cancel()
	if err := service.Validate(ctx, next); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return next, fmt.Errorf("postgres did not answer for %s: %w", validateTime, err)
		}
		return next, err
	}
	return next, nil
}
