package cache

import "strings"

// Names of the bookkeeping keys. They are a promise to users.
const (
	reserved       = "freshet:"
	leasePrefix    = "freshet:lease:"
	tagPrefix      = "freshet:tag:"
	positionPrefix = "freshet:position:"
	aheadPrefix    = "freshet:ahead:"
	counterPrefix  = "freshet:counter:"
)

// LeaseKey returns the name of a key's lease, which is in the same Redis
// Cluster slot. There are three forms:
//
//	freshet:lease:{KEY}      a key without "}"
//	freshet:lease:KEY        a key with a hash tag of its own
//	freshet:lease:{TAG}KEY   any other key with a "}", with the slot's short tag
//
// No two keys share a lease key.
func LeaseKey(key string) string {
	switch {
	case plainForm(key):
		return leasePrefix + "{" + key + "}"
	case ownForm(key):
		return leasePrefix + key
	default:
		return leasePrefix + "{" + slotTag(slotOf(key)) + "}" + key
	}
}

// leasedKey returns the key of a lease key.
func leasedKey(lease string) (string, bool) {
	rest, ok := strings.CutPrefix(lease, leasePrefix)
	if !ok {
		return "", false
	}
	if tag, key, found := cutTag(rest); found {
		switch {
		case key == "":
			return tag, true
		case tableForm(tag, key):
			return key, true
		}
	}
	return rest, ownForm(rest)
}

func plainForm(key string) bool { return key != "" && strings.IndexByte(key, '}') < 0 }

// ownForm reports whether a key's own hash tag serves for its lease too. Two
// shapes have one and would still be mistaken for the lease key of another
// key: "{x}" whole, and "{t}rest" where rest takes the third form with tag t.
func ownForm(key string) bool {
	if _, ok := hashTag(key); !ok {
		return false
	}
	tag, rest, found := cutTag(key)
	return !found || rest != "" && !tableForm(tag, rest)
}

// tableForm reports whether key takes the third form, with this tag.
func tableForm(tag, key string) bool {
	return !plainForm(key) && !ownForm(key) && tag == slotTag(slotOf(key))
}

// cutTag splits "{tag}rest" where tag is not empty.
func cutTag(s string) (tag, rest string, found bool) {
	if !strings.HasPrefix(s, "{") {
		return "", s, false
	}
	tag, rest, found = strings.Cut(s[1:], "}")
	return tag, rest, found && tag != ""
}
