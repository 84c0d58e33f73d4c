package hop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// byPath answers as the path says, else with the body.
func byPath(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/panic":
		panic("a fault")
	case "/unread":
		return
	case "/half":
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "/less":
		w.Header().Set("Content-Length", "10")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "less")
	case "/close":
		w.Header().Set("Connection", "close")
	}
	echo(w, r)
}

func TestAServerAnswersInOneRow(t *testing.T) {
	c := dial(t, serve(t, server(func(w http.ResponseWriter, r *http.Request) {
		status := 0
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("X-A", "b\r\nX-Injected: 1")
		w.Header().Set("X-B\r\nX-Injected", "1")
		w.Header().Set("Content-Length", "7")
		w.Header().Set("Transfer-Encoding", "chunked")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(status)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})))
	r := bufio.NewReader(c)
	for i, status := range []int{200, 429, 204, 304, 599, 200} {
		body := strings.Repeat("x", i*10000)
		_, _ = fmt.Fprintf(c, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
		response, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		got, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, status, response.StatusCode)
		require.Empty(t, response.Header.Get("X-Injected"))
		if status != 204 && status != 304 {
			require.Equal(t, len(body), len(got))
		}
	}
}

func TestWhatOneConnectionBrings(t *testing.T) {
	address := serve(t, server(byPath))
	long := strings.Repeat("x", 300<<10)
	for name, test := range map[string]struct {
		says string
		want []int
	}{
		"nothing":                 {"", nil},
		"half a head":             {"POST / HTTP/1.1\r\nHost", nil},
		"an abort":                {"POST /abort HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		"a panic":                 {"POST /panic HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		"close":                   {"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		"close of the handler":    {"GET /close HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		"HTTP/1.0":                {"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na", []int{200}},
		"two in one go":           {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\naPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb", []int{200, 200}},
		"three without a body":    {strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 3), []int{200, 200, 200}},
		"many in one go":          {strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\nA: "+long[:500]+"\r\n\r\n", 20), []int{200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200}},
		"a body nobody read":      {"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdePOST / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 200}},
		"a long body nobody read": {"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 307200\r\n\r\n" + long + "POST / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		"long chunks nobody read": {"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4b000\r\n" + long + "\r\n0\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		"chunks":                  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 200}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, statuses(t, "POST", speak(t, address, test.says))) })
	}
}

// Each is refused, and what follows it is never read as a request.
func TestWhatCouldBeTwoRequestsIsRefused(t *testing.T) {
	asked := make(chan string, 1)
	s := server(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path })
	s.MaxHead = 8 << 10
	address := serve(t, s)
	const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
	post := func(lines string) string { return "POST / HTTP/1.1\r\nHost: x\r\n" + lines + "\r\n0\r\n\r\n" + hidden }
	for name, test := range map[string]struct {
		says   string
		status int
	}{
		"two lengths":                        {post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400},
		"a length twice":                     {post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400},
		"a list of lengths":                  {post("Content-Length: 5, 5\r\n"), 400},
		"a length with a sign":               {post("Content-Length: +5\r\n"), 400},
		"a negative length":                  {post("Content-Length: -5\r\n"), 400},
		"a hexadecimal length":               {post("Content-Length: 0x5\r\n"), 400},
		"an endless length":                  {post("Content-Length: 99999999999999999999\r\n"), 400},
		"an empty length":                    {post("Content-Length:\r\n"), 400},
		"a length and an encoding":           {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400},
		"an encoding and a length":           {post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
		"in other letters":                   {post("tRANSFER-eNCODING: chunked\r\ncONTENT-lENGTH: 5\r\n"), 400},
		"two encodings":                      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), 400},
		"a list of encodings":                {post("Transfer-Encoding: gzip, chunked\r\n"), 400},
		"an unknown encoding":                {post("Transfer-Encoding: xchunked\r\n"), 400},
		"an encoding of another name":        {post("Transfer-Encoding: \x0bchunked\r\n"), 400},
		"a space before the colon":           {post("Content-Length : 5\r\n"), 400},
		"an encoding before a space":         {post("Transfer-Encoding : chunked\r\n"), 400},
		"a header in two lines":              {post("Transfer-Encoding:\r\n chunked\r\n"), 400},
		"a folded length":                    {post("Content-Length: 5\r\n\t0\r\n"), 400},
		"an encoding in HTTP/1.0":            {strings.Replace(post("Transfer-Encoding: chunked\r\n"), "1.1", "1.0", 1), 400},
		"a bare carriage return":             {post("X: a\rContent-Length: 5\r\n"), 400},
		"a zero byte":                        {post("X: a\x00\r\n"), 400},
		"a control character":                {post("X: a\x01\r\n"), 400},
		"a name that is none":                {post("X(y): a\r\n"), 400},
		"a header without a colon":           {post("Content-Length 5\r\n"), 400},
		"a header without a name":            {post(": 5\r\n"), 400},
		"no host":                            {"GET / HTTP/1.1\r\n\r\n" + hidden, 400},
		"two hosts":                          {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + hidden, 400},
		"a host twice":                       {"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n" + hidden, 400},
		"two hosts in HTTP/1.0":              {"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n" + hidden, 400},
		"a host that is none":                {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + hidden, 400},
		"a host with a path":                 {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n" + hidden, 400},
		"a space before the first header":    {"GET / HTTP/1.1\r\n Host: x\r\n\r\n" + hidden, 400},
		"HTTP/2":                             {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden, 505},
		"HTTP/0.9":                           {"GET / HTTP/0.9\r\nHost: x\r\n\r\n" + hidden, 505},
		"no version":                         {"GET /\r\nHost: x\r\n\r\n" + hidden, 400},
		"an unknown expectation":             {"POST / HTTP/1.1\r\nHost: x\r\nExpect: gold\r\nContent-Length: 5\r\n\r\n" + hidden, 417},
		"a head without end":                 {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10), 431},
		"a head that is too long":            {"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 10) + "\r\n" + hidden, 431},
		"a request line that is too long":    {"GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n" + hidden, 431},
		"another protocol":                   {"SSH-2.0-x\r\n\r\n" + hidden, 400},
		"an empty line before the request":   {"\r\n" + hidden, 400},
		"a TLS handshake":                    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n" + hidden, 400},
		"bytes that are no text in the name": {post("X\xff: 1\r\n"), 400},
	} {
		t.Run(name, func(t *testing.T) {
			got := statuses(t, "POST", speak(t, address, test.says))
			require.Equal(t, []int{test.status}, got)
			select {
			case path := <-asked:
				t.Errorf("the handler saw %s", path)
			default:
			}
		})
	}
}

