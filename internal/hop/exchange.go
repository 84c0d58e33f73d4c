package hop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxDrained is how much of a body that the handler left unread is read for the sake of the connection.
	maxDrained = 256 << 10
	// lingering is how long a connection that is given up is still read: to close it with bytes unread would be a reset, which
	// can cost the caller the answer.
	lingering = time.Second
)

// wait returns once a request begins. It is false when none will.
func (p *peer) wait(most time.Duration) bool {
	if p.left != nil {
		return true
	}
	return p.SetReadDeadline(time.Now().Add(most)) == nil && awaited(p.socket) == nil
}

// exchange serves one request. It is false if no other can follow on the connection.
func (p *peer) exchange(ctx context.Context) bool {
	request, body, status := p.read(ctx)
	if status != 0 {
		p.refuse(status)
	}
	if request == nil {
		return false
	}
	w := &reply{to: p, request: request, body: body, header: http.Header{}}
	defer w.release()
	if !p.handle(w, request) || w.finish() != nil {
		return false
	}
	if w.closes {
		_ = p.SetReadDeadline(time.Unix(1, 0)) // whoever still reads the body is let go
	}
	left, ended := body.take()
	if again := ended && !w.closes; again {
		p.left = left
		return true
	}
	if !ended || left != nil {
		p.linger()
	}
	return false
}

// read takes a request's head in. Without a request the connection is over; a status is to be told before.
func (p *peer) read(ctx context.Context) (*http.Request, *requestBody, int) {
	if p.SetReadDeadline(time.Now().Add(p.server.HeadTimeout)) != nil {
		return nil, nil, 0
	}
	r := p.left
	if p.left = nil; r == nil {
		r = readings.Get().(*reading)
	}
	r.begin(p.Conn, p.server.MaxHead)
	request, err := http.ReadRequest(r.Reader)
	switch {
	case errors.Is(r.head.failed, errHeadTooLarge):
		return nil, nil, http.StatusRequestHeaderFieldsTooLarge
	case err != nil && r.head.failed != nil:
		return nil, nil, 0 // nobody is there who would hear
	case err != nil:
		return nil, nil, http.StatusBadRequest
	}
	if status := r.head.check(request); status != 0 {
		return nil, nil, status
	}
	return p.take(ctx, request, r)
}

func (p *peer) take(ctx context.Context, request *http.Request, r *reading) (*http.Request, *requestBody, int) {
	if p.SetReadDeadline(time.Now().Add(p.server.BodyTimeout)) != nil {
		return nil, nil, 0
	}
	body := &requestBody{from: request.Body, reading: r}
	if request.Body == http.NoBody {
		body.end()
	} else {
		request.Body = body
		if continues(request) && request.ProtoAtLeast(1, 1) {
			body.asks = p
		}
	}
	request.RemoteAddr = p.address
	return request.WithContext(ctx), body, 0
}

// refuse answers what is no request.
func (p *peer) refuse(status int) {
	_ = p.SetWriteDeadline(time.Now().Add(p.server.WriteTimeout))
	_, err := fmt.Fprintf(p, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
	if err == nil {
		p.linger()
	}
}

// linger reads on for a moment, so that what was written arrives.
func (p *peer) linger() {
	half, ok := p.Conn.(interface{ CloseWrite() error })
	if ok && half.CloseWrite() == nil && p.SetReadDeadline(time.Now().Add(lingering)) == nil {
		_, _ = io.Copy(io.Discard, p.Conn)
	}
}

// handle is false if the handler wants the connection closed without (the rest of) an answer.
func (p *peer) handle(w http.ResponseWriter, r *http.Request) (answered bool) {
	defer func() {
		if v := recover(); v != nil {
			answered = false
			if v != http.ErrAbortHandler { //nolint:errorlint // what a panic carries is that very value
				p.server.Log.Error("panic: the call has no answer", zap.String("panic", fmt.Sprint(v)), zap.Stack("stack"))
			}
		}
	}()
	p.server.Handler.ServeHTTP(w, r)
	return true
}

// requestBody is a request's body. Once it has ended, its reading is free for another connection. A handler's helpers may still
// read it when the handler has returned; they get nothing any more.
type requestBody struct {
	mu      sync.Mutex
	from    io.ReadCloser
	reading *reading // nil once the body has ended and nothing is left
	asks    net.Conn // waits for 100 before it sends; nil: does not
	ended   bool
	taken   bool // back to the server
	failed  error
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return 0, io.EOF
	case b.taken:
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

func (b *requestBody) read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	if b.asks != nil {
		_, _ = io.WriteString(b.asks, "HTTP/1.1 100 Continue\r\n\r\n") // who does not get it does not send
		b.asks = nil
	}
	n, err := b.from.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		b.end()
	case err != nil:
		b.failed = err
	}
	return n, err //nolint:wrapcheck // io.EOF must stay
}

func (b *requestBody) end() {
	b.ended = true
	if b.reading.Buffered() == 0 {
		b.reading.release()
		b.reading = nil
	}
}

// Close leaves the rest to the server.
func (b *requestBody) Close() error { return nil }

// settle reads what little the handler left unread. It is false if the connection cannot serve another request after this one.
func (b *requestBody) settle(length int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken = true; b.ended || b.failed != nil || b.asks != nil || length > maxDrained {
		return b.ended
	}
	_, _ = io.CopyN(io.Discard, drain{b}, maxDrained+1)
	return b.ended
}

// drain reads a body whose lock is held.
type drain struct{ *requestBody }

func (d drain) Read(p []byte) (int, error) {
	if d.ended {
		return 0, io.EOF
	}
	return d.read(p)
}

// take ends the body for everybody but the server. If all of it was read, it returns what holds the next request's begin, if
// something does.
func (b *requestBody) take() (left *reading, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = true
	return b.reading, b.ended
}

// lengthOf reads a Content-Length, -1 if there is none that can be read.
func lengthOf(header http.Header) int64 {
	values := header["Content-Length"]
	if len(values) == 0 {
		return -1
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}
