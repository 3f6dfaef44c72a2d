package verify

import (
	"math"
	"testing"
)

func TestEqual(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[true,null]}`, ` {"b": [true, null], "a": 1} `, true},
		{`1`, `1.0`, true},
		{`-0`, `0.00`, true},
		{`12.50`, `1.25e1`, true},
		{`9007199254740993`, `9007199254740992`, false},
		{`1e999999999`, `1e999999999`, true},
		{`1e999999999`, `10e999999998`, false}, // not computed
		{`"1"`, `1`, false},
		{`"2026-11-23T10:00:00.5Z"`, `"2026-11-23T11:00:00.500000+01:00"`, true},
		{`"2026-11-23T10:00:00Z"`, `"2026-11-23T10:00:01Z"`, false},
		{`[1,2]`, `[2,1]`, false},
		{`[1]`, `[1,2]`, false},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`{"a":1}`, `{"b":1}`, false},
		{`null`, `false`, false},
		{`"é"`, `"\u00e9"`, true},
		{`x`, `1`, false},
		{`x`, `x`, true},
		{`1 2`, `1`, false},
		{``, `null`, false},
	} {
		if got := equal([]byte(tc.a), []byte(tc.b)); got != tc.want {
			t.Errorf("%s, %s: got %v, want %v", tc.a, tc.b, got, tc.want)
		}
	}
	if equal([]byte("null"), nil) {
		t.Error("null is taken for a row that there is not")
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	if a, b := digest([]byte(`{"a":1,"b":2}`)), digest([]byte(`{ "b": 2, "a": 1 }`)); a != b || len(a) != 12 {
		t.Errorf("got %s and %s, want the same 12 digits", a, b)
	}
	if digest(nil) != "no row" || digest([]byte("x")) == digest([]byte("y")) {
		t.Error("digests do not tell values apart")
	}
}

// The values are those of tables of the exact interval.
func TestBound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		k, n int
		want float64
	}{
		{0, 0, 1},
		{0, 1, 0.95},
		{0, 10, 0.2589},
		{0, 1000, 0.002991},
		{0, 100000, 0.00002996},
		{1, 10, 0.3942},
		{5, 100, 0.1023},
		{20, 20, 1},
		{25, 1000, 0.03476},
	} {
		if got := bound(tc.k, tc.n); math.Abs(got-tc.want) > tc.want/500 {
			t.Errorf("%d of %d: got %g, want %g", tc.k, tc.n, got, tc.want)
		}
	}
}
