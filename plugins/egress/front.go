package egress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	headTimeout  = 5 * time.Second
	bodyTimeout  = 60 * time.Second
	replyTimeout = 30 * time.Second
	// keepAlive is longer than the gateway keeps a connection, so that it is the gateway who hangs up.
	keepAlive = 120 * time.Second
	// goneEvery is how often to look whether the gateway has hung up on calls under way.
	goneEvery = time.Second
	// headBuffer holds the head of a usual request.
	headBuffer = 2 << 10
	// maxReply is the largest buffer for a reply that is worth keeping.
	maxReply = 128 << 10
)

// front is the HTTP/1.1 server before the egress. While a call waits for its endpoint it holds one goroutine and no buffer:
// net/http's server holds two and 10 KiB, which for ten thousand calls that hang is much of what they cost.
type front struct {
	handler http.Handler
	log     *zap.Logger

	mu       sync.Mutex
	listener net.Listener
	peers    map[*peer]struct{}
	closing  bool
	serving  sync.WaitGroup
}

// peer is a connection of the gateway.
type peer struct {
	net.Conn
	raw  syscall.RawConn
	call context.CancelFunc // of the call under way; nil while idle
}

func newFront(handler http.Handler, log *zap.Logger) *front {
	return &front{handler: handler, log: log, peers: map[*peer]struct{}{}}
}

// Serve takes connections until the front is shut down, which it returns http.ErrServerClosed for.
func (f *front) Serve(l net.Listener) error {
	f.mu.Lock()
	f.listener = l
	if f.closing {
		_ = l.Close()
	}
	f.mu.Unlock()
	stop := make(chan struct{})
	defer close(stop)
	go f.watch(stop)
	for wait := 5 * time.Millisecond; ; {
		c, err := l.Accept()
		var refused net.Error
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			f.take(c)
		case f.isClosing():
			return http.ErrServerClosed
		case errors.As(err, &refused) && refused.Temporary(): //nolint:staticcheck // as net/http: at the limit of open files it passes
			<-time.After(wait)
			wait = min(2*wait, time.Second)
		default:
			return fmt.Errorf("accepting: %w", err)
		}
	}
}

func (f *front) isClosing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closing
}

func (f *front) take(c net.Conn) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	p := &peer{Conn: c, raw: raw}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.closing {
		_ = c.Close()
		return
	}
	f.peers[p] = struct{}{}
	f.serving.Go(func() { f.serve(p) })
}

func (f *front) serve(p *peer) {
	defer func() {
		_ = p.Close()
		f.mu.Lock()
		delete(f.peers, p)
		f.mu.Unlock()
	}()
	for p.wait() {
		ctx, begun := f.begin(p)
		if !begun || !f.exchange(ctx, p) || !f.end(p) {
			return
		}
	}
}

// wait returns once there is something to read, without a buffer to read it into. It is false when there never will be.
func (p *peer) wait() bool {
	if p.SetReadDeadline(time.Now().Add(keepAlive)) != nil {
		return false
	}
	n := 0
	err := p.raw.Read(func(fd uintptr) bool {
		var why error
		n, why = peek(fd)
		return !errors.Is(why, syscall.EAGAIN)
	})
	return err == nil && n > 0
}

func peek(fd uintptr) (int, error) {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}

// gone reports whether the other side has hung up.
func (p *peer) gone() bool {
	gone := false
	err := p.raw.Control(func(fd uintptr) {
		n, why := peek(fd)
		gone = why == nil && n == 0 || why != nil && !errors.Is(why, syscall.EAGAIN)
	})
	return gone || err != nil
}

// watch ends the calls whose caller has hung up: nobody reads their connections meanwhile.
func (f *front) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(goneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		for _, p := range f.busy() {
			if p.gone() {
				f.cut(p)
			}
		}
	}
}

func (f *front) busy() (busy []*peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.peers {
		if p.call != nil {
			busy = append(busy, p)
		}
	}
	return busy
}

func (f *front) cut(p *peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.call != nil {
		p.call()
	}
}

func (f *front) begin(p *peer) (context.Context, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	if p.call = cancel; f.closing {
		cancel()
	}
	return ctx, !f.closing
}

