package hop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// answerBuffer holds the head of a usual answer.
	answerBuffer = 2 << 10
	// maxAnswerHead bounds the head of an answer.
	maxAnswerHead = 1 << 20
	// maxInterim bounds the 1xx answers before the answer.
	maxInterim = 5
)

// Call is one request.
type Call struct {
	// Send writes the request. It must fit into the sockets' buffers, 64 KiB: nothing is read before it is written.
	Send func(to io.Writer) error
	// Request is what the answer's parser must know: the method.
	Request *http.Request
	// Deadline is for all of the call. Zero: none.
	Deadline time.Time
	// Head bounds the wait for the answer's head, once the request is sent. Zero: only the deadline counts.
	Head time.Duration
}

// Do makes one call, and never makes it twice. The connection is kept once all of the answer's body was read; to close the body
// before that closes it. An error of Dial or Send comes back as it is, and so does the cause of the context's end.
func (p *Pool) Do(ctx context.Context, call Call) (*http.Response, error) {
	l, err := p.get(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	response, err := p.talk(l, &call, stop)
	if err == nil {
		return response, nil
	}
	stop()
	_ = l.Close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, err
}

// talk sends the request and reads the head of the answer.
func (p *Pool) talk(l *link, call *Call, stop func() bool) (*http.Response, error) {
	if err := l.SetDeadline(call.Deadline); err != nil {
		return nil, fmt.Errorf("setting a deadline: %w", err)
	}
	if err := call.Send(l.Conn); err != nil {
		return nil, err
	}
	if call.Head > 0 {
		if err := l.SetReadDeadline(sooner(call.Deadline, time.Now().Add(call.Head))); err != nil {
			return nil, fmt.Errorf("setting a deadline: %w", err)
		}
	}
	if err := awaited(l.socket); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return p.answer(l, call, stop)
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

var answers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, answerBuffer) }}

func (p *Pool) answer(l *link, call *Call, stop func() bool) (*http.Response, error) {
	body := &answerBody{pool: p, link: l, stop: stop, limit: io.LimitedReader{R: l.Conn, N: maxAnswerHead}}
	body.reader = answers.Get().(*bufio.Reader)
	body.reader.Reset(&body.limit)
	response, err := readHead(body.reader, call.Request)
	if err == nil && call.Head > 0 {
		err = l.SetReadDeadline(call.Deadline)
	}
	if err != nil {
		body.reader.Reset(nil)
		answers.Put(body.reader)
		return nil, err
	}
	body.limit.N = math.MaxInt64
	body.from, body.keep = response.Body, !response.Close
	if response.Body == http.NoBody {
		body.end()
	} else {
		response.Body = body
	}
	return response, nil
}

func readHead(r *bufio.Reader, request *http.Request) (*http.Response, error) {
	for range maxInterim {
		response, err := http.ReadResponse(r, request)
		if err != nil {
			return nil, fmt.Errorf("reading the answer: %w", err)
		}
		if response.StatusCode >= http.StatusOK {
			return response, nil
		}
	}
	return nil, errors.New("reading the answer: it never comes")
}

// answerBody gives its connection back once all of the answer was read. Close may be called while Read waits.
type answerBody struct {
	pool   *Pool
	link   *link
	stop   func() bool // of the watch over the call's end
	limit  io.LimitedReader
	reader *bufio.Reader
	from   io.ReadCloser
	keep   bool
	done   atomic.Bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	if b.done.Load() {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	if errors.Is(err, io.EOF) {
		b.end()
	}
	return n, err //nolint:wrapcheck // io.EOF must stay
}

func (b *answerBody) end() {
	if !b.done.CompareAndSwap(false, true) {
		return
	}
	keep := b.stop() && b.keep && b.reader.Buffered() == 0
	b.reader.Reset(nil)
	answers.Put(b.reader)
	if keep {
		b.pool.put(b.link)
	} else {
		_ = b.link.Close()
	}
}

// Close closes the connection unless all of the answer was read.
func (b *answerBody) Close() error {
	if !b.done.CompareAndSwap(false, true) {
		return nil
	}
	b.stop()
	return b.link.Close()
}
