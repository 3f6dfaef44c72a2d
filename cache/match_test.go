package cache_test

import (
	"fmt"

	"github.com/freshet-dev/freshet/cache"
)

func ExampleMatchPattern() {
	fmt.Println(cache.MatchPattern("orders:*:open", "orders:client:7:open"))
	fmt.Println(cache.MatchPattern("order:[1-3]?", "order:42"))
	fmt.Println(cache.MatchPattern(cache.EscapePattern("order:*"), "order:42"))
	// Output:
	// true
	// false
	// false
}
