package main

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// configFlag adds -c; the default is $FRESHET_CONFIG, else freshet.yaml.
func configFlag(cmd *cobra.Command, path *string) {
	fallback := os.Getenv("FRESHET_CONFIG")
	if fallback == "" {
		fallback = "freshet.yaml"
	}
	cmd.Flags().StringVarP(path, "config", "c", fallback, "configuration `FILE` (or $FRESHET_CONFIG)")
}

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "`FORMAT`: text or json")
}

func wantJSON(output string) (bool, error) {
	switch output {
	case "text", "":
		return false, nil
	case "json":
		return true, nil
	}
	return false, usageErrorf("--output %q: want text or json", output)
}

// colourful reports whether f is a terminal that may show colour.
func colourful(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
