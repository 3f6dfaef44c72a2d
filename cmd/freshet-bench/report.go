package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// median of the samples; zero for none.
func median[T int | float64 | time.Duration](samples []T) T {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/2]
}

// percentile is the nearest-rank percentile of sorted samples.
func percentile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func machine() string {
	return fmt.Sprintf("%d cores %s/%s, %s, commit %s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), commit())
}

func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	return "unknown"
}

// publish prints a report and writes it to the results folder.
func publish(out io.Writer, folder, name, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	path := filepath.Join(folder, strings.ToLower(name)+".txt")
	return os.WriteFile(path, []byte(text), 0o600)
}
