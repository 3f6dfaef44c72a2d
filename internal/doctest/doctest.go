// Package doctest reads the project's Markdown, so that tests can run what it
// shows and follow where it links.
package doctest

import (
	"fmt"
	"os"
	"strings"
)

// Block is a fenced block of a page.
type Block struct {
	// Heading is the heading that it stands under, without the #.
	Heading string
	// Language is the first word after the fence.
	Language string
	// Mark is the comment on the line before the block, without <!-- and -->.
	// Blocks with a mark that begins with "run" are run by a test.
	Mark string
	// Text is what stands between the fences, without their indent.
	Text string
	// Line is where the text begins in the page.
	Line int
}

// Read returns the blocks of a page in order.
func Read(path string) ([]Block, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	blocks, err := Blocks(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return blocks, nil
}

// Blocks returns the blocks of a page's text in order.
func Blocks(text string) ([]Block, error) {
	var blocks []Block
	var heading, before, indent string
	var open *Block
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		bare := strings.TrimSpace(line)
		switch {
		case open != nil && bare == "```":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		case strings.HasPrefix(bare, "```"):
			indent = line[:strings.Index(line, "`")]
			open = &Block{Heading: heading, Language: strings.TrimPrefix(bare, "```"), Mark: markOf(before), Line: number + 1}
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
		if bare != "" || open != nil {
			before = bare
		}
	}
	if open != nil {
		return nil, fmt.Errorf("the block in line %d has no end", open.Line)
	}
	return blocks, nil
}

func markOf(line string) string {
	mark, ok := strings.CutPrefix(line, "<!--")
	if !ok {
		return ""
	}
	return strings.TrimSpace(strings.TrimSuffix(mark, "-->"))
}
