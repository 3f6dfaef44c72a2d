package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/freshet-dev/freshet"

// rule says what one package may import outside its tests.
type rule struct {
	// ours are the packages of this module, relative to it.
	ours []string
	// theirs are the prefixes of packages of other modules; nil is any.
	theirs []string
}

var (
	nothing = []string{}
	redis   = []string{"github.com/redis/go-redis/v9", "golang.org/x/sync"}
)

// rules hold for the packages that have a promise to keep. All others put
// those together (service, demo, verify, …): they may import anything but cmd
// and internal/config, and none of the packages here may import them.
var rules = map[string]rule{
	// Whoever imports the library gets Redis' client and no more.
	"cache":           {ours: nothing, theirs: append([]string{"github.com/klauspost/compress"}, redis...)},
	"cache/near":      {ours: []string{"cache"}, theirs: append([]string{"github.com/maypok86/otter/v2", "github.com/nats-io/nats.go"}, redis...)},
	"cache/ratelimit": {ours: []string{"cache"}, theirs: redis},
	"cache/httpcache": {ours: []string{"cache"}, theirs: redis},
	"cache/presets":   {ours: []string{"cache", "cache/ratelimit", "cache/httpcache"}, theirs: redis},
	// Prometheus' and OpenTelemetry's clients are for those who import these two.
	"cache/metrics": {ours: []string{"cache"}, theirs: []string{"github.com/prometheus/client_golang/prometheus"}},
	"cache/tracing": {ours: []string{"cache"}, theirs: []string{"go.opentelemetry.io/otel"}},

	// An example shows what its readers can import too.
	"examples/shop": {ours: []string{"cache", "cache/presets", "cache/ratelimit", "cache/httpcache", "cache/metrics"}},

	"internal/cdc":      {ours: nothing, theirs: nothing},
	"internal/pgoutput": {ours: []string{"internal/cdc"}, theirs: nothing},
	"internal/rule":     {ours: []string{"internal/cdc"}, theirs: nothing}, // pure: no client of any server
	"internal/stream":   {ours: []string{"internal/cdc"}},
	"internal/catalog":  {ours: []string{"internal/cdc"}},
	"internal/monitor":  {ours: nothing}, // takes what satisfies a small interface
	// Drafts rules; it starts nothing and knows none of the three parts.
	"internal/scaffold": {ours: []string{"internal/cdc", "internal/catalog", "internal/check", "internal/rule"}},

	// The three parts meet on the stream and never import one another.
	"consumer":    {ours: []string{"internal/cdc", "internal/stream", "internal/catalog", "internal/pgoutput"}},
	"invalidator": {ours: []string{"internal/cdc", "internal/stream", "internal/rule", "cache", "cache/near"}},
	"warmer":      {ours: []string{"internal/cdc", "internal/stream", "internal/rule", "cache", "cache/ratelimit"}},

	// Knows the parts' Config types. Only cmd imports it.
	"internal/config": {ours: []string{
		"consumer", "invalidator", "warmer", "cache", "internal/rule", "internal/monitor", "internal/stream", "internal/cdc",
	}},

	"internal/servers": {ours: nothing},
}

// nowhere are packages that no program and no public package may contain.
var nowhere = map[string]string{
	"testing":                               "test code in a program",
	module + "/internal/servers/servertest": "test code in a program",
}

// outOfCache are modules that importers of the library must never inherit.
var outOfCache = []string{
	"github.com/jackc/", "github.com/nats-io/nats-server", "github.com/prometheus/", "github.com/spf13/",
	"github.com/goccy/", "go.opentelemetry.io/", module + "/internal/", module + "/consumer", module + "/invalidator", module + "/warmer",
}

// besides are the exceptions to that: what a package is there for.
var besides = map[string]string{
	"cache/metrics": "github.com/prometheus/",
	"cache/tracing": "go.opentelemetry.io/", // the API needs its auto/sdk
}

// inherits reports whether a dependency is one that importers of a public
// package must not inherit.
func inherits(name, dep string) bool {
	if allowed, found := besides[name]; found && strings.HasPrefix(dep, allowed) {
		return false
	}
	return slices.ContainsFunc(outOfCache, func(prefix string) bool { return strings.HasPrefix(dep, prefix) })
}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Deps       []string
	Error      *struct{ Err string }
}

func TestDirectImports(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := relative(p.ImportPath)
		for _, imported := range p.Imports {
			if reason := forbidden(name, imported); reason != "" {
				t.Errorf("%s imports %s: %s", name, imported, reason)
			}
		}
	}
}

