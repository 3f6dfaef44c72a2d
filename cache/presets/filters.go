package presets

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Filters stands for a set of filters in a key: 32 hexadecimal digits.
type Filters string

// FiltersOf returns what stands for filters: a struct, a map, url.Values, or
// whatever else JSON can encode. Two values have the same Filters exactly if
// their JSON is the same but for the order of the fields of its objects: a filter
// that is null differs from one that is absent, and the elements of arrays have
// their order, as both may matter to a query. It is the first half of the SHA-256
// of the JSON with sorted field names and no white space, so programs in other
// languages can build the same keys.
func FiltersOf(filters any) (Filters, error) {
	raw, err := json.Marshal(filters)
	if err != nil {
		return "", fmt.Errorf("encode filters: %w", err)
	}
	// Structs encode in the order of their fields, maps in that of their keys.
	var fields any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return "", fmt.Errorf("decode filters: %w", err)
	}
	var canonical bytes.Buffer
	encoder := json.NewEncoder(&canonical)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		return "", fmt.Errorf("encode filters: %w", err)
	}
	sum := sha256.Sum256(bytes.TrimSuffix(canonical.Bytes(), []byte("\n")))
	return Filters(hex.EncodeToString(sum[:16])), nil
}
