package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pool starts an upstream and makes a transport to it.
func pool(t *testing.T, h http.HandlerFunc) (*direct, *httptest.Server, *atomic.Int64) {
	t.Helper()
	opened := new(atomic.Int64)
	server := httptest.NewUnstartedServer(h)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	tr := newTransport(config.Upstream{Node: server.Listener.Addr().String()}, config.Timeout{Connect: time.Second, Send: time.Second, Read: 5 * time.Second}, nil)
	t.Cleanup(func() { tr.close(); server.Close() })
	return tr, server, opened
}

func trip(t *testing.T, tr *direct, url string, body io.Reader) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, body)
	require.NoError(t, err)
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return res, string(text), err
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Method", r.Method)
	body, _ := io.ReadAll(r.Body)
	_, _ = w.Write(body)
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	tr, server, opened := pool(t, echo)
	for _, body := range []string{"", "a", strings.Repeat("b", 60<<10), "c"} {
		res, got, err := trip(t, tr, server.URL, strings.NewReader(body))
		require.NoError(t, err)
		require.True(t, body == got)
		require.Equal(t, "POST", res.Header.Get("X-Method"))
	}
	require.EqualValues(t, 1, opened.Load())
}

func TestALargeBodyOrOneOfUnknownLengthArrives(t *testing.T) {
	tr, server, _ := pool(t, echo)
	large := strings.Repeat("x", maxDirect+1)
	for _, body := range []io.Reader{strings.NewReader(large), io.MultiReader(strings.NewReader(large))} {
		_, got, err := trip(t, tr, server.URL, body)
		require.NoError(t, err)
		require.Equal(t, len(large), len(got))
	}
}

func TestAnEarlyAnswerIsRead(t *testing.T) {
	tr, server, _ := pool(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	for range 20 {
		res, _, err := trip(t, tr, server.URL, bytes.NewReader(make([]byte, maxDirect)))
		require.NoError(t, err)
		require.Equal(t, 413, res.StatusCode)
	}
}

func TestAnAnswerThatNobodyReadsOnClosesItsConnection(t *testing.T) {
	gone := make(chan struct{})
	tr, server, _ := pool(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL, strings.NewReader("x"))
	require.NoError(t, err)
	res, err := tr.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	<-gone
}

func TestACallThatEndsIsLetGo(t *testing.T) {
	inside := make(chan struct{}, 1)
	tr, server, _ := pool(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		inside <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-inside; cancel() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("x"))
	require.NoError(t, err)
	_, err = tr.RoundTrip(req)
	require.ErrorIs(t, err, context.Canceled)
	tr.read = 50 * time.Millisecond
	_, _, err = trip(t, tr, server.URL, strings.NewReader("x"))
	require.True(t, isTimeout(err), "got %v", err)
	<-inside
}

type brokenBody struct{ err error }

func (b brokenBody) Read([]byte) (int, error) { return 0, b.err }
func (b brokenBody) Close() error             { return nil }

func TestTheErrorOfABodyIsTheErrorOfTheCall(t *testing.T) {
	tr, server, _ := pool(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, want := range []error{ErrTooLarge, ErrClientTimeout} {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL, brokenBody{want})
		require.NoError(t, err)
		req.ContentLength = 10
		_, err = tr.RoundTrip(req)
		require.ErrorIs(t, err, want)
	}
}

func TestHeadersThatCanNotBeSentAreRefused(t *testing.T) {
	tr, server, _ := pool(t, echo)
	for name, value := range map[string]string{"X-A": "a\r\nX-Injected: 1", "X B": "1", "X\r\nY": "1", "X:": "1", "": "1"} {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL, strings.NewReader("x"))
		require.NoError(t, err)
		req.Header = http.Header{name: {value}}
		res, err := tr.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		assert.Error(t, err, "%q: %q", name, value)
	}
}

func TestAnUpstreamThatIsNotThere(t *testing.T) {
	tr, server, _ := pool(t, echo)
	server.Close()
	_, _, err := trip(t, tr, server.URL, strings.NewReader("x"))
	var op *net.OpError
	require.True(t, errors.As(err, &op) && op.Op == "dial", "got %v", err)
}
