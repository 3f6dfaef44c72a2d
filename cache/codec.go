package cache

import "encoding/json"

// Codec turns values into what is stored, and back.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// JSON is the default codec. What it writes any other client can read.
type JSON struct{}

var _ Codec = JSON{}

// Marshal returns the JSON encoding of v.
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal decodes JSON into what v points to.
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
