package proxy

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
	"time"
)

// ErrTooLarge is a body over client_max_body_size.
var ErrTooLarge = errors.New("the request body is larger than client_max_body_size")

// ErrClientTimeout is a client that stopped sending its body.
var ErrClientTimeout = errors.New("the client stopped sending its body")

// requestBody streams a request body, bounded in size and in the time between two reads.
type requestBody struct {
	io.ReadCloser
	control *http.ResponseController
	left    int64 // bytes that may still come; -1: no limit
	timeout time.Duration
	set     time.Time // when the read deadline was last moved
	closed  atomic.Bool
	ended   atomic.Bool // all of it was read
}

// LimitRest bounds what the server does with a body that nobody read: it waits for some of it before it answers.
func LimitRest(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
	}
}

// refresh is the part of the timeout after which a read deadline is moved: moving it for every read would cost a lot.
const refresh = 10

// LimitBody bounds the body of r: at most limit bytes (0: any number), and timeout between two reads.
func LimitBody(w http.ResponseWriter, r *http.Request, limit int64, timeout time.Duration) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b := &requestBody{ReadCloser: r.Body, control: http.NewResponseController(w), left: limit, timeout: timeout}
	if limit == 0 {
		b.left = -1
	}
	r.Body = b
}

// Close ends the body. The transport may still try to read after the call has ended, when the deadlines are no longer
// this body's to move.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if now := time.Now(); now.Sub(b.set) > b.timeout/refresh {
		_ = b.control.SetReadDeadline(now.Add(b.timeout))
		b.set = now
	}
	n, err := b.ReadCloser.Read(p)
	if b.left >= 0 {
		if b.left -= int64(n); b.left < 0 {
			b.left = 0
			return 0, ErrTooLarge
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
	case isTimeout(err):
		err = ErrClientTimeout
	}
	return n, err
}

// responseBody ends an answer whose upstream is silent for longer than the read timeout. The clock runs only while
// bytes are waited for: a slow client is not the upstream's fault.
type responseBody struct {
	io.ReadCloser
	timer   *time.Timer
	timeout time.Duration
	expired atomic.Bool
}

func watchResponse(body io.ReadCloser, timeout time.Duration) io.ReadCloser {
	b := &responseBody{ReadCloser: body, timeout: timeout}
	b.timer = time.AfterFunc(timeout, b.expire)
	b.timer.Stop()
	return b
}

func (b *responseBody) expire() {
	b.expired.Store(true)
	_ = b.ReadCloser.Close()
}

func (b *responseBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.timeout)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && b.expired.Load() {
		err = errUpstreamSilent
	}
	return n, err
}

func (b *responseBody) Close() error {
	b.timer.Stop()
	return b.ReadCloser.Close()
}

var errUpstreamSilent = errors.New("the upstream stopped sending its answer")

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// isStream tells whether an answer is a stream of server-sent events, which has no end of its own. (What comes of it is passed on as
// it comes: httputil.ReverseProxy flushes these by itself.)
func isStream(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media == "text/event-stream"
}

// streamBody is an answer that ends, for its client in good order, when the gateway does: nobody waits for its own end.
type streamBody struct {
	io.ReadCloser
	stop  func() bool
	ended atomic.Bool
}

func endWith(closing context.Context, body io.ReadCloser) io.ReadCloser {
	b := &streamBody{ReadCloser: body}
	b.stop = context.AfterFunc(closing, func() {
		b.ended.Store(true)
		_ = b.ReadCloser.Close()
	})
	return b
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.ended.Load() {
		err = io.EOF
	}
	return n, err
}

func (b *streamBody) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}
