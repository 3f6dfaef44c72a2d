package cache

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed raise.lua
	raiseSource string
	//go:embed advance.lua
	advanceSource string
	//go:embed move.lua
	moveSource string
	//go:embed takeover.lua
	takeOverSource string
	//go:embed restore.lua
	restoreSource string
)

// applierScripts are the scripts of an Applier.
type applierScripts struct {
	raise, advance, move, takeOver, restore *redis.Script
}

func newApplierScripts() applierScripts {
	return applierScripts{
		raise:    redis.NewScript(raiseSource),
		advance:  redis.NewScript(advanceSource),
		move:     redis.NewScript(moveSource),
		takeOver: redis.NewScript(takeOverSource),
		restore:  redis.NewScript(restoreSource),
	}
}

// load makes a server know the scripts that pipelines refer to by their hash.
func (s applierScripts) load(ctx context.Context, client redis.Scripter) error {
	return errors.Join(s.raise.Load(ctx, client).Err(), s.advance.Load(ctx, client).Err())
}

func isNoScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

// isServerReply reports whether err is an answer of Redis, as opposed to a
// connection that failed.
func isServerReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
