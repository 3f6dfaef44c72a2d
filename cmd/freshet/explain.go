package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/rule"
)

func newExplainCommand() *cobra.Command {
	var path, old, op, output string
	cmd := &cobra.Command{
		Use:   "explain TABLE JSON",
		Short: "Say which keys a row change removes, by which rule, and why",
		Long: `Says which keys, patterns and tags a row change would invalidate, by which rule
and why. Nothing is connected to and nothing is touched.

JSON is the row after the change (for a delete: before it). With --old the
change is an update from that row; only the columns that differ need be given.`,
		Example: `  freshet explain orders '{"id":42,"client_id":9,"workspace_id":1}'
  freshet explain orders '{"id":42,"client_id":9}' --old '{"client_id":7}'
  freshet explain public.orders '{"id":42}' --op delete -o json`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			text := rule.ChangeText{Table: args[0], Op: op, Row: []byte(args[1])}
			if cmd.Flags().Changed("old") {
				text.Old = []byte(old + " ") // an empty one is a mistake too
			}
			message, err := text.Message()
			if err != nil {
				return usageErrorf("%w", err)
			}
			file, err := config.Load(path, os.LookupEnv)
			if err != nil {
				return err
			}
			rules, err := file.Compile(nil)
			if err != nil {
				return err
			}
			explained := rules.Explain(message, nil)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), explained)
			}
			return printExplained(cmd.OutOrStdout(), rules, explained)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&old, "old", "", "`JSON` of the row before the change")
	cmd.Flags().StringVar(&op, "op", "", "`OP`: insert, update, delete or truncate (default update with --old, else insert)")
	outputFlag(cmd, &output)
	return cmd
}

func printExplained(out io.Writer, rules *rule.Set, explained []rule.Explanation) error {
	if len(explained) == 1 && explained[0].Rule == "" {
		_, err := fmt.Fprintf(out, "%s; there are rules for %s\n", explained[0].Why, strings.Join(tableNames(rules), ", "))
		return err
	}
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(lines, "KIND\tTARGET\tRULE\tTEMPLATE\tWHY")
	for _, e := range explained {
		fmt.Fprintf(lines, "%s\t%s\t%s\t%s\t%s\n", e.Kind, orDash(e.Target), e.Rule, orDash(e.Template), e.Why)
	}
	return lines.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func tableNames(rules *rule.Set) []string {
	needs := rules.Needs()
	names := make([]string, 0, len(needs))
	for _, n := range needs {
		names = append(names, n.Table.String())
	}
	return names
}
