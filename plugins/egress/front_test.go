package egress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// speak sends text to a front and returns all that comes back.
func speak(t *testing.T, address, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, text)
	_ = c.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// mirror answers the body, with the status that the path names.
func mirror(w http.ResponseWriter, r *http.Request) {
	status := 0
	_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-A", "b\r\nX-Injected: 1")
	w.Header().Set("Content-Length", "7")
	w.Header()["Content-Type"] = nil
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func TestAFrontAnswersInOneRow(t *testing.T) {
	address := serveFront(t, http.HandlerFunc(mirror))
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for i, status := range []int{200, 429, 204, 304, 599, 200} {
		body := strings.Repeat("x", i*10000)
		_, _ = fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if want := status != 204 && status != 304; err != nil || res.StatusCode != status || want && string(got) != body || res.Header.Get("X-Injected") != "" || res.Header["Content-Type"] != nil {
			t.Fatalf("%d: got %d, %d bytes, %v, %v", status, res.StatusCode, len(got), res.Header, err)
		}
	}
}

func TestWhatAFrontCloses(t *testing.T) {
	address := serveFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/panic":
			panic("a fault")
		case "/unread":
			return
		}
		mirror(w, r)
	}))
	for name, test := range map[string]struct{ says, want string }{
		"no HTTP":              {"SSH-2.0-x\r\n\r\n", "400"},
		"a header without end": {"POST / HTTP/1.1\r\nX: " + strings.Repeat("x", 2*maxHeaderBytes), "400"},
		"two lengths":          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
		"nothing":              {"", ""},
		"an abort":             {"POST /abort HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", ""},
		"a panic":              {"POST /panic HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", ""},
		"close":                {"POST /200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", "200"},
		"HTTP/1.0":             {"POST /200 HTTP/1.0\r\nContent-Length: 1\r\n\r\na", "200"},
		"a body nobody read":   {"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdePOST /abort HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
		"chunks":               {"POST /200 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := speak(t, address, test.says)
			if test.want == "" && answer != "" || !strings.HasPrefix(answer, strings.TrimSpace("HTTP/1.1 "+test.want)) && test.want != "" || strings.Count(answer, "HTTP/1.1 ") > 1 {
				t.Errorf("got %q", answer)
			}
		})
	}
}

func TestACallWhoseCallerHangsUpIsEnded(t *testing.T) {
	inside, ended := make(chan struct{}), make(chan struct{})
	address := serveFront(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
		close(ended)
	}))
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	<-inside
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
}

func TestIdleConnectionsDoNotHoldUpAShutdown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, served := newFront(http.HandlerFunc(mirror), zap.NewNop()), make(chan error, 1)
	go func() { served <- f.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	within(t, "it is taken", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.peers) == 1 })
	if err := f.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	<-served
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("the idle connection is still open")
	}
}
