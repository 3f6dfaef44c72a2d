package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/rule"
)

func newCheckCommand() *cobra.Command {
	var path, output string
	var statements bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether everything is in place, and how to mend what is not",
		Long: `Looks at every precondition of the service: connections, rights and settings of
all three servers, the replication slot and what becomes of it in a failover, the
replica identity of each rule's table, the publication, how many keys each rule
covers, and the clocks. A heartbeat is written into the WAL and seen to come
back: as the watermark of a running service, else through a temporary slot. Each
line says ok, warn or fail, and what is not ok comes with its remedy. Nothing is
changed that lasts.

Exit status 0 when nothing fails, 1 when something does, 2 when the
configuration itself is wrong.`,
		Example: `  freshet check -c freshet.yaml
  freshet check --sql | psql "$ADMIN_URL"     run the remedies
  freshet check -o json | jq '.lines[] | select(.status != "ok")'`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			if asJSON && statements {
				return usageErrorf("--sql and -o json exclude each other: the JSON holds the statements")
			}
			cfg, err := checkConfig(path)
			if err != nil {
				return err
			}
			report := check.Run(cmd.Context(), cfg)
			switch {
			case asJSON:
				err = printJSON(cmd.OutOrStdout(), report)
			case statements:
				err = printStatements(cmd.OutOrStdout(), cmd.ErrOrStderr(), report)
			default:
				err = report.Print(cmd.OutOrStdout(), cmd.OutOrStdout() == os.Stdout && colourful(os.Stdout))
			}
			if err != nil {
				return err
			}
			return verdict(report)
		},
	}
	configFlag(cmd, &path)
	outputFlag(cmd, &output)
	cmd.Flags().BoolVar(&statements, "sql", false, "print only the statements that mend what fails; optional ones as comments")
	return cmd
}

// verdict is the exit status of a report that has been printed.
func verdict(report *check.Report) error {
	said := &silentError{report.Summary()}
	switch {
	case report.Invalid:
		return errors.Join(said, usageErrorf("the configuration does not fit the servers"))
	case report.Failed():
		return said
	}
	return nil
}

// printStatements prints what psql can run, and on stderr what it cannot mend.
func printStatements(out, errOut io.Writer, report *check.Report) error {
	for _, l := range report.Lines {
		if l.Status != check.Fail || len(l.SQL) > 0 {
			continue
		}
		remedy := ""
		if l.Remedy != "" {
			remedy = "; " + l.Remedy
		}
		if _, err := fmt.Fprintf(errOut, "not mended by SQL: %s: %s: %s%s\n", l.Area, l.Check, l.Text, remedy); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, report.Script())
	return err
}

func checkConfig(path string) (check.Config, error) {
	file, err := loadFile(path)
	if err != nil {
		return check.Config{}, err
	}
	if file.Postgres.URL == "" {
		return check.Config{}, usageErrorf("%s: postgres.url is empty: there is no database to check", path)
	}
	return check.Config{
		Name: file.Name, PostgresURL: file.Postgres.URL,
		Slot: file.Postgres.Slot, Publication: file.Postgres.Publication, Manage: file.Postgres.Manage, MaxWAL: file.Postgres.MaxWAL,
		Stream: file.StreamConfig(), CacheURL: file.Cache.URL, Applier: file.ApplierConfig(),
		Compile: func(schema rule.Schema) check.Compiled { return compileForCheck(file, schema) },
	}, nil
}

func compileForCheck(file *config.File, schema rule.Schema) check.Compiled {
	set, err := file.Compile(schema)
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		return check.Compiled{Mistakes: mistakesOf(mistakes)}
	}
	if err != nil {
		return check.Compiled{Mistakes: []check.Mistake{{Where: file.Path, Message: err.Error()}}}
	}
	return check.Compiled{Set: set, Warnings: mistakesOf(file.Warnings(set))}
}

func mistakesOf(errs config.Errors) []check.Mistake {
	out := make([]check.Mistake, 0, len(errs))
	for _, e := range errs {
		where := e.File
		if e.Line > 0 {
			where = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column)
		}
		out = append(out, check.Mistake{Where: where, Message: e.Message, Remedy: e.Remedy, SQL: e.SQL})
	}
	return out
}
