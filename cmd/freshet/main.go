// Command freshet keeps caches fresh from the database itself: it reads
// Postgres' logical replication stream, publishes committed row changes to
// NATS JetStream, and removes the cache keys that depended on them from Redis.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, cancel := signalContext()
	defer cancel()
	redis.SetLogger(silence{}) // what its pool says is returned as an error as well
	root := newRootCommand()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var silent *silentError
	if !errors.As(err, &silent) {
		fmt.Fprintf(os.Stderr, "freshet: %v\n", err)
	}
	return exitStatus(err)
}

// silence is a logger for libraries that write to standard error unasked.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// signalContext ends the context on the first SIGINT or SIGTERM, for a
// graceful stop; a second signal ends the process at once.
func signalContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2) // 2: the second signal must not be dropped while the first is handled
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitFailed)
	}()
	return ctx, cancel
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "freshet",
		Short: "Keeps caches fresh from the database itself",
		Long: `Freshet reads Postgres' logical replication stream, publishes committed row
changes to NATS JetStream, and removes the cache keys that depended on them
from Redis.`,
		Example: `  freshet demo                    see it work, with servers of its own
  freshet check -c freshet.yaml   is everything in place?
  freshet run -c freshet.yaml     the service`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			message := fmt.Sprintf("unknown command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				message += fmt.Sprintf("; did you mean %q?", near[0])
			}
			return usageErrorf("%s\nRun `freshet --help` for the commands", message)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageErrorf("%w\nRun `%s --help` for its flags", err, cmd.CommandPath())
	})
	root.AddCommand(
		newDemoCommand(),
		newInitCommand(),
		newRunCommand(),
		newCheckCommand(),
		newExplainCommand(),
		newHealthCommand(),
		newStatusCommand(),
		newTopCommand(),
		newTailCommand(),
		newInvalidateCommand(),
		newReplayCommand(),
		newVerifyCommand(),
		newPauseCommand(),
		newResumeCommand(),
		newReloadCommand(),
		newUninstallCommand(),
		newVersionCommand(),
	)
	return root
}
