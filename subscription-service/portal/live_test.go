package portal

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheAPIsEventsAreReadAsABrowserWould(t *testing.T) {
	var got []liveEvent
	err := readEvents(strings.NewReader(": open\n\nid: 1-2\nevent: attempt\ndata: {\"a\":\ndata: 1}\n\n: beat\n\nretry: 5\ndata:x\n\nevent: half\ndata: never ended"), func(e liveEvent) error {
		got = append(got, e)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []liveEvent{{}, {ID: "1-2", Name: "attempt", Data: []byte("{\"a\":\n1}")}, {}, {Data: []byte("x")}}, got)
}

func TestReadingEventsEndsWithAnErrorAndWithALineWithoutEnd(t *testing.T) {
	stop := errors.New("stop")
	require.ErrorIs(t, readEvents(strings.NewReader(": a\n: b\n"), func(liveEvent) error { return stop }), stop)
	require.Error(t, readEvents(strings.NewReader("data: "+strings.Repeat("x", mostLine+1)), func(liveEvent) error { return nil }))
}
