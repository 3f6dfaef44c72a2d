package doctest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const top = "../.."

var (
	link    = regexp.MustCompile(`(?:\]\(|<img src=")([^()\s"]+)[)"]`)
	code    = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`^#{1,6} (.+)$`)
)

// page is one Markdown file: its links with their lines, and its anchors.
type page struct {
	links   map[string]int
	anchors map[string]bool
}

func readPage(path string) (*page, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &page{links: map[string]int{}, anchors: map[string]bool{}}
	fenced := false
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		if h := heading.FindStringSubmatch(strings.TrimSpace(line)); h != nil {
			p.add(anchorOf(h[1]))
		}
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
			p.links[found[1]] = number
		}
	}
	return p, nil
}

// add numbers anchors that are there already, as GitHub does.
func (p *page) add(anchor string) {
	name := anchor
	for i := 1; p.anchors[name]; i++ {
		name = fmt.Sprintf("%s-%d", anchor, i)
	}
	p.anchors[name] = true
}

// anchorOf makes the anchor that GitHub makes of a heading.
func anchorOf(text string) string {
	text = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(text, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(text))
}

// Every relative link of every page leads to a file, and its anchor to a heading.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages := map[string]*page{}
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(name, ".") && path != top || name == "node_modules" || name == "bin"):
			return fs.SkipDir
		case filepath.Ext(name) == ".md":
			pages[filepath.Clean(path)], err = readPage(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	followed := 0
	for path, p := range pages {
		for target, line := range p.links {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			followed++
			if problem := follow(pages, path, target); problem != "" {
				t.Errorf("%s:%d: %s", path, line, problem)
			}
		}
	}
	if len(pages) < 10 || followed < 40 {
		t.Fatalf("%d links in %d pages were followed; the test would prove nothing", followed, len(pages))
	}
}

func follow(pages map[string]*page, from, target string) string {
	file, anchor, _ := strings.Cut(target, "#")
	path := from
	if file != "" {
		path = filepath.Join(filepath.Dir(from), file)
		if _, err := os.Stat(path); err != nil {
			return fmt.Sprintf("there is no %s", target)
		}
	}
	if anchor == "" {
		return ""
	}
	if to := pages[path]; to == nil || !to.anchors[anchor] {
		return fmt.Sprintf("%s has no heading for #%s", path, anchor)
	}
	return ""
}

// README is read before anything is decided: two screens, of sixty lines of 120
// columns. What does not fit belongs to docs/.
func TestREADMEFits(t *testing.T) {
	t.Parallel()
	const lines, columns = 2 * 60, 120
	data, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if shown := link.ReplaceAllString(strings.TrimSpace(line), "]"); !strings.HasPrefix(shown, "<!--") {
			n += 1 + max(0, utf8.RuneCountInString(shown)-1)/columns
		}
	}
	if n > lines {
		t.Errorf("README.md takes %d lines of %d columns; at most %d fit", n, columns, lines)
	}
}

// TestFollow keeps the test above honest.
func TestFollow(t *testing.T) {
	t.Parallel()
	pages := map[string]*page{"links_test.go": {anchors: map[string]bool{anchorOf("What `run` does, *exactly*"): true}}}
	for target, ok := range map[string]bool{
		"links_test.go": true, "no_such.md": false, "#what-run-does-exactly": true, "links_test.go#what-run-does-exactly": true, "#what": false,
	} {
		if problem := follow(pages, "links_test.go", target); (problem == "") != ok {
			t.Errorf("%s: %q", target, problem)
		}
	}
}
