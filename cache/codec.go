package cache

import "encoding/json"

// Codec turns values into what is stored, and back.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// Marshaler is a value that writes its stored form itself, past the codec. A type
// that has it must have Unmarshaler too.
type Marshaler interface {
	MarshalCache() ([]byte, error)
}

// Unmarshaler reads what Marshaler wrote. It may keep data, and must not change
// it.
type Unmarshaler interface {
	UnmarshalCache(data []byte) error
}

func (c *Cache) marshal(value any) ([]byte, error) {
	if own, ok := value.(Marshaler); ok {
		return own.MarshalCache()
	}
	return c.cfg.Codec.Marshal(value)
}

// unmarshal decodes into what value points to.
func (c *Cache) unmarshal(data []byte, value any) error {
	if own, ok := value.(Unmarshaler); ok {
		return own.UnmarshalCache(data)
	}
	return c.cfg.Codec.Unmarshal(data, value)
}

// JSON is the default codec. What it writes any other client can read.
type JSON struct{}

var _ Codec = JSON{}

// Marshal returns the JSON encoding of v.
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal decodes JSON into what v points to.
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
