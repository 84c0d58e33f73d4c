package extplugin

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin/fakerunner"
)

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{2, 0, 0, 3, 'a', 'b', 'c'})
	f.Add([]byte{2, 0, 0, 3, 'a'})
	f.Add([]byte{0, 0xff, 0xff, 0xff})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		ty, data, err := readFrame(bufio.NewReader(bytes.NewReader(in)), nil)
		if err != nil {
			assert.Less(t, cap(data), 2*len(in)+4*growStep, "a header alone must not take memory")
			return
		}
		n := int(in[1])<<16 | int(in[2])<<8 | int(in[3])
		assert.Equal(t, in[0], ty)
		assert.Equal(t, string(in[4:4+n]), string(data))
	})
}

func FuzzDecodeResult(f *testing.F) {
	stop := fakerunner.Answer{Stop: true, Status: 401, Headers: []fakerunner.Pair{{Name: "a", Value: "b", Set: true}}, Body: []byte("x")}
	f.Add(stop.Encode(1))
	rewrite := fakerunner.Answer{Path: "/x", Args: []fakerunner.Pair{{Name: "a"}}}
	f.Add(rewrite.Encode(2))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(_ *testing.T, in []byte) {
		var res Result
		_ = decodeResult(in, &res)
		_, _, _ = readQuestion(in)
		_ = errorOf(in)
	})
}

func TestFrames(t *testing.T) {
	for _, size := range []int{0, 1, 200, 5000, 300_000} {
		b := flatbuffers.NewBuilder(8)
		b.Finish(b.CreateByteVector(make([]byte, size)))
		out, err := frame(b, 7)
		require.NoError(t, err)
		ty, data, err := readFrame(bufio.NewReader(bytes.NewReader(out)), make([]byte, 0, 16))
		require.NoError(t, err)
		assert.Equal(t, byte(7), ty)
		assert.Equal(t, b.FinishedBytes(), data)
	}
}

func TestTruncatedFrames(t *testing.T) {
	for _, in := range [][]byte{{1}, {1, 0, 0}, {1, 0, 0, 9, 'x'}} {
		_, _, err := readFrame(bufio.NewReader(bytes.NewReader(in)), nil)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	_, _, err := readFrame(bufio.NewReader(bytes.NewReader(nil)), nil)
	require.ErrorIs(t, err, io.EOF)
}
