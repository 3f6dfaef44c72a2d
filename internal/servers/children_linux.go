package servers

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, path := range stats {
		fields := statFields(path)
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		children = append(children, child)
	}
	return children, nil
}

// stopped reports whether every thread of pid has come to the halt that SIGSTOP
// asks for. The signal reaches them one after the other: the first thread's
// state, which is all that /proc/PID/stat shows, says nothing of the others,
// and any of them can still answer a client.
func stopped(pid int) bool {
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "[0-9]*", "stat"))
	if err != nil {
		return false
	}
	for _, path := range threads {
		if fields := statFields(path); len(fields) > 0 && !strings.Contains("TZX", fields[0]) {
			return false
		}
	}
	return true // also where there is no thread left
}

// alive reports whether pid still runs. A zombie does not: it waits for a
// parent that may never ask, as in a container whose process 1 reaps nothing.
func alive(pid int) bool {
	state := processState(pid)
	return state != "" && state != "Z" && state != "X"
}

func processState(pid int) string {
	fields := statFields(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// statFields returns the fields after the program's name: state, parent, …
// The name stands in parentheses and may contain anything, these included.
func statFields(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	_, rest, found := cutLast(string(text), ") ")
	if !found {
		return nil
	}
	return strings.Fields(rest)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
