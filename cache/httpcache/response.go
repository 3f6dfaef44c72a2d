package httpcache

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// response is what is stored. Nobody changes one that is complete.
type response struct {
	status int
	header []field
	body   []byte

	stored time.Time     // when the handler wrote the header
	ttl    time.Duration // from then on
	age    time.Duration // it had then

	public    bool // it may answer requests with credentials
	perCookie bool // Cookie is one of varies

	varies []string // headers of requests that tell responses apart, sorted
	match  [16]byte // a hash of their values in the request it answered
	nonce  [8]byte  // in the keys of the responses to other values
}

// field is a header with its lines. None means that it must not be there, where
// net/http would set it.
type field struct {
	name  string
	lines []string
}

// currentAge is the Age of RFC 9111.
func (r *response) currentAge(now time.Time) time.Duration { return r.age + max(now.Sub(r.stored), 0) }

func (r *response) get(name string) string {
	for _, f := range r.header {
		if f.name == name && len(f.lines) > 0 {
			return f.lines[0]
		}
	}
	return ""
}

// selection hashes the values that a request has of headers.
func selection(r *http.Request, names []string) [16]byte {
	h := newDigest()
	for _, name := range names {
		h.addHeader(r, name)
	}
	all := sha256.Sum256(h.buf)
	return [16]byte(all[:])
}

// variesFrom sets what leads other requests past this response.
func (r *response) variesFrom(req *http.Request, names []string) {
	r.varies, r.match = names, selection(req, names)
	_, _ = rand.Read(r.nonce[:]) // it never fails
}

// answers reports whether the response is the one for a request.
func (r *response) answers(req *http.Request) bool {
	return len(r.varies) == 0 || selection(req, r.varies) == r.match
}

// variant returns the key of the response for a request that this one, which is
// at key, does not answer. It has the nonce: once this response is gone nobody
// finds what is there.
func (r *response) variant(key string, req *http.Request) string {
	sum := selection(req, r.varies)
	h := newDigest()
	h.add(string(r.nonce[:]))
	h.add(string(sum[:]))
	return key + ":" + h.sum()
}

// stored is a response on its way to the cache or from it.
type stored struct{ *response } //nolint:recvcheck // what reads into one needs a pointer

var (
	_ cache.Marshaler   = stored{}
	_ cache.Unmarshaler = (*stored)(nil)
)

var errFormat = errors.New("httpcache: not a stored response")

// The stored form, in binary: the version, flags, then as uvarints the
// milliseconds since 1970 at which it was stored, ttl and age in milliseconds,
// and the status; match and nonce; the number of varies and each of them; the
// number of headers and each with its name, the number of lines and each line;
// last, the body's length and the body. Texts have their length before them.
const (
	version       = 1
	flagPublic    = 1
	flagPerCookie = 2
	knownFlags    = flagPublic | flagPerCookie
)

// MarshalCache returns the stored form.
func (s stored) MarshalCache() ([]byte, error) { return s.append(nil), nil }

// UnmarshalCache reads the stored form, and keeps it.
func (s *stored) UnmarshalCache(raw []byte) error {
	s.response = &response{}
	return s.decode(raw)
}

// Clone returns s itself: nobody changes a response, so a near layer need not
// copy it.
func (s stored) Clone() stored { return s }

func (r *response) append(out []byte) []byte {
	if out == nil {
		out = make([]byte, 0, len(r.body)+r.headSize())
	}
	flags := byte(0)
	if r.public {
		flags |= flagPublic
	}
	if r.perCookie {
		flags |= flagPerCookie
	}
	out = append(out, version, flags)
	for _, n := range []int64{r.stored.UnixMilli(), r.ttl.Milliseconds(), r.age.Milliseconds(), int64(r.status)} {
		out = binary.AppendUvarint(out, uint64(max(n, 0)))
	}
	out = append(append(out, r.match[:]...), r.nonce[:]...)
	out = binary.AppendUvarint(out, uint64(len(r.varies)))
	for _, name := range r.varies {
		out = appendText(out, name)
	}
	out = binary.AppendUvarint(out, uint64(len(r.header)))
	for _, f := range r.header {
		out = appendText(out, f.name)
		out = binary.AppendUvarint(out, uint64(len(f.lines)))
		for _, line := range f.lines {
			out = appendText(out, line)
		}
	}
	out = binary.AppendUvarint(out, uint64(len(r.body)))
	return append(out, r.body...)
}

// headSize is about what all but the body takes.
func (r *response) headSize() int {
	size := 96
	for _, f := range r.header {
		size += len(f.name) + 4
		for _, line := range f.lines {
			size += len(line) + 2
		}
	}
	return size
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

// decode reads the stored form and keeps raw.
func (r *response) decode(raw []byte) error {
	if len(raw) < 2 || raw[0] != version || raw[1]&^knownFlags != 0 {
		return fmt.Errorf("%w: version or flags", errFormat)
	}
	in := reader{rest: raw[2:]}
	got := response{public: raw[1]&flagPublic != 0, perCookie: raw[1]&flagPerCookie != 0}
	got.stored = time.UnixMilli(int64(in.number(maxMillis)))
	got.ttl = time.Duration(in.number(maxMillis)) * time.Millisecond
	got.age = time.Duration(in.number(maxMillis)) * time.Millisecond
	got.status = int(in.number(599))
	copy(got.match[:], in.bytes(uint64(len(got.match))))
	copy(got.nonce[:], in.bytes(uint64(len(got.nonce))))
	for range in.count() {
		got.varies = append(got.varies, in.text())
	}
	if n := in.count(); n > 0 {
		got.header = make([]field, 0, min(n, 64))
		for range n {
			got.header = append(got.header, field{name: in.text(), lines: in.texts()})
		}
	}
	got.body = in.bytes(in.number(uint64(len(raw))))
	if in.failed || len(in.rest) > 0 || got.status < 200 {
		return fmt.Errorf("%w: its length or a number", errFormat)
	}
	*r = got
	return nil
}

// maxMillis keeps what is read within a time.Duration.
const maxMillis = 1 << 42

type reader struct {
	rest   []byte
	failed bool
}

// number reads a number that is not above most.
func (r *reader) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > most {
		r.failed, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count reads how many things follow, each of which takes a byte at least.
func (r *reader) count() int { return int(r.number(uint64(len(r.rest)))) }

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	got := r.rest[:n:n]
	r.rest = r.rest[n:]
	return got
}

func (r *reader) text() string { return string(r.bytes(r.number(uint64(len(r.rest))))) }

func (r *reader) texts() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	all := make([]string, 0, min(n, 16))
	for range n {
		all = append(all, r.text())
	}
	return all
}
