package main

import "runtime/debug"

// compared are the modules that contend.
var compared = []string{
	"github.com/redis/go-redis/v9", "github.com/go-redis/cache/v9", "github.com/maypok86/otter/v2",
	"github.com/go-redis/redis_rate/v10", "github.com/ulule/limiter/v3", "github.com/throttled/throttled/v2",
}

// modules returns the versions of those that contend.
func modules() map[string]string {
	versions := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versions
	}
	for _, dep := range info.Deps {
		for _, path := range compared {
			if dep.Path == path {
				versions[path] = dep.Version
			}
		}
	}
	return versions
}
