// Command freshet-bench measures the pipeline on servers of its own: how fast
// a backlog drains, how long a key outlives the commit that changed it, what
// warming costs, and how much memory each role takes.
// It prints tables and writes them to bench/results/.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "freshet-bench: %v\n", err)
		cancel()
		os.Exit(1) //nolint:gocritic // the deferred cancel has just been called
	}
}

// startProfile begins a CPU profile, which the end of the command completes.
func startProfile(path string) error {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(file)
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "freshet-bench",
		Short:         "Measure Freshet on servers of its own",
		Example:       "  freshet-bench drain --rows 500000 --rounds 3\n  freshet-bench latency --rate 1000 --for 10s\n  freshet-bench warm --rate 200",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	profile := root.PersistentFlags().String("cpuprofile", "", "`FILE` for a CPU profile of the whole run; empty for none")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return startProfile(*profile) }
	root.PersistentPostRun = func(*cobra.Command, []string) { pprof.StopCPUProfile() }
	results := root.PersistentFlags().String("results", "bench/results", "`FOLDER` that results are written to; empty for none")

	drain := drainOptions{}
	drainCommand := &cobra.Command{
		Use:   "drain",
		Short: "Drain a backlog: rows a second up to JetStream, and up to Redis",
		Long: `Writes a backlog (two fifths of the rows in transactions of one row, the rest in
three large ones) while nothing reads it, then drains it several ways, interleaved:
with a loop on pglogrepl that drops what it receives (the baseline), with the
consumer into JetStream, with the invalidator from there into Redis, and with
both at once.`,
		Example: "  freshet-bench drain --rows 500000 --rounds 3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return drain.run(cmd.Context(), cmd.OutOrStdout(), *results)
		},
	}
	drainCommand.Flags().IntVar(&drain.rows, "rows", 500_000, "rows in the backlog")
	drainCommand.Flags().StringVar(&drain.identity, "identity", "full", "replica `IDENTITY` of the table: full or default")
	drainCommand.Flags().IntVar(&drain.rounds, "rounds", 3, "rounds; the median is reported")

	latency := latencyOptions{}
	latencyCommand := &cobra.Command{
		Use:     "latency",
		Short:   "Commit at a steady rate: time from commit to removed key",
		Example: "  freshet-bench latency --rate 1000 --for 10s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return latency.run(cmd.Context(), cmd.OutOrStdout(), *results)
		},
	}
	latencyCommand.Flags().IntVar(&latency.rate, "rate", 1000, "commits a second")
	latencyCommand.Flags().DurationVar(&latency.length, "for", 10*time.Second, "length of a round")
	latencyCommand.Flags().IntVar(&latency.rounds, "rounds", 3, "rounds; the median is reported")

	warm := warmOptions{}
	warmCommand := &cobra.Command{
		Use:   "warm",
		Short: "Hammer warm keys: queries a second, and what warming costs the invalidation",
		Long: `Updates a few rows at a steady rate each, whose keys readers keep putting back: with
warming switched off, with tasks that nobody takes (as if the warmers were on other
machines), and with a warmer in the process, in turn. It counts the warmer's queries
in any second, and compares the time from commit to removed key.`,
		Example: "  freshet-bench warm --keys 10 --updates 500 --rate 200 --for 10s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return warm.run(cmd.Context(), cmd.OutOrStdout(), *results)
		},
	}
	warmCommand.Flags().IntVar(&warm.keys, "keys", 10, "rows that are updated")
	warmCommand.Flags().IntVar(&warm.updates, "updates", 500, "updates a second of each row")
	warmCommand.Flags().IntVar(&warm.rate, "rate", 200, "the warmers' queries a second")
	warmCommand.Flags().DurationVar(&warm.length, "for", 10*time.Second, "length of a round, once with warming and once without")
	warmCommand.Flags().IntVar(&warm.rounds, "rounds", 5, "rounds; the median is reported")

	memory := memoryOptions{}
	memoryCommand := &cobra.Command{
		Use:   "memory",
		Short: "Peak memory and processor use of a process for each role, under several loads (Linux)",
		Long: `Runs a consumer, an invalidator and a warmer as processes of their own, beside a NATS
server, and puts them under one load after the other: small commits, a large
transaction, a backlog, patterns over all keys, small and large values that are warmed.`,
		Example: "  freshet-bench memory --rows 1000000 --keys 500000 --for 10s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return memory.run(cmd.Context(), cmd.OutOrStdout(), *results)
		},
	}
	memoryCommand.Flags().IntVar(&memory.rows, "rows", 1_000_000, "rows of the table: of the large transaction, and of the backlog")
	memoryCommand.Flags().IntVar(&memory.keys, "keys", 500_000, "cached keys of each kind")
	memoryCommand.Flags().DurationVar(&memory.length, "for", 10*time.Second, "length of a steady load")

	root.AddCommand(drainCommand, latencyCommand, warmCommand, memoryCommand)
	return root
}
