package service

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

// short are bounds that a test can wait for.
var short = Bounds{Head: 100 * time.Millisecond, Read: 200 * time.Millisecond, Write: 200 * time.Millisecond, Idle: 200 * time.Millisecond,
	Rest: 50 * time.Millisecond, MaxHead: 8 << 10, Connections: 1000}

// long is when a test gives up: far beyond every bound that holds.
const long = 20 * time.Second

func listen(t *testing.T, b Bounds, handler http.HandlerFunc) (*App, string) {
	t.Helper()
	app := New(zaptest.NewLogger(t))
	app.Bounds = b
	t.Cleanup(func() { require.NoError(t, app.Stop(5*time.Second)) })
	address, err := app.Listen("door", "127.0.0.1:0", handler)
	require.NoError(t, err)
	return app, address
}

// dial opens a connection and says something on it.
func dial(t *testing.T, address, say string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(long)))
	_, err = io.WriteString(conn, say)
	require.NoError(t, err)
	return conn
}

// isCut reads until the other side ends the connection, and returns what it said before.
func isCut(t *testing.T, conn net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(conn)
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is still there")
	return string(said)
}

// drip sends a byte at a time until the connection is cut.
func drip(t *testing.T, conn net.Conn, every time.Duration) {
	t.Helper()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := io.WriteString(conn, "x"); err != nil {
			require.False(t, errors.Is(err, os.ErrDeadlineExceeded))
			return
		}
	}
}

func answers(t *testing.T, address string) string {
	t.Helper()
	_, body := get(t, address, "/")
	return body
}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }

const fullHead = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestADripOfAHeadIsCut(t *testing.T) {
	app, address := listen(t, short, ok)
	for name, conn := range map[string]net.Conn{
		"says nothing": dial(t, address, ""), "stops in a line": dial(t, address, "GET / HT"), "stops in a header": dial(t, address, "GET / HTTP/1.1\r\nHost: a\r\nX: "),
	} {
		t.Run(name, func(t *testing.T) { isCut(t, conn) })
	}
	drip(t, dial(t, address, "GET / HTTP/1.1\r\nX: "), 5*time.Millisecond)
	require.Eventually(t, func() bool { return testutil.ToFloat64(app.cut.WithLabelValues("door", "head")) == 3 }, long, time.Millisecond)
	require.Equal(t, "ok", answers(t, address))
}

func TestADripOfABodyIsCut(t *testing.T) {
	read := make(chan error, 2)
	_, address := listen(t, short, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
		w.WriteHeader(http.StatusRequestTimeout)
	})
	stops := dial(t, address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
	drips := dial(t, address, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n")
	drip(t, drips, 5*time.Millisecond)
	isCut(t, stops)
	require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
	require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
}

func TestABodyThatNobodyReadsIsNotWaitedFor(t *testing.T) {
	b := short
	b.Read = time.Hour
	_, address := listen(t, b, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	require.Contains(t, isCut(t, dial(t, address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")), "401")
	require.Contains(t, isCut(t, dial(t, address, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nabc")), "401")
}

func TestAClientThatDoesNotReadItsAnswerIsCut(t *testing.T) {
	wrote := make(chan error, 1)
	_, address := listen(t, short, func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(bytes.Repeat([]byte("x"), 64<<20))
		wrote <- err
	})
	dial(t, address, fullHead)
	require.ErrorIs(t, <-wrote, os.ErrDeadlineExceeded)
}

func TestAnIdleConnectionIsCut(t *testing.T) {
	_, address := listen(t, short, ok)
	require.Contains(t, isCut(t, dial(t, address, fullHead)), "ok")
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	_, address := listen(t, short, ok)
	for name, c := range map[string]struct{ say, answer string }{
		"giant header":      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "431"},
		"many headers":      {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 8<<10) + "\r\n", "431"},
		"giant target":      {"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "431"},
		"junk":              {"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400"},
		"no host":           {"GET / HTTP/1.1\r\n\r\n", "400"},
		"two lengths":       {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
		"another protocol":  {"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "505"},
		"junk in its train": {fullHead + "\x00\x01\x02junk\r\n\r\n" + fullHead, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			said := isCut(t, dial(t, address, c.say))
			require.Contains(t, said, c.answer)
			require.LessOrEqual(t, strings.Count(said, "\r\nok"), 1, "what follows junk is no request")
		})
	}
}

func TestSlowClientsKeepNobodyOut(t *testing.T) {
	b := DefaultBounds
	b.Head, b.Idle, b.Connections = time.Hour, time.Hour, 10
	app, address := listen(t, b, ok)
	var slow []net.Conn
	for range 10 {
		slow = append(slow, dial(t, address, "GET / HTTP/1.1\r\nHost: a\r\nX: "))
	}
	for range 5 {
		require.Equal(t, "ok", answers(t, address), "all places are taken by those who drip")
	}
	isCut(t, slow[0])
	idle := dial(t, address, fullHead)
	_, err := bufio.NewReader(idle).Peek(1)
	require.NoError(t, err)
	for range 30 {
		slow = append(slow, dial(t, address, ""))
	}
	isCut(t, idle)
	require.Equal(t, "ok", answers(t, address))
	require.GreaterOrEqual(t, testutil.ToFloat64(app.cut.WithLabelValues("door", "full")), 30.)
}

func TestACallUnderWayKeepsItsPlace(t *testing.T) {
	b := DefaultBounds
	b.Connections = 2
	arrived, release := make(chan struct{}), make(chan struct{})
	app, address := listen(t, b, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-release
		}
		ok(w, r)
	})
	var under []net.Conn
	for range 2 {
		under = append(under, dial(t, address, "GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
		<-arrived
	}
	for range 5 {
		require.Empty(t, isCut(t, dial(t, address, "")), "there is no place for a third")
	}
	close(release)
	for _, conn := range under {
		require.Contains(t, isCut(t, conn), "ok")
	}
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(long))
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		said, _ := io.ReadAll(conn)
		return strings.Contains(string(said), "ok")
	}, long, time.Millisecond)
	require.EqualValues(t, 0, testutil.ToFloat64(app.cut.WithLabelValues("door", "head")))
}

func BenchmarkListen(b *testing.B) {
	app := New(zaptest.NewLogger(b))
	address, err := app.Listen("door", "127.0.0.1:0", http.HandlerFunc(ok))
	require.NoError(b, err)
	defer func() { _ = app.Stop(time.Second) }()
	client := &http.Client{}
	defer client.CloseIdleConnections()
	for b.Loop() {
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+"/", nil)
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}
