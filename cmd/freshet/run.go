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
their work, and one rate limit.`,
		Example: "  freshet run -c freshet.yaml\n  freshet run -c freshet.yaml --roles invalidator",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, role := range roles {
				if !slices.Contains(service.Roles(), role) {
					return usageErrorf("--roles %q: want some of %s", role, strings.Join(service.Roles(), ","))
				}
			}
			cfg, err := loadService(path, newLogger(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if len(roles) > 0 && len(roles) < len(service.Roles()) && cfg.Stream.URL == "" {
				return usageErrorf("--roles %s: roles in processes of their own meet on a NATS server; set nats.url", strings.Join(roles, ","))
			}
			cfg.Roles = roles
			cfg.OnStarted = func(r service.Running) {
				cfg.Logger.Info("freshet runs", "version", version, "http", r.HTTP, "nats", r.NATS)
			}
			return service.Run(cmd.Context(), cfg)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringSliceVar(&roles, "roles", nil, "`ROLES` to run, separated by commas (default all): "+strings.Join(service.Roles(), ","))
	return cmd
}
