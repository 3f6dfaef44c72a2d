package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/config"
	"github.com/freshet-dev/freshet/internal/rule"
)

// usageError is a mistake of whoever typed the command or wrote the
// configuration: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// silentError ends a command with exit status 1 after it has said everything
// itself.
type silentError struct{ reason string }

func (e *silentError) Error() string { return e.reason }

func exitStatus(err error) int {
	var usage *usageError
	var file config.Errors
	var rules rule.Errors
	if errors.As(err, &usage) || errors.As(err, &file) || errors.As(err, &rules) {
		return exitUsage
	}
	return exitFailed
}

// arguments wraps cobra's argument checks so that their errors count as wrong
// usage and name the way out.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageErrorf("%w\nUsage: %s", err, cmd.UseLine())
		}
		return nil
	}
}
