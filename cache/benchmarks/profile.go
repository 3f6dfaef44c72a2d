package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// profile says where the library's time or allocations went in one contest.
type profile struct {
	Contest string `json:"contest"`
	Kind    string `json:"kind"` // cpu or allocations
	Text    string `json:"text"` // as go tool pprof prints it
}

const (
	kindCPU    = "cpu"
	kindAllocs = "allocations"
)

// profiled is for how long a contender is watched.
const profiled = 2 * time.Second

// explain profiles the library in a contest.
func explain(ctx context.Context, c *contest, kind string) (profile, error) {
	folder, err := os.MkdirTemp("", "freshet-profile-")
	if err != nil {
		return profile{}, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, "profile")
	if err := record(c, kind, path); err != nil {
		return profile{}, fmt.Errorf("profile %s: %w", c.name, err)
	}
	args := []string{"tool", "pprof", "-top", "-nodecount=15"}
	if kind == kindAllocs {
		args = append(args, "-sample_index=alloc_objects", "-base="+path+".before")
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", append(args, path)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return profile{}, fmt.Errorf("profile %s: %w: %s", c.name, err, errs.String())
	}
	return profile{Contest: c.name, Kind: kind, Text: body(out.String())}, nil
}

// body drops the lines that name the file and the build.
func body(text string) string {
	if at := strings.Index(text, "Showing nodes"); at >= 0 {
		text = text[at:]
	}
	return strings.TrimSpace(shape.ReplaceAllString(text, ""))
}

// shape is what a generic function's name says of its type arguments.
var shape = regexp.MustCompile(`\[go\.shape\.[^\n]*\]`)

// record keeps the library busy and writes a profile of it. That of allocations
// is to be compared with the one written beside it, of what was before.
func record(c *contest, kind, path string) error {
	n, err := c.calibrate(&c.ours, profiled/20)
	if err != nil {
		return err
	}
	work := func() error {
		for start := time.Now(); time.Since(start) < profiled; {
			if _, err := c.turn(&c.ours, n); err != nil {
				return err
			}
		}
		return nil
	}
	if kind == kindCPU {
		return write(path, func(file io.Writer) error {
			if err := pprof.StartCPUProfile(file); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
			return work()
		})
	}
	if err := writeAllocs(path + ".before"); err != nil {
		return err
	}
	runtime.MemProfileRate = 1 // 0 until here, and for all that is measured
	err = work()
	runtime.MemProfileRate = 0
	return errors.Join(err, writeAllocs(path))
}

func writeAllocs(path string) error {
	// Two collections complete what the profile says.
	runtime.GC()
	runtime.GC()
	// The rate says how samples are scaled: each stands for itself.
	runtime.MemProfileRate = 1
	defer func() { runtime.MemProfileRate = 0 }()
	return write(path, func(file io.Writer) error { return pprof.Lookup("allocs").WriteTo(file, 0) })
}

func write(path string, content func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(content(file), file.Close())
}
