package stream

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		said   string
		want   *PermissionError
		needed bool
	}{
		{`Permissions Violation for Publish to "$JS.API.INFO"`, &PermissionError{"publish", "$JS.API.INFO"}, true},
		{`Permissions Violation for Publish to "$KV.freshet-shop.paused" on connection [27]`, &PermissionError{"publish", "$KV.freshet-shop.paused"}, true},
		{`Permissions Violation for Subscription to "freshet.shop.ctl.pause" using queue "q"`, &PermissionError{"subscribe", "freshet.shop.ctl.pause"}, true},
		{`Permissions Violation for Subscription to "_INBOX.x.*"`, &PermissionError{"subscribe", "_INBOX.x.*"}, true},
		// An answer that comes late, or to where nobody may be answered, is the asker's loss.
		{`Permissions Violation for Publish to "_INBOX.x.y"`, &PermissionError{"publish", "_INBOX.x.y"}, false},
		{`Permissions Violation, in words of another server`, nil, false},
	} {
		got := Refusal(fmt.Errorf("%w: %s", nats.ErrPermissionViolation, tc.said))
		if (got == nil) != (tc.want == nil) || got != nil && *got != *tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.said, got, tc.want)
		}
		if got != nil && got.needed() != tc.needed {
			t.Errorf("%s: needed: got %v, want %v", tc.said, got.needed(), tc.needed)
		}
	}
	if got := Refusal(errors.New(`Permissions Violation for Publish to "x"`)); got != nil {
		t.Errorf("of an error of something else: got %+v", got)
	}
}
