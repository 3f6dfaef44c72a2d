package presets

import (
	"context"

	"github.com/freshet-dev/freshet/cache"
)

// UserKey is user:{id}.
func UserKey[K comparable](id K) string { return cache.Key("user", id) }

// UserEmailKey is user:email:{email}. The address is taken as it is written in
// the database: fold its case there, or before this.
func UserEmailKey(email string) string { return cache.Key("user:email", email) }

// UserPermissionsKey is user:{id}:permissions.
func UserPermissionsKey[K comparable](id K) string { return cache.Key("user", id, "permissions") }

// Users keeps users by id, for UserProfileTTL.
func Users[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: UserKey[K], TTL: UserProfileTTL}, adjust)
}

// UsersByEmail keeps users, or their ids, by email address, for UserProfileTTL.
func UsersByEmail[T any](c *cache.Cache, adjust ...func(*cache.Spec[string])) cache.Typed[string, T] {
	return view[T](c, cache.Spec[string]{Key: UserEmailKey, TTL: UserProfileTTL}, adjust)
}

// UserPermissions keeps what users may do, by their id, for UserProfileTTL.
func UserPermissions[T any, K comparable](c *cache.Cache, adjust ...func(*cache.Spec[K])) cache.Typed[K, T] {
	return view[T](c, cache.Spec[K]{Key: UserPermissionsKey[K], TTL: UserProfileTTL}, adjust)
}

// InvalidateUser removes what changes with a row of users: the user, the
// permissions, and the entries of the email addresses. Give the address before
// the change and the one after it; without any, the entries of all addresses are
// removed, at the cost of [cache.Cache.InvalidatePattern].
func InvalidateUser[K comparable](ctx context.Context, c *cache.Cache, id K, emails ...string) error {
	var i invalidation
	i.key(UserKey(id), UserPermissionsKey(id))
	each(&i, emails, UserEmailKey, "user:email:*")
	return i.apply(ctx, c)
}
