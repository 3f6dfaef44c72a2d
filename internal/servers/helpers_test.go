package servers_test

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/servers"
)

// patience is how long anything may take before a test gives up on it. The
// machines are slow and busy, and the race detector is on.
const patience = 90 * time.Second

func itoa(i int) string { return strconv.Itoa(i) }

func exec(t *testing.T, p *servers.Postgres, sql string) {
	t.Helper()
	conn, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](t *testing.T, p *servers.Postgres, sql string) T {
	t.Helper()
	conn, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var v T
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// processes maps every process that runs, and is no zombie, to its parent.
func processes(t *testing.T) map[int]int {
	t.Helper()
	lines := processTable(t)
	found := make(map[int]int)
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[2], "Z") {
			continue
		}
		pid, _ := strconv.Atoi(fields[0])
		parent, _ := strconv.Atoi(fields[1])
		found[pid] = parent
	}
	if found[os.Getpid()] != os.Getppid() {
		t.Fatalf("the process table does not show ourselves: %v", lines)
	}
	return found
}

// processTable lists id, parent and state of each process. Small systems have
// no ps, and Linux needs none.
func processTable(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		out, err := osexec.CommandContext(t.Context(), "ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "stat=").Output()
		if err != nil {
			t.Fatalf("ps: %v", err)
		}
		return strings.Split(string(out), "\n")
	}
	var lines []string
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(string(status), "\n"+name+":\t")
			value, _, _ := strings.Cut(rest, "\n")
			return value
		}
		lines = append(lines, field("Pid")+" "+field("PPid")+" "+field("State"))
	}
	return lines
}

func existing(t *testing.T, pid int) bool {
	t.Helper()
	_, found := processes(t)[pid]
	return found
}

func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	var children []int
	for child, parent := range processes(t) {
		if parent == pid {
			children = append(children, child)
		}
	}
	return children
}

// enterableDir is a temporary folder that any account can enter, which
// t.TempDir is not.
func enterableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func assertEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		t.Errorf("left behind: %s", filepath.Join(dir, entry.Name()))
	}
}

// segmentOf is the id of the System V shared memory of the running server with
// this data folder.
func segmentOf(t *testing.T, data string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(strings.Split(string(text), "\n")[6])
	id := fields[len(fields)-1]
	if !segmentExists(t, id) {
		t.Fatalf("no shared memory segment %s; the test would prove nothing", id)
	}
	return id
}

func segmentExists(t *testing.T, id string) bool {
	t.Helper()
	out, err := osexec.CommandContext(t.Context(), "ipcs", "-m").Output()
	if err != nil {
		t.Fatalf("ipcs: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == id {
			return true
		}
	}
	return false
}