// The parser is the library's, the checks after it are not.
func FuzzAServerTakesNothingThatTheLibraryRefuses(f *testing.F) {
	for _, head := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "GET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\n\r\n", "GET http://y/ HTTP/1.1\r\nHost: x\r\nX: \ty\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n A: b\r\n\r\n", "GET / HTTP/3.1\r\nHost: x\r\n\r\n",
	} {
		f.Add(head)
	}
	taken := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }
	address := serve(f, server(taken))
	reference := httptest.NewUnstartedServer(http.HandlerFunc(taken))
	reference.Config.ReadHeaderTimeout = 5 * time.Second
	reference.Start()
	f.Cleanup(reference.Close)
	f.Fuzz(func(t *testing.T, head string) {
		if first := statuses(t, "GET", speak(t, address, head)); len(first) == 0 || first[0] != http.StatusTeapot {
			return
		}
		theirs := statuses(t, "GET", speak(t, reference.Listener.Addr().String(), head))
		if len(theirs) == 0 || theirs[0] != http.StatusTeapot {
			t.Errorf("net/http answers %v", theirs)
		}
	})
}

func TestABodyIsAskedForOnlyWhenItIsRead(t *testing.T) {
	address := serve(t, server(byPath))
	c := dial(t, address)
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, _ = r.ReadString('\n')
	_, _ = io.WriteString(c, "ab")
	response, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "ab", string(body))
	said := speak(t, address, "POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NotContains(t, said, "Continue")
	require.Contains(t, said, "Connection: close")
	require.Equal(t, []int{200}, statuses(t, "POST", said))
}

