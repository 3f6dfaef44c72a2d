package main

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// printable shows what came from a database or over the network on one line of a
// terminal: control characters, which could move its cursor or rename its window,
// are written as escapes.
func printable(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if unprintable(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func unprintable(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }

// printJSON writes what -o json asked for, for people to read as well.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
