package main

import (
	"encoding/json"
	"io"
)

// printJSON writes what -o json asked for, for people to read as well.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
