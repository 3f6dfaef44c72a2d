package cache

import (
	"encoding/json"
	"reflect"
)

// Codec turns values into what is stored, and back. What one value is decoded
// from others may be decoded from too: Unmarshal must not let callers change it
// through the value, nor Marshal return what the value holds.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// Marshaler is a value that writes its stored form itself, past the codec. A type
// that has it, or whose pointer has it, must have Unmarshaler too. Values may be of
// the type or pointers to it.
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
	if t := reflect.TypeOf(value); t != nil && t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(marshalerType) {
		pointer := reflect.New(t)
		pointer.Elem().Set(reflect.ValueOf(value))
		if own, ok := pointer.Interface().(Marshaler); ok { // it is
			return own.MarshalCache()
		}
	}
	return c.cfg.Codec.Marshal(value)
}

// unmarshal decodes into what value points to.
func (c *Cache) unmarshal(data []byte, value any) error {
	if own, ok := value.(Unmarshaler); ok {
		return own.UnmarshalCache(data)
	}
	// Values that are pointers have the method themselves.
	if t := reflect.TypeOf(value).Elem(); t.Kind() == reflect.Pointer && t.Implements(unmarshalerType) {
		pointed := reflect.New(t.Elem())
		if own, ok := pointed.Interface().(Unmarshaler); ok { // it is
			reflect.ValueOf(value).Elem().Set(pointed)
			return own.UnmarshalCache(data)
		}
	}
	return c.cfg.Codec.Unmarshal(data, value)
}

var marshalerType, unmarshalerType = reflect.TypeFor[Marshaler](), reflect.TypeFor[Unmarshaler]()

// JSON is the default codec. What it writes any other client can read.
type JSON struct{}

var _ Codec = JSON{}

// Marshal returns the JSON encoding of v.
func (JSON) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

// Unmarshal decodes JSON into what v points to.
func (JSON) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
