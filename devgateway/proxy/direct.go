package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxDirect is the largest body of a request that is written before its answer is read: it fits into the sockets'
	// buffers, so that an upstream which answers early finds its answer read.
	maxDirect = 64 << 10
	// headBuffer holds the head of a usual request or answer.
	headBuffer = 2 << 10
	// maxInterim bounds the 1xx answers before the answer.
	maxInterim = 5
)

// direct is a transport to one node in which a call reads and writes its own connection. net/http keeps two goroutines and
// two buffers for each, which for ten thousand calls that hang is most of what they cost. What has a large body, or one
// of unknown length, goes by way of net/http: there the answer may come before all of the body is written.
type direct struct {
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	read   time.Duration // to wait for an answer's head
	behind *http.Transport

	mu     sync.Mutex
	idle   []*directConn // the one that was used last comes last
	sweep  *time.Timer
	closed bool
}

// directConn is a connection to an upstream.
type directConn struct {
	net.Conn
	raw  syscall.RawConn
	used time.Time
}

// RoundTrip is http.RoundTripper's.
func (t *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if !small(req) || !clean(req.Header) {
		return t.behind.RoundTrip(req)
	}
	c, err := t.get(req)
	if err != nil {
		return nil, errors.Join(err, closeBody(req))
	}
	stop := context.AfterFunc(req.Context(), func() { _ = c.Close() })
	res, err := t.exchange(c, req)
	if err == nil {
		res.Body.(*directBody).stop = stop
		return res, nil
	}
	stop()
	_ = c.Close()
	if ended := context.Cause(req.Context()); ended != nil {
		return nil, ended
	}
	return nil, err
}

// small reports whether the body is known to be a small one. A length of 0 with a body is one that is not known.
func small(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	return req.ContentLength > 0 && req.ContentLength <= maxDirect
}

// clean reports whether there is nothing in the headers that net/http refuses to send.
func clean(h http.Header) bool {
	for name, values := range h {
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' }) {
			return false
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return false
			}
		}
	}
	return true
}

func closeBody(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	return req.Body.Close()
}

// exchange writes the request and reads the head of the answer.
func (t *direct) exchange(c *directConn, req *http.Request) (*http.Response, error) {
	if err := send(c.Conn, req); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(t.read)); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	r := readers.Get().(*bufio.Reader)
	r.Reset(c.Conn)
	res, err := readHead(r, req)
	if err != nil {
		return nil, err
	}
	res.Body = &directBody{pool: t, conn: c, reader: r, from: res.Body, keep: !res.Close}
	return res, c.SetReadDeadline(time.Time{})
}

// send writes the request and closes its body. A body's own error comes back as it is, which the library would hide.
func send(to io.Writer, req *http.Request) error {
	w := writers.Get().(*bufio.Writer)
	w.Reset(to)
	defer func() { w.Reset(nil); writers.Put(w) }()
	body := &sentBody{ReadCloser: req.Body}
	if req.Body != nil && req.Body != http.NoBody {
		sent := *req
		sent.Body, req = body, &sent
	}
	err := req.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil && body.fault != nil {
		return body.fault
	}
	if err != nil {
		return fmt.Errorf("sending the request: %w", err)
	}
	return nil
}

type sentBody struct {
	io.ReadCloser
	fault error
}

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.fault = err
	}
	return n, err //nolint:wrapcheck // io.EOF must stay
}

func readHead(r *bufio.Reader, req *http.Request) (*http.Response, error) {
	for range maxInterim {
		res, err := http.ReadResponse(r, req)
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if res.StatusCode >= http.StatusOK {
			return res, nil
		}
	}
	return nil, errors.New("reading the answer: it never comes")
}

var (
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, headBuffer) }}
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, headBuffer) }}
)

// directBody gives its connection back once all of the answer was read. Close may be called while Read waits.
type directBody struct {
	pool   *direct
	conn   *directConn
	reader *bufio.Reader
	from   io.ReadCloser
	stop   func() bool // of the watch over the call's end
	keep   bool
	done   atomic.Bool
}

func (b *directBody) Read(p []byte) (int, error) {
	if b.done.Load() {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	if errors.Is(err, io.EOF) && b.done.CompareAndSwap(false, true) {
		b.release()
	}
	return n, err //nolint:wrapcheck // io.EOF must stay
}

func (b *directBody) release() {
	keep := b.stop() && b.keep && b.reader.Buffered() == 0
	b.reader.Reset(nil)
	readers.Put(b.reader)
	if keep {
		b.pool.put(b.conn)
	} else {
		_ = b.conn.Close()
	}
}

// Close closes the connection unless all of the answer was read.
func (b *directBody) Close() error {
	if !b.done.CompareAndSwap(false, true) {
		return nil
	}
	b.stop()
	return b.conn.Close()
}

// get returns an idle connection on which the upstream has not hung up, or a new one.
func (t *direct) get(req *http.Request) (*directConn, error) {
	for {
		c := t.pop()
		if c == nil {
			return t.connect(req)
		}
		if time.Since(c.used) < idleTimeout && c.quiet() {
			return c, nil
		}
		_ = c.Close()
	}
}

func (t *direct) connect(req *http.Request) (*directConn, error) {
	nc, err := t.dial(req.Context(), "tcp", req.URL.Host)
	if err != nil {
		return nil, err
	}
	c := &directConn{Conn: nc}
	if c.raw, err = nc.(*upstreamConn).Conn.(syscall.Conn).SyscallConn(); err != nil {
		return nil, fmt.Errorf("connecting to the upstream: %w", errors.Join(err, nc.Close()))
	}
	return c, nil
}

// quiet reports whether an idle connection has nothing to read: neither the upstream's goodbye nor an answer to nothing.
func (c *directConn) quiet() bool {
	quiet := false
	err := c.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return quiet && err == nil
}

func (t *direct) pop() *directConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.idle) - 1
	if last < 0 {
		return nil
	}
	c := t.idle[last]
	t.idle[last], t.idle = nil, t.idle[:last]
	return c
}

func (t *direct) put(c *directConn) {
	c.used = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.idle) >= maxIdlePerNode {
		_ = c.Close()
		return
	}
	t.idle = append(t.idle, c)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(idleTimeout, t.trim)
	}
}

// trim closes what has been idle for too long, and comes again while there is more.
func (t *direct) trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := 0
	for old < len(t.idle) && time.Since(t.idle[old].used) >= idleTimeout {
		_ = t.idle[old].Close()
		old++
	}
	t.idle = append([]*directConn(nil), t.idle[old:]...)
	if t.sweep = nil; len(t.idle) > 0 {
		t.sweep = time.AfterFunc(idleTimeout, t.trim)
	}
}

// close closes the idle connections and keeps no more.
func (t *direct) close() {
	t.behind.CloseIdleConnections()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		_ = c.Close()
	}
	if t.idle, t.closed = nil, true; t.sweep != nil {
		t.sweep.Stop()
	}
}
