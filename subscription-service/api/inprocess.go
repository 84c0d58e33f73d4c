package api

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// door is an http.RoundTripper that serves a call by itself, for one user.
type door struct {
	to   http.Handler
	user contract.PortalUser
}

// RoundTrip returns once the answer begins. It goes on until its body is closed, which waits for the handler.
func (d door) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), doorKey{}, d.user))
	served := r.Clone(ctx)
	if served.Body == nil {
		served.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	a := &inAnswer{header: http.Header{}, body: writer, begun: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer writer.Close()
		defer a.begin(http.StatusOK)
		d.to.ServeHTTP(a, served)
	}()
	<-a.begun
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.sent, ContentLength: -1, Request: r, Body: &throughBody{PipeReader: reader, end: cancel, done: a.done},
	}, nil
}

// throughBody is what the handler writes. Closing it tells the handler that nobody reads any more.
type throughBody struct {
	*io.PipeReader

	end  context.CancelFunc
	done chan struct{}
}

func (b *throughBody) Close() error {
	b.end()
	err := b.PipeReader.Close()
	<-b.done
	return err
}

// inAnswer is the handler's http.ResponseWriter.
type inAnswer struct {
	header, sent http.Header
	status       int
	body         *io.PipeWriter
	once         sync.Once
	begun, done  chan struct{}
}

func (a *inAnswer) Header() http.Header { return a.header }

func (a *inAnswer) begin(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

func (a *inAnswer) WriteHeader(status int) { a.begin(status) }

func (a *inAnswer) Write(b []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.body.Write(b) //nolint:wrapcheck // a writer between two
}

// Flush makes it an http.Flusher: what is written is there already.
func (a *inAnswer) Flush() { a.begin(http.StatusOK) }

// SetReadDeadline and SetWriteDeadline are for http.ResponseController: there is no connection that could be slow.
func (*inAnswer) SetReadDeadline(time.Time) error  { return nil }
func (*inAnswer) SetWriteDeadline(time.Time) error { return nil }
