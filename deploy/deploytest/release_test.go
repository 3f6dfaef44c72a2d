package deploytest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// A release's program knows its version and commit, as one by make build does.
func TestRelease(t *testing.T) {
	t.Parallel()
	goreleaser := os.Getenv("GORELEASER")
	if goreleaser == "" {
		t.Fatal("run make test-deploy: it builds goreleaser and says where it is in $GORELEASER")
	}
	// In a clone, as it cleans its dist folder; with the configuration as it is here.
	clone := filepath.Join(t.TempDir(), "freshet")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", root, clone).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v: %s", err, out)
	}
	text, err := os.ReadFile(root + "/.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config, binary := write(t, ".goreleaser.yaml", string(text)), filepath.Join(t.TempDir(), "freshet")
	cmd := exec.CommandContext(t.Context(), goreleaser, "build", "--snapshot", "--single-target", "-f", config, "-o", binary)
	cmd.Dir = clone
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("goreleaser build: %v\n%s", err, out)
	}
	commit, err := exec.CommandContext(t.Context(), "git", "-C", clone, "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), binary, "version").CombinedOutput()
	want := `^freshet \d+\.\d+\.\d+-next \(commit ` + strings.TrimSpace(string(commit)) + `, `
	if err != nil || !regexp.MustCompile(want).Match(version) {
		t.Errorf("version: %v, got %s, want %s", err, version, want)
	}
}

// `go install` takes the command from the module as a proxy serves it, and the
// program knows which version that was.
func TestGoInstall(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Replace)+len(file.Exclude) > 0 {
		t.Fatal("go.mod has replace or exclude directives: go install refuses such modules")
	}
	const version = "v0.9.9"
	proxy := t.TempDir()
	serve(t, proxy, module.Version{Path: file.Module.Mod.Path, Version: version}, text)

	modules := goEnv(t, "GOMODCACHE")
	bin, cache := t.TempDir(), t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", file.Module.Mod.Path+"/cmd/freshet@"+version)
	cmd.Dir = cache // no module of ours around it
	cmd.Env = append(os.Environ(),
		"GOBIN="+bin, "GOFLAGS=-trimpath -modcacherw", "GOSUMDB=off", "CGO_ENABLED=0", "GOWORK=off",
		// A cache of its own, as this version is nobody's; what it depends on comes from ours.
		"GOMODCACHE="+cache, "GOPROXY=file://"+proxy+",file://"+filepath.Join(modules, "cache", "download")+","+goEnv(t, "GOPROXY"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "freshet"), "version").CombinedOutput()
	if want := "freshet 0.9.9 (commit unknown, " + runtime.Version(); err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("version: %v, got %s, want %s", err, out, want)
	}
}

// serve puts the module into a folder as the proxy protocol lays it out.
func serve(t *testing.T, proxy string, m module.Version, gomod []byte) {
	t.Helper()
	folder := filepath.Join(proxy, m.Path, "@v")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"list": []byte(m.Version), m.Version + ".mod": gomod, m.Version + ".info": []byte(`{"Version":"` + m.Version + `","Time":"2026-01-02T03:04:05Z"}`),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := os.Create(filepath.Join(folder, m.Version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := archive.Close(); err != nil {
			t.Error(err)
		}
	}()
	// What git has and would have, without what is built here.
	source := t.TempDir()
	copyTracked(t, source, func(string) bool { return false })
	if err := zip.CreateFromDir(archive, m, source); err != nil {
		t.Fatal(err)
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	value, err := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(value))
}
