package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var (
		length  time.Duration
		serve   bool
		verbose bool
		output  string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a small shop on servers of its own, checked at the end",
		Long: `Starts a temporary Postgres, an embedded NATS server and a Redis, runs a small
shop on them (writers that only speak SQL, readers that only speak the cache),
shows which rows change, which keys go and how long after the commit, and
compares every cached value with the database at the end.

Exit status 0 only if no cached value was stale. No process and no file is left
behind.`,
		Example: "  freshet demo\n  freshet demo --for 1m\n  freshet demo --serve",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			if length <= 0 {
				return usageErrorf("--for %s: want a length above zero, such as 20s", length)
			}
			options := demo.Options{For: length, Serve: serve, Out: cmd.OutOrStdout(), Colour: colourful(os.Stdout)}
			if asJSON {
				options.Out = nil
			}
			if verbose {
				options.Logger = newLogger(cmd.ErrOrStderr())
			}
			summary, err := demo.Run(cmd.Context(), options)
			if asJSON && (err == nil || errors.Is(err, demo.ErrStale)) {
				err = errors.Join(err, printJSON(cmd.OutOrStdout(), summary))
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&length, "for", 20*time.Second, "`LENGTH` of the traffic")
	cmd.Flags().BoolVar(&serve, "serve", false, "keep running and print the URLs to poke at")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the service's log on standard error")
	outputFlag(cmd, &output)
	return cmd
}
