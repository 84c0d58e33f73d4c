package hop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// short is a timeout that a test runs into.
const short = 100 * time.Millisecond

func server(handler http.HandlerFunc) *Server {
	return &Server{
		Handler: handler, Log: zap.NewNop(), HeadTimeout: 5 * time.Second, BodyTimeout: 5 * time.Second,
		WriteTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second, MaxHead: 64 << 10,
	}
}

// serve runs a server until the end of the test and returns its address.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err, s.Close())
		}
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return l.Addr().String()
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c.(*net.TCPConn)
}

// speak sends text, and that there is no more, and returns all that comes back.
func speak(t testing.TB, address, text string) string {
	t.Helper()
	c := dial(t, address)
	_, _ = io.WriteString(c, text)
	_ = c.CloseWrite()
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// statuses of all answers in what came back.
func statuses(t testing.TB, method, said string) (all []int) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(said))
	for {
		response, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return all
		}
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		all = append(all, response.StatusCode)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Method", r.Method)
	_, _ = w.Write(body)
}

// ask makes a call with a body and reads its answer.
func ask(t testing.TB, p *Pool, method, body string) (*http.Response, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, "http://hop/", strings.NewReader(body))
	require.NoError(t, err)
	response, err := p.Do(context.Background(), Call{Send: request.Write, Request: request, Head: 5 * time.Second})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response, string(text), err
}

func pool(t testing.TB, address string) (*Pool, *int) {
	t.Helper()
	dialled := new(int)
	p := &Pool{Most: 4, Idle: time.Minute, Dial: func(ctx context.Context) (net.Conn, error) {
		*dialled++
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}}
	t.Cleanup(p.Close)
	return p, dialled
}

func TestBothSidesOfAHop(t *testing.T) {
	p, dialled := pool(t, serve(t, server(echo)))
	for _, body := range []string{"", "a", strings.Repeat("b", 60<<10), "c"} {
		response, got, err := ask(t, p, http.MethodPost, body)
		require.NoError(t, err)
		require.True(t, body == got)
		require.Equal(t, "POST", response.Header.Get("X-Method"))
		require.NotEmpty(t, response.Header.Get("Date"))
	}
	require.Equal(t, 1, *dialled)
}

func TestThePoolKeepsWhatIsQuietAndYoung(t *testing.T) {
	s := server(echo)
	p, dialled := pool(t, serve(t, s))
	_, _, err := ask(t, p, http.MethodPost, "a")
	require.NoError(t, err)
	kept := p.idle[0]
	require.NoError(t, kept.SetDeadline(time.Unix(1, 0)), "a deadline of the call before does not count")
	_, _, err = ask(t, p, http.MethodPost, "a")
	require.NoError(t, err)
	require.Equal(t, 1, *dialled)
	require.NoError(t, kept.Conn.(*net.TCPConn).CloseWrite()) // the server hangs up
	require.Eventually(t, func() bool { return gone(kept.socket) }, 5*time.Second, time.Millisecond)
	_, _, err = ask(t, p, http.MethodPost, "a")
	require.NoError(t, err)
	require.Equal(t, 2, *dialled)
	p.idle[0].used = time.Now().Add(-p.Idle)
	p.trim()
	require.Empty(t, p.idle)
	require.Nil(t, p.sweep)
}

func TestThePoolKeepsNoMoreThanItMay(t *testing.T) {
	p, _ := pool(t, serve(t, server(echo)))
	var links []*link
	for range p.Most + 3 {
		l, err := p.connect(context.Background())
		require.NoError(t, err)
		links = append(links, l)
	}
	for _, l := range links {
		p.put(l)
	}
	require.Len(t, p.idle, p.Most)
}

