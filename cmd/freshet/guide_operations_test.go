package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/doctest"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const guideOrders = `CREATE TABLE orders (id bigint PRIMARY KEY, client_id bigint); ALTER TABLE orders REPLICA IDENTITY FULL; INSERT INTO orders VALUES (42, 7);`

// Two processes, a takeover, and what an operator does by hand.
func TestGuideOperations(t *testing.T) {
	t.Parallel()
	g := newGuide(t, guideOrders, "nats://localhost:4222", servertest.NATS(t).URL(), "127.0.0.1:8081", servertest.FreeAddr(t))
	g.ask("export DATABASE_URL=postgres://postgres@localhost:5432/app")
	g.follow("../../docs/operations.md")
	if left, _ := g.ask("bin/freshet uninstall"); left != "nothing of instance shop is there\n" {
		t.Errorf("after the uninstall: %s", left)
	}
}

// trouble is a message that troubleshooting.md quotes, and how to be told so.
type trouble struct {
	says    string // as the page has it
	heading string // that it stands under
	status  int
	provoke func(b *troubled) (out string, status int)
}

// troubled is the servers, and who may do what on them.
type troubled struct {
	t        *testing.T
	postgres *servers.Postgres
	redis    *servers.Redis
	nats     *servers.NATS
	name     atomic.Int64
}

// config writes a configuration of an instance of its own, whose settings the
// replacements change.
func (b *troubled) config(replacements ...string) string {
	b.t.Helper()
	text := fmt.Sprintf(`
name: trouble%d
postgres: {url: %q}
nats: {url: %q}
cache: {url: %q}
http: {listen: ""}
rules: [{table: orders, invalidate: ["order:{id}"]}]
`, b.name.Add(1), b.postgres.URL(), b.nats.URL(), b.redis.URL())
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			b.t.Fatalf("no %q in %s", replacements[i], text)
		}
		text = strings.ReplaceAll(text, replacements[i], replacements[i+1])
	}
	return writeConfig(b.t, text)
}

func (b *troubled) as(role string) []string {
	return []string{b.postgres.URL(), b.postgres.UserURL(role, "", "app")}
}

// run runs a command that ends by itself, or is killed.
func (b *troubled) run(args ...string) (out string, status int) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.t.Context(), patience)
	defer stop()
	cmd := command(ctx, []string{"FRESHET_CONFIG="}, args...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		b.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// taken is an address where somebody listens.
func taken(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// waits starts a service that waits for a server, until its log says so, and stops it.
func (b *troubled) waits(config, says string) (log string, status int) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.t.Context(), patience)
	defer stop()
	cmd := command(ctx, nil, "run", "-c", config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		log += lines.Text() + "\n"
		if strings.Contains(lines.Text(), says) {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended, which is seen below
		}
	}
	_ = cmd.Wait() // the status is read below
	return log, cmd.ProcessState.ExitCode()
}

const (
	notStarting = "It does not start"
	nobodyFound = "A command finds nobody"
	nowhere     = "127.0.0.1:1" // nobody listens there
)

var troubles = []trouble{
	{"environment variable DATABASE_URL is not set", notStarting, exitUsage, func(b *troubled) (string, int) {
		out, status := b.run("run", "-c", b.config(b.postgres.URL(), "${FRESHET_TEST_UNSET}")) // the other may be set
		return strings.ReplaceAll(out, "FRESHET_TEST_UNSET", "DATABASE_URL"), status
	}},
	{"the old value of {…} is not in the replica identity", notStarting, exitUsage, func(b *troubled) (string, int) {
		return b.run("run", "-c", b.config(`"order:{id}"`, `"orders:client:{client_id}"`))
	}},
	{"publication … does not match the rules", notStarting, exitFailed, func(b *troubled) (string, int) {
		return b.run("run", "-c", b.config(b.as("reader")...))
	}},
	{"replication slot … does not exist", notStarting, exitFailed, func(b *troubled) (string, int) {
		config := b.config("postgres: {", "postgres: {manage: false, publication: made_by_hand, ")
		return b.run("run", "-c", config)
	}},
	{"connect for replication: …", notStarting, exitFailed, func(b *troubled) (string, int) {
		return b.run("run", "-c", b.config(append(b.as("poor"), "postgres: {", "postgres: {publication: made_by_hand, ")...))
	}},
	{"embedded store … is in use by another process", notStarting, exitFailed, func(b *troubled) (string, int) {
		store := fmt.Sprintf(`embedded: {listen: "127.0.0.1:-1", store_dir: %q}`, b.t.TempDir())
		config := b.config(fmt.Sprintf("url: %q", b.nats.URL()), store)
		runService(b.t, config, "")
		return b.run("run", "-c", config)
	}},
	{"listen on 127.0.0.1:4222", notStarting, exitFailed, func(b *troubled) (string, int) {
		address := taken(b.t)
		out, status := b.run("run", "-c", b.config(fmt.Sprintf("url: %q", b.nats.URL()), fmt.Sprintf("embedded: {listen: %q, store_dir: %q}", address, b.t.TempDir())))
		return strings.ReplaceAll(out, address, "127.0.0.1:4222"), status
	}},
	{"http.listen … address already in use", notStarting, exitFailed, func(b *troubled) (string, int) {
		return b.run("run", "-c", b.config(`listen: ""`, fmt.Sprintf("listen: %q", taken(b.t))))
	}},
	{"cache.url is empty", notStarting, exitUsage, func(b *troubled) (string, int) {
		return b.run("run", "-c", b.config(b.redis.URL(), ""))
	}},
	{"waiting for a server that is away", notStarting, exitDone, func(b *troubled) (string, int) {
		return b.waits(b.config(b.postgres.Addr(), nowhere), "waiting for a server that is away")
	}},
	{"nats does not answer", notStarting, exitDone, func(b *troubled) (string, int) {
		return b.waits(b.config(b.nats.Addr(), nowhere), "nats does not answer")
	}},
	{"no process of instance … answers", nobodyFound, exitFailed, func(b *troubled) (string, int) {
		return b.run("pause", "-c", b.config())
	}},
	{"nothing is heard of instance …", nobodyFound, exitFailed, func(b *troubled) (string, int) {
		return b.run("status", "-c", b.config())
	}},
	{"connect to nats at …", nobodyFound, exitFailed, func(b *troubled) (string, int) {
		return b.run("pause", "-c", b.config(b.nats.Addr(), nowhere))
	}},
}

