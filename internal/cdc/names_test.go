package cdc_test

import (
	"fmt"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestLSN(t *testing.T) {
	t.Parallel()
	for _, lsn := range []cdc.LSN{0, 1, 15, 16, 0x1A2B3C8, 0xFFFFFFFF, 1 << 32, 1<<32 + 0x10, 1<<64 - 1} {
		want := fmt.Sprintf("%X/%X", uint64(lsn)>>32, uint64(lsn)&0xFFFFFFFF)
		if got := lsn.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		parsed, err := cdc.ParseLSN(want)
		if err != nil || parsed != lsn {
			t.Errorf("parsed %s as %d (%v), want %d", want, parsed, err, lsn)
		}
	}
	for _, bad := range []string{"", "/", "0", "0/", "/0", "0/0/0", "0/100000000", "G/0", "-1/0", "0x1/0"} {
		if lsn, err := cdc.ParseLSN(bad); err == nil {
			t.Errorf("parsed %q as %s", bad, lsn)
		}
	}
}

func TestEpoch(t *testing.T) {
	t.Parallel()
	want := cdc.Epoch{System: 1<<64 - 1, Timeline: 1<<32 - 1, Counter: 7}
	got, err := cdc.ParseEpoch(want.String())
	if err != nil || got != want {
		t.Errorf("got %s (%v), want %s", got, err, want)
	}
	for _, bad := range []string{"", "1", "1:2", "1:2:3:4", "a:1:1", "1:4294967296:0", "1:1:-1", "1::1"} {
		if e, err := cdc.ParseEpoch(bad); err == nil {
			t.Errorf("parsed %q as %s", bad, e)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"orders": "orders", "Order": "Order", "": "%", "a.b": "a%2Eb", "*": "%2A", ">": "%3E", "50%": "50%25",
		"two words": "two%20words", "tab\t": "tab%09", "é": "%C3%A9", "\x7f": "%7F", "$x-y_z": "$x-y_z",
	} {
		if got := cdc.Token(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
