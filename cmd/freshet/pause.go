package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newPauseCommand() *cobra.Command {
	return switchCommand("pause", "Stop applying changes; the slot keeps everything",
		`Tells all workers of a running instance to apply nothing until resume, also
those that start later. Nothing is lost: changes wait in the stream, and when
that is half full in Postgres. Meanwhile cached values are stale, and reads with
a bound go to the database.`,
		"paused: nothing is applied until `freshet resume`")
}

func newResumeCommand() *cobra.Command {
	return switchCommand("resume", "Go on applying changes after pause",
		"Ends a pause. Everything that was committed meanwhile is applied now.", "resumed")
}

func newReloadCommand() *cobra.Command {
	return switchCommand("reload", "Read the configuration file again",
		`Makes every process of a running instance read its configuration file again and
begin anew with it, as SIGHUP does for one. The process with the active
invalidator is first: a file of its that is wrong changes nothing, and the answer
says why. Of another one's, the event reload_failed says so.`,
		"taken: every process begins anew with its file")
}

func switchCommand(verb, short, long, said string) *cobra.Command {
	var flags remoteFlags
	var output string
	cmd := &cobra.Command{
		Use: verb, Short: short, Long: long,
		Example: "  freshet " + verb + "\n  freshet " + verb + " --nats nats://nats.internal:4222 --name shop",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			r, err := flags.dial()
			if err != nil {
				return err
			}
			defer r.close()
			var result any
			if err := r.ask(cmd.Context(), verb, struct{}{}, &result); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), result)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
			return err
		},
	}
	flags.add(cmd)
	outputFlag(cmd, &output)
	return cmd
}
