package main

import (
	"io"
	"log/slog"
	"os"
)

// newLogger writes text for people on terminals, JSON otherwise.
func newLogger(out io.Writer) *slog.Logger {
	if f, ok := out.(*os.File); ok && isTerminal(f) {
		return slog.New(slog.NewTextHandler(out, nil))
	}
	return slog.New(slog.NewJSONHandler(out, nil))
}
