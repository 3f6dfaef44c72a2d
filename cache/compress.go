package cache

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxPayload bounds what an entry may unpack to, whatever it says of itself.
const maxPayload = 256 << 20

var errTooLarge = errors.New("cache: the payload is too large")

// compressor packs payloads. Its coders are made when they are first needed and
// start no goroutines.
type compressor struct {
	once   sync.Once
	coder  *zstd.Encoder
	reader *zstd.Decoder
	err    error
}

func (c *compressor) init() error {
	c.once.Do(func() {
		if c.coder, c.err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest)); c.err != nil {
			return
		}
		c.reader, c.err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxPayload))
	})
	return c.err
}

// pack returns the payload compressed, and false where that makes it no shorter.
func (c *compressor) pack(payload []byte) ([]byte, bool) {
	if len(payload) > maxPayload || c.init() != nil {
		return payload, false
	}
	packed := c.coder.EncodeAll(payload, make([]byte, 0, len(payload)/2))
	if len(packed) >= len(payload) {
		return payload, false
	}
	return packed, true
}

func (c *compressor) unpack(packed []byte) ([]byte, error) {
	if err := c.init(); err != nil {
		return nil, err
	}
	payload, err := c.reader.DecodeAll(packed, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return payload, nil
}
