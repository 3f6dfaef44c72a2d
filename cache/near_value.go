package cache

import (
	"reflect"
	"slices"
	"sync"
	"time"
)

// cloner is a type whose values can copy themselves deeply.
type cloner[T any] interface{ Clone() T }

// nearPayload is what a near layer keeps of values that callers could change: it
// is decoded anew for each.
type nearPayload []byte

// nearTagged is what a near layer keeps of an entry with tags: calls name tags that
// it must have.
type nearTagged struct {
	value any
	tags  []string // with the prefix
}

// nearGet returns the near layer's value of a key. Values that nobody can change
// through a copy are kept as they are, those with a Clone method are cloned,
// and all others are decoded again.
func nearGet[T any](c *Cache, full string, s *settings) (T, bool) {
	kept, ok := c.cfg.Near.Get(full)
	if !ok {
		return *new(T), false
	}
	tagged, ok := kept.(*nearTagged)
	if ok {
		kept = tagged.value
	}
	for _, tag := range s.tags {
		if tagged == nil || !slices.Contains(tagged.tags, c.cfg.Prefix+tag) {
			return *new(T), false
		}
	}
	if payload, ok := kept.(nearPayload); ok {
		return nearDecode[T](c, payload)
	}
	value, ok := kept.(T)
	if !ok || reflect.TypeFor[T]().Kind() == reflect.Interface {
		return *new(T), false // another type's
	}
	if own, ok := kept.(cloner[T]); ok {
		return own.Clone(), true
	}
	return value, true
}

// nearDecode is apart so that a value that needs no decoding is not allocated.
func nearDecode[T any](c *Cache, payload nearPayload) (T, bool) {
	var value T
	if err := c.unmarshal(payload, &value); err != nil {
		return *new(T), false // another type's
	}
	return value, true
}

// nearPut offers what was read from the store to the near layer.
func nearPut[T any](c *Cache, full string, value T, l *lookup) {
	if !l.marked {
		return
	}
	e := NearEntry{Tags: l.tags, TTL: time.Hour, Size: len(l.payload)}
	if l.left > 0 {
		e.TTL = l.left
	}
	if own, ok := any(value).(cloner[T]); ok && !isNil(value) {
		e.Value = own.Clone()
	} else if immutable(reflect.TypeFor[T]()) {
		e.Value = value
	} else {
		e.Value = nearPayload(l.payload)
	}
	if len(l.tags) > 0 {
		e.Value = &nearTagged{value: e.Value, tags: l.tags}
	}
	c.cfg.Near.Put(full, e, l.mark)
}

// isNil reports whether a value is nil, whose Clone may not be called.
func isNil(value any) bool {
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return v.IsNil()
	default:
		return false
	}
}

// immutables remembers which types are immutable.
var immutables sync.Map // of reflect.Type to bool

// immutable reports whether a copy of a value shares nothing that can be changed.
func immutable(t reflect.Type) bool {
	if known, ok := immutables.Load(t); ok {
		return known == true
	}
	found := holdsNoReference(t)
	immutables.Store(t, found)
	return found
}

func holdsNoReference(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64,
		reflect.Complex64, reflect.Complex128, reflect.String:
		return true
	case reflect.Array:
		return holdsNoReference(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return true // its location is never changed
		}
		for i := range t.NumField() {
			if !holdsNoReference(t.Field(i).Type) {
				return false
			}
		}
		return true
	default:
		return false
	}
}