// TestRulesForbid keeps the test above honest: it must be able to fail.
func TestRulesForbid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"consumer", module + "/internal/stream", true},
		{"consumer", module + "/internal/rule", false},
		{"consumer", module + "/invalidator", false},
		{"invalidator", module + "/consumer", false},
		{"invalidator", module + "/cache/near", true},
		{"invalidator", module + "/internal/service", false},
		{"internal/monitor", module + "/consumer", false},
		{"internal/service", module + "/consumer", true},
		{"internal/service", module + "/internal/config", false},
		{"cmd/freshet", module + "/internal/config", true},
		{"internal/scaffold", module + "/internal/check", true},
		{"internal/scaffold", module + "/internal/service", false},
		{"internal/rule", "github.com/redis/go-redis/v9", false},
		{"internal/cdc", "encoding/json", true},
		{"internal/cdc", "golang.org/x/sync/errgroup", false},
		{"cache", "golang.org/x/sync/singleflight", true},
		{"cache", "golang.org/x/synchronous", false},
		{"cache", module + "/internal/cdc", false},
		{"cache/anything", module + "/internal/cdc", false},
		{"cache/near", "github.com/nats-io/nats-server/v2/server", false},
		{"cache/metrics", "github.com/prometheus/client_golang/prometheus", true},
		{"cache", "github.com/prometheus/client_golang/prometheus", false},
		{"cache/tracing", "go.opentelemetry.io/otel/trace", true},
		{"cache/tracing", "github.com/prometheus/client_golang/prometheus", false},
	} {
		if got := forbidden(tc.from, tc.to) == ""; got != tc.ok {
			t.Errorf("%s imports %s: allowed %v, want %v", tc.from, tc.to, got, tc.ok)
		}
	}
}

// TestInherits does so for the next.
func TestInherits(t *testing.T) {
	t.Parallel()
	const prometheus, otel = "github.com/prometheus/client_golang/prometheus", "go.opentelemetry.io/otel/trace"
	for _, tc := range []struct {
		name, dep string
		want      bool
	}{
		{"cache", prometheus, true},
		{"cache", otel, true},
		{"cache/metrics", prometheus, false},
		{"cache/metrics", otel, true},
		{"cache/tracing", otel, false},
		{"cache/tracing", prometheus, true},
		{"cache/metrics", module + "/internal/cdc", true},
		{"cache", "github.com/redis/go-redis/v9", false},
	} {
		if got := inherits(tc.name, tc.dep); got != tc.want {
			t.Errorf("importers of %s inherit %s: %v, want %v", tc.name, tc.dep, got, tc.want)
		}
	}
}

func TestTransitiveImports(t *testing.T) {
	t.Parallel()
	programs := 0
	for _, p := range list(t) {
		name := relative(p.ImportPath)
		program, public := strings.HasPrefix(name, "cmd/"), name == "cache" || strings.HasPrefix(name, "cache/")
		if !program && !public {
			continue
		}
		programs++
		for _, dep := range p.Deps {
			if reason, bad := nowhere[dep]; bad {
				t.Errorf("%s depends on %s: %s", name, dep, reason)
			}
			if public && inherits(name, dep) {
				t.Errorf("%s depends on %s, which its importers would inherit", name, dep)
			}
		}
	}
	if programs == 0 {
		t.Fatal("no program and no public package found; the test would prove nothing")
	}
}

// TestEveryRuleHasItsPackage finds rules that outlived their package.
func TestEveryRuleHasItsPackage(t *testing.T) {
	t.Parallel()
	var names []string
	for _, p := range list(t) {
		names = append(names, relative(p.ImportPath))
	}
	// Those of later releases have their place in the rules already.
	planned := []string{"warmer"}
	for name := range rules {
		if !slices.Contains(names, name) && !slices.Contains(planned, name) {
			t.Errorf("there is a rule for %s, and no such package", name)
		}
	}
}

// forbidden returns why a package may not import another, or "".
func forbidden(name, imported string) string {
	program := strings.HasPrefix(name, "cmd/")
	if !ours(imported) {
		if standard(imported) {
			return ""
		}
		if r, ruled := ruleOf(name); ruled && r.theirs != nil && !slices.ContainsFunc(r.theirs, func(prefix string) bool {
			return imported == prefix || strings.HasPrefix(imported, prefix+"/")
		}) {
			return "not among the modules that it may use"
		}
		return ""
	}
	target := relative(imported)
	switch r, ruled := ruleOf(name); {
	case program:
		return ""
	case ruled && !slices.Contains(r.ours, target):
		return "its rule does not have it"
	case strings.HasPrefix(target, "cmd/"):
		return "a program is not a library"
	case target == "internal/config":
		return "only programs read the configuration file"
	}
	return ""
}

// ruleOf returns the rule of a package. A new package below cache gets the
// strictest one.
func ruleOf(name string) (rule, bool) {
	if r, found := rules[name]; found {
		return r, true
	}
	if strings.HasPrefix(name, "cache/") {
		return rule{ours: []string{"cache"}, theirs: redis}, true
	}
	return rule{}, false
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func relative(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// standard reports whether a package is of the standard library: its first
// element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// look at every source file, so that `go test` does not give a result from its
// cache after one has changed: of what go list reads it knows nothing.
func look(t *testing.T) {
	t.Helper()
	files := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(name, ".") && strings.Trim(name, ".") != "":
			return fs.SkipDir
		case strings.HasSuffix(name, ".go"):
			files++
			_, err = os.Stat(path)
			return err
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Fatalf("look at the source: %d files, %v", files, err)
	}
}

// list returns the packages of this module with all they depend on.
func list(t *testing.T) []pkg {
	t.Helper()
	look(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Standard,Deps,Error", path.Join(module, "..."))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var pkgs []pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages; the test would prove nothing", len(pkgs))
	}
	return pkgs
}
