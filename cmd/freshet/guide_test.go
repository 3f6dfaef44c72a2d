package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/doctest"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// guide follows a page as its reader would: one shell in a scratch folder, with
// the command where `make build` puts it, and servers of its own where the page
// says localhost. Blocks are marked by a comment on the line before:
//
//	run                    a script that must succeed; of a console block, each
//	                       command with the output shown ("..." for any lines)
//	run, exit 1            a script that ends so
//	run in the background  a service, which must come up
//	run, write FILE        the file's text
type guide struct {
	t       *testing.T
	dir     string
	replace *strings.Replacer
	http    string // where the service answers, instead of the default
	nats    string // and its embedded server, where the page names none
	input   io.Writer
	lines   chan string
}

// newGuide starts the servers; replace has pairs of what the page says, besides the
// two, and what is there instead.
func newGuide(t *testing.T, schema string, replace ...string) *guide {
	t.Helper()
	postgres, redis := servertest.Postgres(t), servertest.Redis(t)
	if schema != "" {
		db, err := postgres.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(t.Context(), schema, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		db.Close(t.Context())
	}
	http, nats := servertest.FreeAddr(t), servertest.FreeAddr(t)
	g := &guide{t: t, dir: t.TempDir(), http: http, nats: nats, lines: make(chan string, 1000)} // more than any command here writes
	g.replace = strings.NewReplacer(append(replace,
		"postgres://postgres@localhost:5432/app", postgres.URL(), "redis://localhost:6379", redis.URL(), "127.0.0.1:8080", http,
		"url: ${NATS_URL:-}", "embedded: {listen: \""+nats+"\"}",
	)...)
	g.build()
	g.shell(redis.URL())
	return g
}

// build puts the command into bin, as `make build` does.
func (g *guide) build() {
	g.t.Helper()
	build := exec.CommandContext(g.t.Context(), "go", "build", "-o", filepath.Join(g.dir, "bin", "freshet"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		g.t.Fatalf("go build: %v: %s", err, out)
	}
}

// shell starts the reader's shell. Its processes are a group of their own, which
// ends with the test.
func (g *guide) shell(redis string) {
	g.t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "DATABASE_URL=", "REDIS_URL="+redis, "FRESHET_CONFIG=", "PAGER=cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.input = input
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(g.lines)
		for s := bufio.NewScanner(output); s.Scan(); {
			g.lines <- s.Text()
		}
	})
	g.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		for range g.lines {
			continue // what is left is of no interest
		}
		reading.Wait()
		_ = cmd.Wait() // it was killed
	})
	g.ask(`redis-cli() { command redis-cli -u "$REDIS_URL" "$@"; }`)
}

// ask runs a script in the shell and returns what it writes, and its status.
func (g *guide) ask(script string) (output, status string) {
	g.t.Helper()
	const end = "the end of a script, status "
	if _, err := fmt.Fprintf(g.input, "%s\necho \"%s$?\"\n", strings.TrimRight(g.replace.Replace(script), "\n"), end); err != nil {
		g.t.Fatal(err)
	}
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-g.lines:
			if !ok {
				g.t.Fatalf("the shell ended in %q:\n%s", script, output)
			}
			before, status, found := strings.Cut(line, end)
			if found {
				return output + before, status
			}
			output += line + "\n"
		case <-timeout:
			g.t.Fatalf("%q does not end:\n%s", script, output)
		}
	}
}

// follow runs the marked blocks under the headings, all of them if none is named.
func (g *guide) follow(path string, headings ...string) {
	g.t.Helper()
	blocks, err := doctest.Read(path)
	if err != nil {
		g.t.Fatal(err)
	}
	run := 0
	for _, b := range blocks {
		if !strings.HasPrefix(b.Mark, "run") || len(headings) > 0 && !strings.Contains(strings.Join(headings, "\n"), b.Heading) {
			continue
		}
		run++
		g.block(fmt.Sprintf("%s:%d", path, b.Line), b)
	}
	if run < 4 {
		g.t.Fatalf("%s: %d blocks are run; the test would prove little", path, run)
	}
}

