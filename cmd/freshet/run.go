package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/service"
)

func newRunCommand() *cobra.Command {
	var (
		path  string
		roles []string
	)
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the service",
		Long: `Runs the service until SIGTERM or SIGINT, then stops within ten seconds with
nothing lost and exit status 0. A second signal ends it at once.

All roles run in one process over an embedded NATS server unless the
configuration names a NATS server. Several processes may run the same role: one
consumer and one invalidator work, the others wait and take over; warmers share
their work, and one rate limit.

SIGHUP, or "freshet reload", reads the file again and begins anew with it: what
the rules need is published, and what other rules cover than before is flushed. A
file that is wrong changes nothing, and the log says why.`,
		Example: "  freshet run -c freshet.yaml\n  freshet run -c freshet.yaml --roles invalidator",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, role := range roles {
				if !slices.Contains(service.Roles(), role) {
					return usageErrorf("--roles %q: want some of %s", role, strings.Join(service.Roles(), ","))
				}
			}
			logger := newLogger(cmd.ErrOrStderr())
			load := func() (service.Config, error) {
				cfg, err := loadService(path, logger)
				if err != nil {
					return cfg, err
				}
				if len(roles) > 0 && len(roles) < len(service.Roles()) && cfg.Stream.URL == "" {
					return cfg, usageErrorf("--roles %s: roles in processes of their own meet on a NATS server; set nats.url", strings.Join(roles, ","))
				}
				cfg.Roles = roles
				return cfg, nil
			}
			cfg, err := load()
			if err != nil {
				return err
			}
			return newReloadable(load).run(cmd.Context(), cfg)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringSliceVar(&roles, "roles", nil, "`ROLES` to run, separated by commas (default all): "+strings.Join(service.Roles(), ","))
	return cmd
}