func TestACallEndsWithItsContext(t *testing.T) {
	inside := make(chan struct{}, 1)
	p, _ := pool(t, serve(t, server(func(_ http.ResponseWriter, r *http.Request) { inside <- struct{}{}; <-r.Context().Done() })))
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { <-inside; cancel(why) }()
	request := httptest.NewRequest(http.MethodPost, "/", nil)
	_, err := p.Do(ctx, Call{Send: request.Write, Request: request})
	require.ErrorIs(t, err, why)
	for _, call := range []Call{{Head: short}, {Deadline: time.Unix(1, 0)}, {Head: time.Hour, Deadline: time.Unix(1, 0)}} {
		if call.Send, call.Request = request.Write, request; !call.Deadline.IsZero() {
			call.Deadline = time.Now().Add(short)
		}
		_, err = p.Do(context.Background(), call)
		var timeout net.Error
		require.True(t, errors.As(err, &timeout) && timeout.Timeout(), "got %v", err)
		<-inside
	}
	require.Empty(t, p.idle)
}

func TestADeadlineHoldsForTheBodyAndTheHeadsDoesNot(t *testing.T) {
	release := make(chan struct{})
	p, _ := pool(t, serve(t, server(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		<-release
		_, _ = io.WriteString(w, "b")
	})))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	call := Call{Send: request.Write, Request: request, Deadline: time.Now().Add(2 * short)}
	response, err := p.Do(context.Background(), call)
	require.NoError(t, err)
	_, err = io.ReadAll(response.Body)
	require.Error(t, err, "the deadline is for all of it")
	require.NoError(t, response.Body.Close())
	call.Deadline, call.Head = time.Time{}, 2*short
	response, err = p.Do(context.Background(), call)
	require.NoError(t, err)
	timer := time.AfterFunc(3*short, func() { close(release) })
	defer timer.Stop()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "ab", string(body))
	require.Len(t, p.idle, 1)
}

func TestABodyThatIsNotReadClosesItsConnection(t *testing.T) {
	ended := make(chan struct{})
	p, _ := pool(t, serve(t, server(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	})))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	response, err := p.Do(context.Background(), Call{Send: request.Write, Request: request})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.NoError(t, response.Body.Close())
	<-ended
	require.Empty(t, p.idle)
}

func TestWhatIsNoAnswerIsAnError(t *testing.T) {
	for name, says := range map[string]string{
		"nothing": "", "another protocol": "SSH-2.0\r\n\r\n", "half": "HTTP/1.1 200 OK\r\nX",
		"1xx without end": strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), "a head without end": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxAnswerHead),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			said := make(chan struct{})
			go func() {
				defer close(said)
				c, err := l.Accept()
				if err == nil {
					_, _ = c.Read(make([]byte, 1<<10))
					_, _ = io.WriteString(c, says)
					_ = c.Close()
				}
			}()
			p, _ := pool(t, l.Addr().String())
			_, _, err = ask(t, p, http.MethodPost, "x")
			require.Error(t, err)
			require.Empty(t, p.idle)
			<-said
			require.NoError(t, l.Close())
		})
	}
}

func TestAnErrorOfSendIsTheErrorOfTheCall(t *testing.T) {
	p, _ := pool(t, serve(t, server(echo)))
	want := errors.New("no body")
	_, err := p.Do(context.Background(), Call{Send: func(io.Writer) error { return want }})
	require.Equal(t, want, err)
	p.Dial = func(context.Context) (net.Conn, error) { return nil, want }
	_, err = p.Do(context.Background(), Call{})
	require.Equal(t, want, err)
}

func TestAClosedPoolKeepsNothing(t *testing.T) {
	p, _ := pool(t, serve(t, server(echo)))
	_, _, err := ask(t, p, http.MethodPost, "a")
	require.NoError(t, err)
	p.Close()
	_, _, err = ask(t, p, http.MethodPost, "a")
	require.NoError(t, err)
	require.Empty(t, p.idle)
}

func BenchmarkHop(b *testing.B) {
	address := serve(b, server(echo))
	p := &Pool{Most: 256, Idle: time.Minute, Dial: func(context.Context) (net.Conn, error) { return net.Dial("tcp", address) }}
	defer p.Close()
	said := fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1024\r\n\r\n%s", strings.Repeat("x", 1024))
	request := &http.Request{Method: http.MethodPost}
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			response, err := p.Do(context.Background(), Call{Request: request, Send: func(to io.Writer) error {
				_, err := io.WriteString(to, said)
				return err
			}})
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	})
}
