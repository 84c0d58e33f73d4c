package extplugin

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	flatbuffers "github.com/google/flatbuffers/go"
)

// The frame types of the ext-plugin protocol.
const (
	typeError       = 0
	typePrepareConf = 1
	typeHTTPReqCall = 2
	typeExtraInfo   = 3
)

const (
	frameHeader  = 4 // one byte of type, three of length, big endian
	maxFrameData = 1<<24 - 1
)

var errTooLarge = errors.New("the message is larger than a frame may be")

// frame turns what b holds into one frame. A flatbuffer is built from the back of its buffer, so that the header
// usually fits in front of it without a copy.
func frame(b *flatbuffers.Builder, ty byte) ([]byte, error) {
	n := len(b.FinishedBytes())
	if n > maxFrameData {
		return nil, errTooLarge
	}
	head := int(b.Head())
	if head < frameHeader {
		grown := make([]byte, frameHeader+n)
		copy(grown[frameHeader:], b.FinishedBytes())
		putHeader(grown, ty, n)
		return grown, nil
	}
	out := b.Bytes[head-frameHeader:]
	putHeader(out, ty, n)
	return out, nil
}

func putHeader(out []byte, ty byte, n int) {
	out[0], out[1], out[2], out[3] = ty, byte(n>>16), byte(n>>8), byte(n) // #nosec G115 -- byte by byte
}

// growStep bounds what a header alone can make readFrame allocate.
const growStep = 64 << 10

// readFrame reads one frame into buf, which it grows as bytes arrive, and returns its type and data.
func readFrame(r *bufio.Reader, buf []byte) (byte, []byte, error) {
	header, err := r.Peek(frameHeader)
	if err != nil {
		if len(header) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, buf[:0], fmt.Errorf("reading a frame header: %w", err)
	}
	ty, n := header[0], int(header[1])<<16|int(header[2])<<8|int(header[3])
	_, _ = r.Discard(frameHeader)
	data := buf[:0]
	for len(data) < n {
		step := min(n-len(data), max(growStep, cap(data)-len(data)))
		start := len(data)
		data = append(data, make([]byte, step)...)
		if _, err := io.ReadFull(r, data[start:]); err != nil {
			return 0, data[:0], fmt.Errorf("reading %d bytes of a frame: %w", n, noEOF(err))
		}
	}
	return ty, data, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