func TestAnAnswerAsItComes(t *testing.T) {
	step := make(chan struct{})
	address := serve(t, server(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			w.Header().Set("Content-Length", "3")
		}
		for _, part := range []string{"a", "b", "c"} {
			_, _ = io.WriteString(w, part)
			if http.NewResponseController(w).Flush() != nil {
				panic("it can't flush")
			}
			<-step
		}
		if r.URL.Path == "/known" {
			if _, err := io.WriteString(w, "d"); err == nil {
				panic("more than was declared")
			}
		}
	}))
	for _, test := range []struct{ path, version, header string }{
		{"/", "1.1", "Transfer-Encoding: chunked\r\n"}, {"/known", "1.1", "Content-Length: 3\r\n"}, {"/", "1.0", "Connection: close\r\n"},
	} {
		c := dial(t, address)
		_, _ = fmt.Fprintf(c, "GET %s HTTP/%s\r\nHost: x\r\n\r\n", test.path, test.version)
		r := bufio.NewReader(c)
		head, _ := r.Peek(1)
		require.Len(t, head, 1)
		start, _ := r.Peek(r.Buffered())
		require.Contains(t, string(start), test.header)
		response, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		for _, want := range []string{"a", "b", "c"} {
			part := make([]byte, 1)
			_, err := io.ReadFull(response.Body, part)
			require.NoError(t, err)
			require.Equal(t, want, string(part))
			step <- struct{}{}
		}
		rest, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Empty(t, rest)
	}
}

func TestALargeAnswerAndALargeBody(t *testing.T) {
	address := serve(t, server(echo))
	for _, size := range []int{maxCollected - 1, maxCollected, maxCollected + 1, 5 << 20} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", size))
			if chunked {
				body = io.MultiReader(body)
			}
			response, err := http.Post("http://"+address, "", body)
			require.NoError(t, err)
			got, err := io.Copy(io.Discard, response.Body)
			require.NoError(t, err)
			require.EqualValues(t, size, got)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAHeadHasNoBodyButItsLength(t *testing.T) {
	address := serve(t, server(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/declared" {
			w.Header().Set("Content-Length", "9")
			return
		}
		_, _ = io.WriteString(w, "abc")
	}))
	for path, length := range map[string]string{"/declared": "9", "/written": "3"} {
		said := speak(t, address, "HEAD "+path+" HTTP/1.1\r\nHost: x\r\n\r\nHEAD "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Equal(t, []int{200, 200}, statuses(t, "HEAD", said))
		require.Equal(t, 2, strings.Count(said, "Content-Length: "+length+"\r\n"))
		require.True(t, strings.HasSuffix(said, "\r\n\r\n"))
	}
}

func TestHalfAnAnswerIsNoWholeOne(t *testing.T) {
	address := serve(t, server(byPath))
	for _, path := range []string{"/half", "/less"} {
		said := speak(t, address, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(said)), nil)
		require.NoError(t, err)
		_, err = io.ReadAll(response.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, path)
	}
}

func TestWhoIsSlowIsGivenUp(t *testing.T) {
	failed := make(chan error, 1)
	s := server(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		failed <- err
		panic(http.ErrAbortHandler)
	})
	s.HeadTimeout, s.BodyTimeout, s.IdleTimeout = short, short, short
	address := serve(t, s)
	for name, says := range map[string]string{
		"to begin": "", "with the head": "POST / HTTP/1.1\r\nHost:", "with the body": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na",
		"with a chunk": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, address)
			_, _ = io.WriteString(c, says)
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Empty(t, got)
			if strings.Contains(says, "\r\n\r\n") {
				var timeout net.Error
				require.ErrorAs(t, <-failed, &timeout)
				require.True(t, timeout.Timeout())
			}
		})
	}
}

