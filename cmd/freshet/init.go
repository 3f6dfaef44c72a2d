package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/scaffold"
)

// initPatience bounds how long reading the schema may take.
const initPatience = time.Minute

func newInitCommand() *cobra.Command {
	var url, file string
	var tables []string
	var force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Draft a freshet.yaml from the keys of a database",
		Long: `Reads tables, primary, unique and foreign keys and drafts a commented
configuration: a key for each row, a list for each foreign key, guesses as
comments, and at the top the statements that the rules need to have been run.
Nothing is changed in the database, and no password gets into the file.

Goes to standard output unless a file is named; one that is there is kept.`,
		Example: `  freshet init -f freshet.yaml                        from $DATABASE_URL
  freshet init --postgres postgres://localhost/shop
  freshet init --tables orders,clients,billing.invoices`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				return usageErrorf("no database: set DATABASE_URL, or give its URL with --postgres")
			}
			draft, err := draftFrom(cmd.Context(), url, splitTables(tables))
			if err != nil {
				return err
			}
			if file == "" {
				_, err = io.WriteString(cmd.OutOrStdout(), draft.YAML)
				return err
			}
			if err := writeDraft(file, draft.YAML, force); err != nil {
				return err
			}
			return printDrafted(cmd.ErrOrStderr(), file, draft)
		},
	}
	cmd.Flags().StringVar(&url, "postgres", os.Getenv("DATABASE_URL"), "`URL` of the database (default $DATABASE_URL)")
	cmd.Flags().Lookup("postgres").DefValue = "" // it may hold a password
	cmd.Flags().StringArrayVar(&tables, "tables", nil, "`TABLES` to write rules for, separated by commas, as rules name them (default all)")
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` to write")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite the file if it is there")
	return cmd
}

func draftFrom(ctx context.Context, url string, tables []string) (*scaffold.Draft, error) {
	ctx, cancel := context.WithTimeout(ctx, initPatience)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, usageErrorf("--postgres: %w", err)
	}
	cfg.RuntimeParams["application_name"] = "freshet init"
	db, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	defer db.Close(context.WithoutCancel(ctx))
	draft, err := scaffold.New(ctx, db, scaffold.Config{Tables: tables})
	if missing := (*scaffold.TableError)(nil); errors.As(err, &missing) {
		return nil, usageErrorf("--tables: %w", err)
	}
	return draft, err
}

// splitTables splits at commas, but for a value with quoted names, which may
// contain some.
func splitTables(values []string) []string {
	var out []string
	for _, v := range values {
		parts := []string{v}
		if !strings.Contains(v, `"`) {
			parts = strings.Split(v, ",")
		}
		for _, part := range parts {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

func writeDraft(file, text string, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL // somebody may have made it meanwhile
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(file, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usageErrorf("%s is there already: choose another name with -f, or overwrite it with --force", file)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return errors.Join(err, out.Close())
}

// printDrafted says what to do next.
func printDrafted(out io.Writer, file string, draft *scaffold.Draft) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d rules", file, draft.Rules)
	if n := len(draft.Left); n > 0 {
		fmt.Fprintf(&b, ", %d tables left out (the file says why)", n)
	}
	b.WriteString("\n")
	if len(draft.SQL) > 0 {
		b.WriteString("Run, as the owner of the tables:\n" + catalog.Script(draft.SQL))
	}
	fmt.Fprintf(&b, "Then: freshet check -c %s\n", file)
	_, err := io.WriteString(out, b.String())
	return err
}
