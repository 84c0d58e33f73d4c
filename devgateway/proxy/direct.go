package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/hop"
)

const (
	// maxDirect is the largest body of a request that is written before its answer is read: it fits into the sockets'
	// buffers, so that an upstream which answers early finds its answer read.
	maxDirect = 64 << 10
	// headBuffer holds the head of a usual request.
	headBuffer = 2 << 10
)

// direct is a transport to one node in which a call reads and writes its own connection, and holds no buffer while it waits.
// What has a large body, or one of unknown length, goes by way of net/http: there the answer may come before all of the body
// is written.
type direct struct {
	pool   *hop.Pool
	read   time.Duration // to wait for an answer's head
	behind *http.Transport
}

// RoundTrip is http.RoundTripper's.
func (t *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if !small(req) || !clean(req.Header) {
		return t.behind.RoundTrip(req)
	}
	res, err := t.pool.Do(req.Context(), hop.Call{Request: req, Head: t.read, Send: func(to io.Writer) error {
		err := send(to, req)
		req.Header = nil // it is on its way, and nobody reads it again
		return err
	}})
	if err != nil {
		return nil, errors.Join(err, closeBody(req))
	}
	return res, nil
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
		if !hop.ValidName(name) {
			return false
		}
		for _, v := range values {
			if !hop.ValidValue(v) {
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

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, headBuffer) }}

// close closes the idle connections and keeps no more.
func (t *direct) close() {
	t.behind.CloseIdleConnections()
	t.pool.Close()
}
