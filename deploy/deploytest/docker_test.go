package deploytest

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const root = deployed + "/.."

func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	text, err := os.ReadFile(root + "/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// The image that is built by default starts from nothing, runs as nobody in
// particular, and is looked after by the program itself.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	all := stages(t)
	image := all[len(all)-1]
	if image.BaseName != "scratch" {
		t.Errorf("the image is made from %s", image.BaseName)
	}
	for _, s := range all {
		if s.BaseName != "scratch" && !strings.Contains(s.BaseName, ":") {
			t.Errorf("base image %s has no tag", s.BaseName)
		}
	}
	found := map[string][]string{}
	for _, command := range image.Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			found["user"] = []string{c.User}
		case *instructions.EntrypointCommand:
			found["entrypoint"] = c.CmdLine
			if c.PrependShell {
				t.Error("the entrypoint needs a shell")
			}
		case *instructions.CmdCommand:
			found["cmd"] = c.CmdLine
		case *instructions.HealthCheckCommand:
			found["health"] = c.Health.Test
		case *instructions.RunCommand:
			t.Errorf("%s needs a shell", c)
		}
	}
	for name, want := range map[string][]string{
		"user": {"65532:65532"}, "entrypoint": {"/freshet"}, "cmd": {"run"}, "health": {"CMD", "/freshet", "health"},
	} {
		if !slices.Equal(found[name], want) {
			t.Errorf("%s is %q, want %q", name, found[name], want)
		}
	}
}

// The command that builds the image's programs, run here from the files that the
// image is built from, makes static ones that know their version.
func TestDockerBuild(t *testing.T) {
	t.Parallel()
	var line string
	for _, command := range stages(t)[0].Commands {
		if c, ok := command.(*instructions.RunCommand); ok && strings.Contains(c.CmdLine[0], "go build") {
			line = c.CmdLine[0]
		}
	}
	out, source := t.TempDir(), t.TempDir()
	copyContext(t, source)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(line, "/out/", out+"/"))
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH, "VERSION=1.2.3", "COMMIT=0123456789ab")
	if text, err := cmd.CombinedOutput(); err != nil || line == "" {
		t.Fatalf("%s: %v\n%s", line, err, text)
	}
	for _, name := range []string{"freshet", "shop"} {
		file, err := elf.Open(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", name)
			}
		}
		_ = file.Close() // read only
	}
	version, err := exec.CommandContext(t.Context(), filepath.Join(out, "freshet"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(version), "freshet 1.2.3 (commit 0123456789ab, ") {
		t.Errorf("version: %v, %s", err, version)
	}
}

// copyContext copies what .dockerignore leaves to the build.
func copyContext(t *testing.T, to string) {
	t.Helper()
	text, err := os.ReadFile(root + "/.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	copyTracked(t, to, func(name string) bool {
		skip, err := ignored.MatchesOrParentMatches(name)
		if err != nil {
			t.Fatal(err)
		}
		return skip
	})
}

// copyTracked copies the project's files but those to skip.
func copyTracked(t *testing.T, to string, skip func(name string) bool) {
	t.Helper()
	tracked, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(tracked)) {
		name = strings.TrimSuffix(name, "\n")
		if skip(name) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
