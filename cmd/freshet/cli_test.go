package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// freshet runs a command to its end and returns what it printed and its exit
// status.
func freshet(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := command(t.Context(), []string{"FRESHET_CONFIG="}, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

const explained = `
name: shop
postgres: {url: "postgres://nobody@127.0.0.1:1/none"}
cache: {url: "redis://127.0.0.1:1"}
rules:
  - table: orders
    changed: [client_id]
    invalidate: ["order:{id}", "orders:client:{client_id}", "orders:list:*"]
`

// Nothing is connected to: the servers of this configuration do not exist.
func TestExplainCommand(t *testing.T) {
	t.Parallel()
	path := writeConfig(t, explained)
	for _, tc := range []struct {
		name string
		args []string
		want []string // in the output
		not  []string
	}{
		{
			"an order changes hands",
			[]string{"orders", `{"id":42,"client_id":9}`, "--old", `{"client_id":7}`},
			[]string{"order:42", "orders:client:9", "orders:client:7", "orders:list:*"},
			nil,
		},
		{"an insert", []string{"public.orders", `{"id":42,"client_id":9}`}, []string{"order:42", "orders:client:9"}, []string{"orders:client:7"}},
		{"a delete", []string{"orders", `{"id":42,"client_id":7}`, "--op", "delete"}, []string{"order:42", "orders:client:7"}, nil},
		{"a truncate", []string{"orders", `{}`, "--op", "truncate"}, []string{"order:*", "orders:client:*"}, nil},
		{"another table", []string{"clients", `{"id":1}`}, []string{"no rule is about table clients", "rules for public.orders"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, errOut, status := freshet(t, append([]string{"explain", "-c", path}, tc.args...)...)
			if status != exitDone || errOut != "" {
				t.Fatalf("status %d\n%s%s", status, out, errOut)
			}
			for _, word := range tc.want {
				if !strings.Contains(out, word) {
					t.Errorf("%q is not in\n%s", word, out)
				}
			}
			for _, word := range tc.not {
				if strings.Contains(out, word) {
					t.Errorf("%q is in\n%s", word, out)
				}
			}
		})
	}

	out, _, status := freshet(t, "explain", "-c", path, "orders", `{"id":42,"client_id":9}`, "-o", "json")
	var entries []map[string]any
	if err := json.Unmarshal([]byte(out), &entries); err != nil || status != exitDone || len(entries) != 3 {
		t.Errorf("-o json: status %d, %d entries, %v\n%s", status, len(entries), err, out)
	}
}

func TestVersionCommand(t *testing.T) {
	t.Parallel()
	out, _, status := freshet(t, "version")
	if status != exitDone || !strings.HasPrefix(out, "freshet 0.0.0-dev (commit ") || !strings.Contains(out, "go1.") {
		t.Errorf("status %d: %s", status, out)
	}
	out, _, status = freshet(t, "version", "-o", "json")
	var v struct{ Version, Commit, Go string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != exitDone || v.Version == "" || v.Commit == "" || v.Go == "" {
		t.Errorf("-o json: status %d, %v: %s", status, err, out)
	}
}

// What was typed or written wrongly is named, and the status says whose
// mistake it was.
func TestWrongUsage(t *testing.T) {
	t.Parallel()
	good := writeConfig(t, explained)
	for _, tc := range []struct {
		name string
		args []string
		want string // on standard error
	}{
		{"a command misspelt", []string{"rum"}, `did you mean "run"?`},
		{"a flag that there is not", []string{"run", "--role", "consumer"}, "--role"},
		{"a role that there is not", []string{"run", "-c", good, "--roles", "consumer,reader"}, `"reader"`},
		{"one role without a NATS server", []string{"run", "-c", good, "--roles", "consumer"}, "set nats.url"},
		{"an operation that there is not", []string{"explain", "-c", good, "orders", "{}", "--op", "upsert"}, "want insert, update, delete or truncate"},
		{"a row that is not one", []string{"explain", "-c", good, "orders", "[1]"}, "want a JSON object"},
		{"no file", []string{"run", "-c", good + ".none"}, ".none"},
		{
			"a column misspelt",
			[]string{"run", "-c", writeConfig(t, strings.Replace(explained, "invalidate:", "invalidat:", 1))},
			`did you mean "invalidate"?`,
		},
		{"an empty cache URL", []string{"run", "-c", writeConfig(t, strings.Replace(explained, "redis://127.0.0.1:1", "", 1))}, "cache.url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, errOut, status := freshet(t, tc.args...)
			if status != exitUsage || !strings.Contains(errOut, tc.want) || out != "" {
				t.Errorf("status %d, want %d, and %q on standard error\n%s%s", status, exitUsage, tc.want, out, errOut)
			}
		})
	}
}