// Every message that troubleshooting.md quotes is what the program says.
func TestGuideTroubleshooting(t *testing.T) {
	t.Parallel()
	page := readFile(t, "../../docs/troubleshooting.md")
	quotes := map[string]bool{} // each heading's
	for _, heading := range []string{notStarting, nobodyFound} {
		_, section, found := strings.Cut(page, "## "+heading+"\n")
		if !found {
			t.Fatalf("no section %q", heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for line := range strings.Lines(section) {
			if heading == notStarting { // a message is in the first column
				line, _, _ = strings.Cut(strings.TrimPrefix(line, "|"), "|")
			} else {
				line, _, _ = strings.Cut(line, ":")
			}
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
				quotes[heading+": "+m[1]] = true
			}
		}
	}
	b := &troubled{t: t, postgres: servertest.Postgres(t), redis: servertest.Redis(t), nats: servertest.NATS(t)}
	db, err := b.postgres.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	if _, err := db.Exec(t.Context(), `
		CREATE TABLE orders (id bigint PRIMARY KEY, client_id bigint);
		CREATE ROLE reader LOGIN REPLICATION; CREATE ROLE poor LOGIN;
		GRANT pg_read_all_stats TO reader, poor; GRANT SELECT ON orders TO reader, poor;
		CREATE PUBLICATION made_by_hand FOR TABLE ONLY orders`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	for _, tr := range troubles {
		if quote := tr.heading + ": " + tr.says; !quotes[quote] {
			t.Errorf("%q is not quoted", quote)
		} else {
			delete(quotes, quote)
		}
		out, status := tr.provoke(b)
		want := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(tr.says), "…", ".*"))
		if !want.MatchString(out) || status != tr.status {
			t.Errorf("%s: status %d, want %d, and the output\n%s", tr.says, status, tr.status, out)
		}
		if strings.Contains(out, "trying again") {
			t.Errorf("%s: it does not try again:\n%s", tr.says, out)
		}
	}
	for quote := range quotes {
		t.Errorf("nobody provokes %q", quote)
	}
}

// From hand-written invalidation, step by step.
func TestGuideMigrating(t *testing.T) {
	t.Parallel()
	g := newGuide(t, guideOrders)
	g.ask("export DATABASE_URL=postgres://postgres@localhost:5432/app")
	g.ask("redis-cli mset order:1 1 order:2 1 order:42 1 orders:client:7 1 orders:client:8 1") // what the old code has stored
	g.follow("../../docs/migrating.md")
}

// commands.md has every command, and no flag that there is not.
func TestGuideCommands(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, line := range firstColumn(readFile(t, "../../docs/commands.md")) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "freshet" {
			continue
		}
		cmd, _, err := newRootCommand().Find(words[1:2])
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		shown[cmd.Name()] = true
		for _, m := range regexp.MustCompile(`(^|[\[ ])(-[a-z]|--[a-z-]+)`).FindAllStringSubmatch(line, -1) {
			name := strings.TrimLeft(m[2], "-")
			if cmd.Flags().Lookup(name) == nil && (len(name) > 1 || cmd.Flags().ShorthandLookup(name) == nil) {
				t.Errorf("%s: there is no %s", line, m[2])
			}
		}
	}
	for _, cmd := range newRootCommand().Commands() {
		if name := cmd.Name(); name != "help" && name != "completion" && !shown[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

// The rules that rules.md has are rules.
func TestGuideRules(t *testing.T) {
	t.Parallel()
	blocks, err := doctest.Read("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, b := range blocks {
		if b.Language != "yaml" {
			continue
		}
		tried++
		config := writeConfig(t, fmt.Sprintf("name: shop\npostgres: {url: \"postgres://%[1]s/none\"}\ncache: {url: \"redis://%[1]s\"}\n", nowhere)+b.Text)
		row := `{"id":42,"client_id":7,"created_at":"2026-01-02T03:04:05Z"}`
		if out, errOut, status := freshet(t, "explain", "-c", config, "orders", row); status != exitDone || !strings.Contains(out, "order:42") {
			t.Errorf("line %d: status %d\n%s%s", b.Line, status, out, errOut)
		}
	}
	if tried != 2 {
		t.Errorf("%d blocks were tried", tried)
	}
}