func TestIdleConnectionsMakeRoomAndCallsDoNot(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	s := server(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-release
		}
		echo(w, r)
	})
	s.MaxConns = 2
	address := serve(t, s)
	t.Cleanup(func() { close(release) }) // before the server's end
	ask := func(path string) net.Conn {
		c := dial(t, address) // stays to the test's end
		_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		return c
	}
	answered := func() bool { // the server may not know yet that the one before is idle
		_, err := bufio.NewReader(ask("/")).Peek(1)
		return err == nil
	}
	ask("/wait")
	<-arrived
	for range 5 {
		require.Eventually(t, answered, 10*time.Second, time.Millisecond, "the idle one before makes room")
	}
	require.Eventually(t, func() bool {
		ask("/wait")
		return len(arrived) == 1
	}, 10*time.Second, 20*time.Millisecond)
	for range 3 {
		refused, _ := io.ReadAll(ask("/"))
		require.Empty(t, refused, "both are in calls")
	}
}

func TestAnIdleConnectionIsClosedInTime(t *testing.T) {
	s := server(echo)
	s.IdleTimeout = short
	c := dial(t, serve(t, s))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	said, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, []int{200}, statuses(t, "GET", string(said)))
}

// A caller that sends its body to the end before it reads must see an answer that came early.
func TestAnEarlyAnswerArrives(t *testing.T) {
	address := serve(t, server(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	for range 20 {
		c := dial(t, address)
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"+strings.Repeat("x", 1<<20))
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 413, response.StatusCode)
		_ = c.Close()
	}
}

func TestABodyIsNobodysOnceTheHandlerHasReturned(t *testing.T) {
	read := make(chan error, 1)
	s := server(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			_, err := io.ReadAll(r.Body)
			read <- err
		}()
		w.Header().Set("Connection", "close")
	})
	s.BodyTimeout = time.Hour
	c := dial(t, serve(t, s))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na")
	_, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Error(t, <-read)
}

func TestACallWhoseCallerHangsUpIsEnded(t *testing.T) {
	inside, ended := make(chan struct{}), make(chan struct{})
	c := dial(t, serve(t, server(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
		close(ended)
	})))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-inside
	_ = c.Close()
	<-ended
}

type contextKey struct{}

func TestAConnectionHasItsContextAndACallItsEnd(t *testing.T) {
	calls := make(chan context.Context, 2)
	s := server(func(_ http.ResponseWriter, r *http.Request) {
		calls <- r.Context()
		if r.RemoteAddr != r.Context().Value(contextKey{}) {
			panic("another connection's")
		}
	})
	s.Context = func(c net.Conn) context.Context {
		return context.WithValue(context.Background(), contextKey{}, c.RemoteAddr().String())
	}
	require.Equal(t, []int{200, 200}, statuses(t, "GET", speak(t, serve(t, s), strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2))))
	<-(<-calls).Done()
	<-(<-calls).Done()
}

func TestAShutdownWaitsForCallsAndNotForIdleConnections(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	s := server(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-leave
		_, _ = io.WriteString(w, "done")
	})
	address := serve(t, s)
	idle, busy := dial(t, address), dial(t, address)
	_, _ = io.WriteString(busy, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-inside
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	_, err := io.ReadAll(idle)
	require.NoError(t, err, "it is closed at once")
	_, err = net.Dial("tcp", address)
	require.Error(t, err)
	select {
	case <-ended:
		t.Fatal("it did not wait")
	default:
	}
	close(leave)
	said, err := io.ReadAll(busy)
	require.NoError(t, err)
	require.Contains(t, string(said), "Connection: close\r\n")
	require.True(t, strings.HasSuffix(string(said), "done"))
	require.NoError(t, <-ended)
}

func TestAShutdownEndsAtItsDeadlineAndCloseCuts(t *testing.T) {
	inside := make(chan struct{})
	s := server(func(_ http.ResponseWriter, r *http.Request) {
		close(inside)
		<-r.Context().Done()
	})
	c := dial(t, serve(t, s))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-inside
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	require.NoError(t, s.Close())
}

func TestAServerThatWasShutDownDoesNotServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := server(echo)
	require.NoError(t, s.Shutdown(context.Background()))
	require.ErrorIs(t, s.Serve(l), http.ErrServerClosed)
}
