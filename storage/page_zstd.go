package storage

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// zstdLevel: higher levels bought nothing on these columns.
const zstdLevel = 3

// zstdRatioMax is more than any frame expands: a larger claim is damage, found
// before memory is taken.
const zstdRatioMax = 1 << 16

var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		// Pages have checksums of their own. Random digits and skewed numbers
		// have no repetitions, only an uneven alphabet; by default such
		// literals would stay as they are at this level.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(zstdLevel)),
			zstd.WithEncoderCRC(false), zstd.WithAllLitEntropyCompression(true), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(1<<32))
		if err != nil {
			panic(err)
		}
		return d
	})
)

// appendZstd appends the length of a frame and the frame.
func appendZstd(dst, raw []byte) []byte {
	frame := zstdEncoder().EncodeAll(raw, nil)
	dst = binary.AppendUvarint(dst, uint64(len(frame)))
	return append(dst, frame...)
}

// zstd reads a frame of size bytes, into memory that the next call uses again;
// size -1 takes the frame's word for it.
func (c *cursor) zstd(what string, size int) []byte {
	length := c.count("length of "+what, len(c.b))
	frame := c.bytes(what, length)
	if c.err != nil {
		return nil
	}
	var header zstd.Header
	if err := header.Decode(frame); err != nil || !header.HasFCS {
		c.fail(what, "no frame that tells its size")
		return nil
	}
	told := header.FrameContentSize
	if size >= 0 && told != uint64(size) || told/zstdRatioMax > uint64(len(frame)) {
		c.fail(what, "%d bytes in a frame of %d, %d are wanted", told, len(frame), size)
		return nil
	}
	raw, err := zstdDecoder().DecodeAll(frame, slices.Grow(c.raw[:0], int(told)))
	c.raw = raw[:0]
	if err != nil {
		c.fail(what, "%v", err)
		return nil
	}
	if uint64(len(raw)) != told {
		c.fail(what, "%d bytes, %d were told", len(raw), told)
		return nil
	}
	return raw
}
