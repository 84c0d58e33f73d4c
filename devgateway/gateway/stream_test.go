package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// streaming is an upstream that sends an event for each value of send, and tells when its client is gone.
func streaming(t *testing.T, send <-chan string) (node string, gone <-chan struct{}) {
	t.Helper()
	left := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case <-r.Context().Done():
				left <- struct{}{}
				return
			case data := <-send:
				_, _ = fmt.Fprintf(w, "data: %s\n\n", data)
				_ = http.NewResponseController(w).Flush()
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), left
}

func (g *running) follow(t *testing.T) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(deadline(t), http.MethodGet, "http://"+g.Addr()+"/ext/stream", nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	res, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestAStreamComesThroughAsItIsWrittenAndEndsUpstreamWhenItsClientIsGone(t *testing.T) {
	send := make(chan string)
	node, gone := streaming(t, send)
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(node)})
	res := g.follow(t)
	require.Equal(t, http.StatusOK, res.StatusCode, "the head comes before there is an event")
	lines := bufio.NewReader(res.Body)
	for _, data := range []string{"one", "two"} {
		send <- data
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "data: "+data+"\n", line)
		_, _ = lines.ReadString('\n')
	}
	require.NoError(t, res.Body.Close())
	<-gone
}

func TestAGatewayThatStopsEndsItsStreamsInGoodOrder(t *testing.T) {
	node, gone := streaming(t, nil)
	g := startGateway(t, setup{static: staticFile(), rules: rulesFile(node)})
	res := g.follow(t)
	require.NoError(t, g.Close(deadline(t)))
	rest, err := io.ReadAll(res.Body)
	require.NoError(t, err, "the answer has an end")
	require.Empty(t, rest)
	<-gone
}
