package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// unstamped is the version of a build that nobody gave one.
const unstamped = "0.0.0-dev"

// Stamped by the linker: see the Makefile.
var (
	version = unstamped
	commit  = ""
)

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  freshet version\n  freshet version -o json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := wantJSON(output)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{
					"version": buildVersion(), "commit": buildCommit(), "go": runtime.Version(),
				})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "freshet %s (commit %s, %s)\n", buildVersion(), buildCommit(), runtime.Version())
			return err
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// buildVersion is the stamped version, else that of the module that `go install`
// fetched.
func buildVersion() string {
	if version != unstamped {
		return version
	}
	// Only a module that was fetched has a sum.
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Sum != "" {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return version
}

// buildCommit is the stamped commit, else the one that Go recorded.
func buildCommit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
