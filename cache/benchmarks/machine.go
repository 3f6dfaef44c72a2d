package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/redis/go-redis/v9"
)

// machine says where a run took place.
type machine struct {
	CPU        string            `json:"cpu"`
	Cores      int               `json:"cores"`
	GOMAXPROCS int               `json:"gomaxprocs"`
	Kernel     string            `json:"kernel"`
	Go         string            `json:"go"`
	Redis      string            `json:"redis"`
	Commit     string            `json:"commit"`
	LoadBefore string            `json:"load_before"` // of the last 1, 5 and 15 minutes
	LoadAfter  string            `json:"load_after"`
	Modules    map[string]string `json:"modules"` // versions of what is compared
}

func describe(ctx context.Context, rdb *redis.Client) machine {
	m := machine{
		CPU: cpu(), Cores: runtime.NumCPU(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		Kernel: runtime.GOOS + " " + firstLine("/proc/sys/kernel/osrelease"), Go: runtime.Version() + " " + runtime.GOARCH,
		Commit: commit(ctx), LoadBefore: load(), Modules: modules(),
	}
	if info, err := rdb.InfoMap(ctx, "server").Result(); err == nil {
		m.Redis = info["Server"]["redis_version"]
	}
	return m
}

func cpu() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for text := range strings.Lines(string(raw)) {
		if name, value, _ := strings.Cut(text, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load returns the load averages, empty where the system has no such file.
func load() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func firstLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	text, _, _ := strings.Cut(string(raw), "\n")
	return text
}

// commit returns the commit of the working copy, with a mark if something of it
// has changed that git knows of.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
