package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/cdc"
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
			message, err := changeOf(args[0], args[1], old, cmd.Flags().Changed("old"), op)
			if err != nil {
				return err
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

// changeOf builds the change message that the arguments describe.
func changeOf(table, row, old string, hasOld bool, op string) (*cdc.Message, error) {
	name, err := rule.ParseTable(table)
	if err != nil {
		return nil, usageErrorf("TABLE: %w", err)
	}
	newRow, err := rowOf("JSON", row)
	if err != nil {
		return nil, err
	}
	var oldRow cdc.Row
	if hasOld {
		if oldRow, err = rowOf("--old", old); err != nil {
			return nil, err
		}
	}
	if op == "" {
		op = string(cdc.Insert)
		if hasOld {
			op = string(cdc.Update)
		}
	}
	change := cdc.Change{Op: cdc.Op(op)}
	switch change.Op {
	case cdc.Insert:
		change.New, change.OldKnown = newRow, cdc.OldNone
	case cdc.Update:
		change.New, change.Old, change.OldKnown = newRow, oldRow, cdc.OldFull
	case cdc.Delete:
		change.Old, change.OldKnown = newRow, cdc.OldFull
		if hasOld {
			change.Old = oldRow
		}
	case cdc.Truncate:
		change.OldKnown = cdc.OldNone
	case cdc.Bulk:
		fallthrough
	default:
		return nil, usageErrorf("--op %q: want insert, update, delete or truncate", op)
	}
	return &cdc.Message{
		Schema: name.Schema, Table: name.Table,
		Transactions: []cdc.Transaction{{}},
		Changes:      []cdc.Change{change},
	}, nil
}

// rowOf reads a JSON object as a row, keeping its order and its numbers as
// they are written.
func rowOf(where, text string) (cdc.Row, error) {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	token, err := decoder.Token()
	if err != nil || token != json.Delim('{') {
		return nil, usageErrorf("%s %s: want a JSON object such as '{\"id\":42}'", where, text)
	}
	var row cdc.Row
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, usageErrorf("%s %s: not a JSON object: %v", where, text, err)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, usageErrorf("%s: column %s: %w", where, name, err)
		}
		value, err := valueOf(raw)
		if err != nil {
			return nil, usageErrorf("%s: column %s: %w", where, name, err)
		}
		row = append(row, cdc.Column{Name: name, Value: value})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, usageErrorf("%s: %w", where, err)
	}
	return row, nil
}

func valueOf(raw json.RawMessage) (cdc.Value, error) {
	switch raw[0] {
	case 'n':
		return cdc.Value{}, nil
	case 't', 'f':
		return cdc.Value{Kind: cdc.Bool, Text: string(raw)}, nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return cdc.Value{Kind: cdc.String, Text: text}, err
	case '{', '[':
		return cdc.Value{Kind: cdc.JSON, Text: string(raw)}, nil
	}
	return cdc.Value{Kind: cdc.Number, Text: string(raw)}, nil
}
