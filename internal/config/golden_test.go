package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/config"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

// env looks up in a fixed set of pairs.
func env(pairs ...string) config.Env {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// TestBad loads every testdata/bad/*.yaml: the report is as in its .want file,
// and holds no secret. Every secret there is "hunter2".
func TestBad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(file, env("PG_URL", "hunter2", "SLOT", "hunter2!", "NATS_PASSWORD", "hunter2", "PREFIX", "long-prefix:"))
			var all config.Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("got %v, want Errors", err)
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("the report holds a secret:\n%s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s\n(go test ./internal/config -update, if it should be so)", got, want)
			}
		})
	}
}
