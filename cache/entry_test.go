package cache

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEntryRoundTrip(t *testing.T) {
	t.Parallel()
	tags := []generation{{"shop:client:7", "GEN1"}, {"", ""}, {strings.Repeat("long", 100), "GEN2"}}
	for name, m := range map[string]entryMeta{
		"plain":      {},
		"compressed": {compressed: true},
		"grace":      {grace: 90 * time.Second},
		"epoch only": {tagged: true, epoch: "EPOCH"},
		"all":        {compressed: true, grace: time.Hour, tagged: true, epoch: "EPOCH", tags: tags},
	} {
		for _, payload := range []string{"", `{"id":1}`, magic + "a codec's own", "\x00\xff"} {
			raw := encodeEntry([]byte(payload), &m)
			e, err := decodeEntry(raw)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if string(e.payload) != payload || e.grace != m.grace || e.compressed != m.compressed || e.tagged != m.tagged ||
				e.epoch != m.epoch || !slices.Equal(e.tags, m.tags) {
				t.Errorf("%s, %q: got %+v", name, payload, e)
			}
			if m.plain() && !strings.HasPrefix(payload, magic) && string(raw) != payload {
				t.Errorf("a plain value was stored as %q", raw)
			}
			if !m.plain() && bytes.HasPrefix(encodeEntry([]byte(payload), &m), e.ident) {
				t.Errorf("%s: two entries have the same ident", name)
			}
			for cut := range len(raw) - len(e.payload) {
				if cut < len(magic) {
					continue
				}
				if _, err := decodeEntry(raw[:cut]); err == nil && len(e.payload) > 0 && cut < len(e.ident) {
					t.Errorf("%s: cut to %d bytes it was still read", name, cut)
				}
			}
		}
	}
}

func TestUnknownFlagsAreRefused(t *testing.T) {
	t.Parallel()
	raw := encodeEntry([]byte("x"), &entryMeta{compressed: true})
	raw[len(magic)] |= 0x80
	if _, err := decodeEntry(raw); err == nil {
		t.Error("an entry of a later version was read")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add([]byte(`{"id":1}`))
	f.Add(encodeEntry([]byte("x"), &entryMeta{grace: time.Minute, tagged: true, epoch: "E", tags: []generation{{"a", "b"}}}))
	f.Add([]byte(magic + "\x07........\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01a"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decodeEntry(raw)
		if !bytes.HasPrefix(raw, e.ident) {
			t.Fatalf("%q does not begin with its ident %q", raw, e.ident)
		}
		if err != nil || e.plain() {
			return
		}
		again, err := decodeEntry(encodeEntry(e.payload, &e.entryMeta))
		if err != nil || !bytes.Equal(again.payload, e.payload) || again.epoch != e.epoch || !slices.Equal(again.tags, e.tags) ||
			again.grace != e.grace {
			t.Fatalf("got %+v, %v, want %+v", again, err, e)
		}
	})
}

func TestCompressionIsBounded(t *testing.T) {
	t.Parallel()
	var c compressor
	payload := []byte(strings.Repeat("freshet ", 1000))
	packed, ok := c.pack(payload)
	if !ok || len(packed) > len(payload)/10 {
		t.Fatalf("got %d bytes of %d, %v", len(packed), len(payload), ok)
	}
	got, err := c.unpack(packed)
	if err != nil || !bytes.Equal(got, payload) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, ok := c.pack([]byte("short")); ok {
		t.Error("a value was made longer")
	}
	bomb, ok := c.pack(make([]byte, maxPayload))
	if !ok {
		t.Fatal("zeros were not compressed")
	}
	if _, err := c.unpack(append(bomb, bomb...)); err == nil {
		t.Error("twice the limit was unpacked")
	}
	if _, err := c.unpack([]byte("no zstd")); err == nil {
		t.Error("garbage was unpacked")
	}
}
