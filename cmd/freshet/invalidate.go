package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/service"
)

func newInvalidateCommand() *cobra.Command {
	var flags remoteFlags
	var output string
	var request service.InvalidateRequest
	cmd := &cobra.Command{
		Use:   "invalidate [KEY…]",
		Short: "Remove keys, patterns and tags by hand",
		Long: `Removes cached values through the active invalidator of a running instance: as
safely as a change in the database does, so that no fill under way can store
what it read before, and near caches are told. Names are without the cache's
prefix. Patterns are Redis globs with a literal prefix, and cost a scan.`,
		Example: `  freshet invalidate order:42 orders:client:7
  freshet invalidate --pattern 'dashboard:*' --tag client:7
  freshet invalidate order:42 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			request.Keys = args
			if err := request.Check(); err != nil {
				return usageErrorf("%w\nUsage: %s", err, cmd.UseLine())
			}
			r, err := flags.dial()
			if err != nil {
				return err
			}
			defer r.close()
			var result service.InvalidateResult
			if err := r.ask(cmd.Context(), "invalidate", request, &result); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), result)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "invalidated; %d values were cached\n", result.Removed)
			return err
		},
	}
	flags.add(cmd)
	outputFlag(cmd, &output)
	cmd.Flags().StringArrayVar(&request.Patterns, "pattern", nil, "a `PATTERN` to remove; may be given again")
	cmd.Flags().StringArrayVar(&request.Tags, "tag", nil, "a `TAG` to invalidate; may be given again")
	return cmd
}
