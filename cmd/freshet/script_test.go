package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// asFreshet puts this test binary into a script's path as freshet.
func asFreshet(t *testing.T) func(*testscript.Env) error {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(bin, "freshet")); err != nil {
		t.Fatal(err)
	}
	return func(env *testscript.Env) error {
		env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
		env.Setenv(asCommand, "1")
		env.Setenv("TMPDIR", os.TempDir()) // Postgres runs as somebody who may not look into the script's own
		return nil
	}
}

// What can be said without a server: every command's help, wrong usage, wrong files.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: asFreshet(t), RequireUniqueNames: true})
}

// Every command that looks at an instance or asks it something, each with an
// instance of its own that runs.
func TestLiveScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/live/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, "")
			config := strings.Replace(readFile(t, s.config), `"orders:list:*"]`, `"orders:list:*"]
    warm: [{key: "order:{id}", sql: "select to_jsonb(client_id || '/' || version) from orders where id = {id}", ttl: 1h}]`, 1)
			s.config = writeConfig(t, config)
			p := runService(t, s.config, "")
			s.settle(p)
			freshet := asFreshet(t)
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					env.Values[liveShop{}] = &live{s, p}
					env.Setenv("NATS_URL", s.nats.URL())
					env.Setenv("DATABASE_URL", s.postgres.URL())
					env.Setenv("FRESHET_CONFIG", s.config)
					return freshet(env)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"sql": scriptSQL, "put": scriptPut, "gone": scriptGone, "until": scriptUntil, "stop-service": scriptStop, "configure": scriptConfigure,
					"listening": scriptListening,
				},
			})
		})
	}
}

type liveShop struct{}

type live struct {
	*shop
	process *process
}

func liveOf(ts *testscript.TestScript) *live {
	l, ok := ts.Value(liveShop{}).(*live)
	if !ok {
		ts.Fatalf("no shop")
	}
	return l
}

// scriptSQL runs a statement.
func scriptSQL(ts *testscript.TestScript, _ bool, args []string) {
	_, err := liveOf(ts).db.Exec(liveOf(ts).t.Context(), strings.Join(args, " "))
	ts.Check(err)
}

// scriptPut stores values under keys, past the library.
func scriptPut(ts *testscript.TestScript, _ bool, args []string) {
	l := liveOf(ts)
	rdb := l.redis.Client()
	defer rdb.Close()
	for _, pair := range args {
		key, value, _ := strings.Cut(pair, "=")
		ts.Check(rdb.Set(l.t.Context(), key, value, 0).Err())
	}
}

// scriptGone waits until keys have gone; with ! it looks that they are there.
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	l := liveOf(ts)
	rdb := l.redis.Client()
	defer rdb.Close()
	for deadline := time.Now().Add(patience); ; {
		n, err := rdb.Exists(l.t.Context(), args...).Result()
		ts.Check(err)
		switch {
		case neg && n == int64(len(args)), !neg && n == 0:
			return
		case neg || time.Now().After(deadline):
			ts.Fatalf("%d of %v are there", n, args)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// scriptUntil runs a command until its output matches.
func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(patience); ; {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if want.MatchString(out) {
			return
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || time.Now().After(deadline) {
			ts.Fatalf("%v: %v, without %s:\n%s", args[1:], err, want, out)
		}
	}
}

// scriptConfigure replaces a text of the service's configuration by another one.
func scriptConfigure(ts *testscript.TestScript, _ bool, args []string) {
	config := liveOf(ts).config
	data, err := os.ReadFile(config)
	ts.Check(err)
	if !strings.Contains(string(data), args[0]) {
		ts.Fatalf("no %q in the configuration", args[0])
	}
	ts.Check(os.WriteFile(config, []byte(strings.ReplaceAll(string(data), args[0], args[1])), 0o600))
}

// scriptListening writes a file that says where the service listens: its own leaves
// the port to the system.
func scriptListening(ts *testscript.TestScript, _ bool, args []string) {
	address := strings.TrimPrefix(liveOf(ts).process.http, "http://")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("name: shop\nhttp: {listen: \""+address+"\"}\n"), 0o600))
}

// scriptStop ends the service in order.
func scriptStop(ts *testscript.TestScript, _ bool, _ []string) {
	if status, _ := liveOf(ts).process.terminate(); status != exitDone {
		ts.Fatalf("the service ended with %d", status)
	}
}

// Every command is in a script with good and bad input, and its help has an example.
func TestEveryCommandHasAScript(t *testing.T) {
	t.Parallel()
	var scripts strings.Builder
	for _, dir := range []string{"testdata/script", "testdata/live"} {
		files, err := filepath.Glob(dir + "/*.txtar")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			scripts.WriteString(readFile(t, file))
		}
	}
	text := scripts.String()
	for _, cmd := range newRootCommand().Commands() {
		name := cmd.Name()
		if slices.Contains([]string{"help", "completion"}, name) {
			continue
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", name)
		}
		if !regexp.MustCompile(`(?m)^(exec|until \S+|until '[^']*') freshet ` + name + `\b`).MatchString(text) {
			t.Errorf("no script runs %s as it is meant", name)
		}
		if !regexp.MustCompile(`(?m)^! exec freshet ` + name + `\b`).MatchString(text) {
			t.Errorf("no script gives %s what is wrong", name)
		}
	}
}
