package cache

import (
	"fmt"
	"strconv"
	"strings"
)

// Key joins the parts of a key with colons, in fmt's default format:
// Key("user", 7, "permissions") is "user:7:permissions". Parts that come from
// outside and may hold colons themselves should stand last.
func Key(parts ...any) string {
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteByte(':')
		}
		switch part := part.(type) {
		case string:
			b.WriteString(part)
		case int:
			b.WriteString(strconv.Itoa(part))
		case int64:
			b.WriteString(strconv.FormatInt(part, 10))
		default:
			fmt.Fprint(&b, part)
		}
	}
	return b.String()
}

// VersionedKey appends a version to the key of the parts: VersionedKey(2, "user", 7)
// is "user:7:v2". A program that changes what it stores under a key raises the
// version, and neither reads what older programs store nor disturbs them. Rules
// name such keys with a pattern, such as user:{id}:v*, or with each version in
// use.
func VersionedKey(version int, parts ...any) string {
	return Key(parts...) + ":v" + strconv.Itoa(version)
}
