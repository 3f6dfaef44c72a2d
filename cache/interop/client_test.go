package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers"
)

// action is what the client is to do: a name and its arguments.
type action []any

// ioredis runs client.js against the Redis at some addresses.
type ioredis struct {
	node      string
	addresses string
}

// newIoredis fails the test if what it needs is not installed.
func newIoredis(t *testing.T, addresses ...string) ioredis {
	t.Helper()
	node, err := findNode(".")
	if err != nil {
		t.Fatal(err)
	}
	return ioredis{node: node, addresses: strings.Join(addresses, ",")}
}

// findNode returns the program that runs the client in a folder.
func findNode(folder string) (string, error) {
	const remedy = "run `make install-test`, or install Node.js 14 or later and run `npm ci` in cache/interop"
	node, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("node is not installed: %s", remedy)
	}
	var wanted struct{ Dependencies map[string]string }
	if err := readJSON(filepath.Join(folder, "package.json"), &wanted); err != nil {
		return "", err
	}
	for name, version := range wanted.Dependencies {
		var installed struct{ Version string }
		err := readJSON(filepath.Join(folder, "node_modules", name, "package.json"), &installed)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "", fmt.Errorf("%s is not installed: %s", name, remedy)
		case err != nil:
			return "", err
		case installed.Version != version:
			return "", fmt.Errorf("%s is installed in version %s, not %s: %s", name, installed.Version, version, remedy)
		}
	}
	return node, nil
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// do runs actions in a process of their own and returns their results, as JSON
// is decoded to any.
func (c ioredis) do(t *testing.T, actions ...action) []any {
	t.Helper()
	args := []string{"client.js", c.addresses}
	for _, a := range actions {
		args = append(args, encode(t, a))
	}
	out := output(t, c.node, args...)
	var results []any
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(actions) {
		t.Fatalf("ioredis: %d actions gave %q: %v", len(actions), out, err)
	}
	return results
}

// gives fails the test unless the results of actions are those wanted, once both
// have been through JSON.
func (c ioredis) gives(t *testing.T, want []any, actions ...action) {
	t.Helper()
	var wanted []any
	if err := json.Unmarshal([]byte(encode(t, want)), &wanted); err != nil {
		t.Fatal(err)
	}
	got := c.do(t, actions...)
	for i, a := range actions {
		if !reflect.DeepEqual(got[i], wanted[i]) {
			t.Errorf("ioredis: %v: got %v, want %v", a, got[i], wanted[i])
		}
	}
}

// reads fails the test unless the client's JSON.parse gives the same as a value
// of Go, or null for nil.
func (c ioredis) reads(t *testing.T, key string, want any) {
	t.Helper()
	c.gives(t, []any{want}, action{"read", key})
}

// within fails the test unless the action's result is a number between two
// bounds.
func (c ioredis) within(t *testing.T, least, most float64, a action) {
	t.Helper()
	if got, ok := c.do(t, a)[0].(float64); !ok || got < least || got > most {
		t.Errorf("ioredis: %v: got %v, want %v to %v", a, got, least, most)
	}
}

// redisCLI runs redis-cli, which prints replies raw as nobody looks at a
// terminal, and returns what it printed without the last newline.
func redisCLI(t *testing.T, server *servers.Redis, args ...string) string {
	t.Helper()
	bin, err := servers.FindRedis("")
	if err != nil {
		t.Fatal(err)
	}
	cli := strings.Replace(filepath.Base(bin), "-server", "-cli", 1)
	if beside := filepath.Join(filepath.Dir(bin), cli); isFile(beside) {
		cli = beside
	}
	if _, err := exec.LookPath(cli); err != nil {
		t.Fatalf("%s is neither in PATH nor beside %s: install it (Debian: apt-get install redis-tools)", cli, bin)
	}
	host, port, _ := strings.Cut(server.Addr(), ":")
	return strings.TrimSuffix(string(output(t, cli, append([]string{"-h", host, "-p", port}, args...)...)), "\n")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// output runs a program and returns what it prints. One that fails fails the test.
func output(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(program), args, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

func TestMissingClientFailsWithTheRemedy(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string) {
		t.Helper()
		_, err := findNode(folder)
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "make install-test") {
			t.Errorf("got %v, want %q and what to run", err, what)
		}
	}
	bin := filepath.Join(folder, "bin")
	t.Setenv("PATH", bin)
	write("package.json", `{"dependencies": {"ioredis": "5.11.1"}}`)
	expect("node is not installed")
	write("bin/node", "#!/bin/sh\n")
	expect("ioredis is not installed")
	write("node_modules/ioredis/package.json", `{"version": "5.0.0"}`)
	expect("ioredis is installed in version 5.0.0, not 5.11.1")
	write("node_modules/ioredis/package.json", `{"version": "5.11.1"}`)
	if node, err := findNode(folder); node != filepath.Join(bin, "node") || err != nil {
		t.Errorf("all is there: got %q, %v", node, err)
	}
}