func (f *front) end(p *peer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.call()
	p.call = nil
	return !f.closing
}

var heads = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, headBuffer) }}

// exchange serves one request. It is false if no other can follow on the connection.
func (f *front) exchange(ctx context.Context, p *peer) bool {
	if p.SetReadDeadline(time.Now().Add(headTimeout)) != nil {
		return false
	}
	limit := &io.LimitedReader{R: p.Conn, N: maxHeaderBytes}
	r := heads.Get().(*bufio.Reader)
	r.Reset(limit)
	request, err := http.ReadRequest(r)
	if err != nil {
		_, _ = io.WriteString(p, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		return false
	}
	limit.N = math.MaxInt64
	body := &arriving{from: request.Body, reader: r}
	if request.Body == http.NoBody {
		body.release()
	}
	request = request.WithContext(ctx)
	request.Body = body
	if p.SetReadDeadline(time.Now().Add(bodyTimeout)) != nil {
		return false
	}
	w := &reply{header: http.Header{}}
	return f.handle(w, request) && w.send(p) == nil && body.ended && body.clean && !request.Close && request.ProtoAtLeast(1, 1)
}

// handle is false if the handler wants the connection closed without an answer.
func (f *front) handle(w http.ResponseWriter, r *http.Request) (answered bool) {
	defer func() {
		if v := recover(); v != nil {
			answered = false
			if v != http.ErrAbortHandler { //nolint:errorlint // what a panic carries is that very value
				f.log.Error("panic: the call has no answer", zap.String("panic", fmt.Sprint(v)), zap.Stack("stack"))
			}
		}
	}()
	f.handler.ServeHTTP(w, r)
	return true
}

// arriving is a request's body. Once it has ended, its reader is free for another connection.
type arriving struct {
	from   io.ReadCloser
	reader *bufio.Reader
	ended  bool
	clean  bool // nothing came after it
}

func (b *arriving) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	if errors.Is(err, io.EOF) {
		b.release()
	}
	return n, err //nolint:wrapcheck // io.EOF must stay
}

func (b *arriving) release() {
	b.ended, b.clean = true, b.reader.Buffered() == 0
	b.reader.Reset(nil)
	heads.Put(b.reader)
}

func (b *arriving) Close() error { return nil }

// reply collects an answer, so that it goes out in one write.
type reply struct {
	header http.Header
	status int
	body   []byte
}

func (w *reply) Header() http.Header { return w.header }

func (w *reply) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *reply) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body == nil {
		w.body = p // the egress writes once
	} else {
		w.body = append(w.body[:len(w.body):len(w.body)], p...)
	}
	return len(p), nil
}

var replies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// lengthOnly is what a handler cannot set.
var lengthOnly = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true}

func (w *reply) send(to net.Conn) error {
	w.WriteHeader(http.StatusOK)
	out := replies.Get().(*bytes.Buffer)
	out.Reset()
	fmt.Fprintf(out, "HTTP/1.1 %03d %s\r\n", w.status, http.StatusText(w.status))
	_ = w.header.WriteSubset(out, lengthOnly) // into memory: never fails
	if w.status != http.StatusNoContent && w.status != http.StatusNotModified {
		out.WriteString("Content-Length: " + strconv.Itoa(len(w.body)) + "\r\n\r\n")
		out.Write(w.body)
	} else {
		out.WriteString("\r\n")
	}
	if err := to.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return fmt.Errorf("setting a deadline: %w", err)
	}
	_, err := to.Write(out.Bytes())
	if out.Cap() <= maxReply {
		replies.Put(out)
	}
	return err //nolint:wrapcheck // nobody reads it
}

// Shutdown takes no more calls and waits for those under way, until the context ends.
func (f *front) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closing = true
	if f.listener != nil {
		_ = f.listener.Close()
	}
	for p := range f.peers {
		if p.call == nil {
			_ = p.Close()
		}
	}
	f.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); f.serving.Wait() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts the calls under way and waits for their end.
func (f *front) Close() error {
	f.mu.Lock()
	for p := range f.peers {
		if _ = p.Close(); p.call != nil {
			p.call()
		}
	}
	f.mu.Unlock()
	f.serving.Wait()
	return nil
}