func (g *guide) block(where string, b doctest.Block) {
	g.t.Helper()
	want := "0"
	if _, status, found := strings.Cut(b.Mark, "exit "); found {
		want = status
	}
	_, file, isFile := strings.Cut(b.Mark, "write ")
	switch {
	case isFile:
		text := g.replace.Replace(b.Text)
		if b.Language == "yaml" {
			if !strings.Contains(text, "\nhttp:") {
				text += fmt.Sprintf("http: {listen: %q}\n", g.http)
			}
			if !strings.Contains(text, "\nnats:") {
				text += fmt.Sprintf("nats: {embedded: {listen: %q}}\n", g.nats)
			}
		}
		if err := os.WriteFile(filepath.Join(g.dir, file), []byte(text), 0o600); err != nil {
			g.t.Fatal(err)
		}
	case b.Mark == "run in the background":
		g.ask("(" + strings.TrimSpace(b.Text) + ") > log 2>&1 &")
		servertest.Eventually(g.t, patience, func() (bool, string) {
			log, err := os.ReadFile(filepath.Join(g.dir, "log"))
			return strings.Contains(string(log), "coverage flushed: gap: slot_created/final"), fmt.Sprintf("%s %v", log, err)
		})
	case b.Language == "console":
		for _, c := range commandsOf(b.Text) {
			// What is shown may be a moment away, as an effect of the one before.
			servertest.Eventually(g.t, patience, func() (bool, string) {
				got, _ := g.ask(c.command)
				return c.output.MatchString(got), fmt.Sprintf("%s: %s writes\n%s", where, c.command, got)
			})
		}
	default:
		if got, status := g.ask(b.Text); status != want {
			g.t.Fatalf("%s ends with status %s, want %s:\n%s", where, status, want, got)
		}
	}
}

// shown is a command of a console block and what it writes.
type shown struct {
	command string
	output  *regexp.Regexp
}

func commandsOf(text string) (all []shown) {
	var commands []string
	patterns := []string{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		command, isCommand := strings.CutPrefix(line, "$ ")
		if isCommand {
			commands = append(commands, command)
			patterns = append(patterns, "")
			continue
		}
		last := len(patterns) - 1
		if line == "..." {
			patterns[last] += `(?s:.*)`
			continue
		}
		// How redis-cli marks numbers for people, and tables pad.
		line = strings.TrimPrefix(line, "(integer) ")
		words := strings.Fields(line)
		for i := range words {
			words[i] = regexp.QuoteMeta(words[i])
		}
		patterns[last] += strings.ReplaceAll(` *`+strings.Join(words, ` +`)+` *\n`, regexp.QuoteMeta("…"), `.*`)
	}
	for i, command := range commands {
		all = append(all, shown{command, regexp.MustCompile(`^` + strings.TrimSuffix(patterns[i], `\n`) + `\n?$`)})
	}
	return all
}

// README's own database, as it says.
func TestGuideReadme(t *testing.T) {
	t.Parallel()
	g := newGuide(t, `CREATE TABLE orders (id bigint PRIMARY KEY, client_id bigint); INSERT INTO orders VALUES (42, 7)`)
	g.follow("../../README.md", "Your own database, in five minutes")
}

func TestGuideGettingStarted(t *testing.T) {
	t.Parallel()
	newGuide(t, "").follow("../../docs/getting-started.md")
}

// TestShown keeps the comparison honest.
func TestShown(t *testing.T) {
	t.Parallel()
	for output, ok := range map[string]bool{"one  two\nx\n1\n": true, "one two\n1\n": true, "one two\n2\n": false, "two\n1\n": false, "one two\n1\nmore\n": false} {
		all := commandsOf("$ count\none two\n...\n(integer) 1\n")
		if len(all) != 1 || all[0].command != "count" || all[0].output.MatchString(output) != ok {
			t.Errorf("%q: got %v, want %v", output, !ok, ok)
		}
	}
}
