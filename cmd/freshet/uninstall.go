package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/uninstall"
)

func newUninstallCommand() *cobra.Command {
	var path, output string
	var yes bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "List what an instance has made on the servers, and remove it",
		Long: `Lists what the instance of the configuration has made: its replication slot and
publication, its NATS streams and bucket (with the embedded server's folder), and
its position, watermark and counter in Redis. With --yes all of it is removed. To
do so again removes nothing more.

Cached values stay until their time to live, and nothing keeps them fresh any
more: stop reading them, or flush them. Leases, tags and the warmers' limit
expire. Roles, replica identities and the configuration file are yours. So are slot
and publication where NATS has no record that the instance has read the slot: two
names, such as shop-eu and shop_eu, give the same one.

Stop every process of the instance first: while one runs, nothing is removed.

Exit status 0 when nothing is in the way, 1 when the instance runs or something
could not be looked at or removed.`,
		Example: `  freshet uninstall -c freshet.yaml          what there is
  freshet uninstall -c freshet.yaml --yes    remove it
  freshet uninstall -o json | jq '.items[] | select(.state == "left")'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			file, err := config.Load(path, os.LookupEnv)
			if err != nil {
				return err
			}
			cfg := uninstall.Config{
				Name: file.Name, PostgresURL: file.Postgres.URL, Slot: file.Postgres.Slot, Publication: file.Postgres.Publication,
				Manage: file.Postgres.Manage, Stream: file.StreamConfig(), CacheURL: file.Cache.URL,
			}
			cfg.Stream.Logger = slog.New(slog.DiscardHandler)
			if cfg.Stream.URL != "" { // an embedded server takes its name from it, and no spaces
				cfg.Stream.ClientName = clientName()
			}
			report := uninstall.Run(cmd.Context(), cfg, yes)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printUninstalled(cmd.OutOrStdout(), report, yes)
			}
			if err != nil {
				return err
			}
			return uninstalled(report)
		},
	}
	configFlag(cmd, &path)
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&yes, "yes", false, "remove what is listed")
	return cmd
}

// uninstalled is the exit status of a report that has been printed.
func uninstalled(r *uninstall.Report) error {
	switch {
	case len(r.Running) > 0:
		return fmt.Errorf("instance %s runs: stop each of its processes (SIGTERM, or what manages the service), then again", r.Instance)
	case r.Count(uninstall.Failed) > 0:
		return fmt.Errorf("%d things could not be looked at or removed: mend what their notes say, then again", r.Count(uninstall.Failed))
	}
	return nil
}

func printUninstalled(out io.Writer, r *uninstall.Report, yes bool) error {
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Items) > 0 {
		fmt.Fprintln(lines, "SERVER\tWHAT\tNAME\tSTATE\tNOTE")
	}
	for _, i := range r.Items {
		fmt.Fprintf(lines, "%s\t%s\t%s\t%s\t%s\n", i.Where, i.Kind, printable(orDash(i.Name)), i.State, printable(strings.Join(strings.Fields(orDash(i.Note)), " ")))
	}
	err := lines.Flush()
	say := func(format string, args ...any) {
		_, failed := fmt.Fprintf(out, format, args...)
		err = errors.Join(err, failed)
	}
	for _, i := range r.Items {
		if i.SQL != "" {
			say("left to you: %s;\n", i.SQL)
		}
	}
	for _, by := range r.Running {
		say("runs: %s\n", printable(by))
	}
	switch {
	case len(r.Items) == 0 && len(r.Running) == 0:
		say("nothing of instance %s is there\n", r.Instance)
	case !yes && len(r.Running) == 0 && r.Count(uninstall.Found) > 0:
		say("nothing has been removed: --yes does\n")
	case r.Count(uninstall.Removed) > 0:
		say("%d removed. Cached values stay until their time to live, and nothing keeps them fresh\n", r.Count(uninstall.Removed))
	}
	return err
}
