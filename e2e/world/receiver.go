package world

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Callback is one request that a consumer's endpoint got.
type Callback struct {
	Path   string
	Header http.Header
	Body   []byte
	At     time.Time
	// Status is what the endpoint answered.
	Status int
}

// ID is the delivery's id, the same for every attempt.
func (c Callback) ID() string { return c.Header.Get(standardwebhooks.HeaderWebhookID) }

// Verify checks the signature as a consumer would, with the library of Standard Webhooks.
func (c Callback) Verify(secret string) error {
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return fmt.Errorf("reading the secret: %w", err)
	}
	if err := hook.Verify(c.Body, c.Header); err != nil {
		return fmt.Errorf("verifying the signature: %w", err)
	}
	return nil
}

// Receiver is a consumer's endpoint on loopback. It keeps every callback that it gets.
type Receiver struct {
	URL string
	// Answers are headers of every answer; set them before the first callback.
	Answers http.Header

	server *http.Server
	done   chan struct{}

	mu     sync.Mutex
	answer func(n int, c Callback) int
	got    []Callback
	more   chan struct{} // closed and replaced at each callback
}

// NewReceiver starts an endpoint. answer gets the count of callbacks so far, from 1, and returns the status; nil means 204.
func NewReceiver(answer func(n int, c Callback) int) (*Receiver, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a receiver: %w", err)
	}
	r := &Receiver{URL: "http://" + listener.Addr().String() + "/hooks", Answers: http.Header{}, answer: answer, more: make(chan struct{}), done: make(chan struct{})}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(listener) // ends with Close
	}()
	return r, nil
}

// ServeHTTP takes one callback.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	c := Callback{Path: req.URL.RequestURI(), Header: req.Header, Body: body, At: time.Now(), Status: http.StatusNoContent}
	if r.answer != nil {
		c.Status = r.answer(len(r.got)+1, c)
	}
	r.got = append(r.got, c)
	close(r.more)
	r.more = make(chan struct{})
	r.mu.Unlock()
	for name, values := range r.Answers {
		w.Header()[name] = values
	}
	w.WriteHeader(c.Status)
}

// Callbacks returns what came so far.
func (r *Receiver) Callbacks() []Callback {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Callback(nil), r.got...)
}

// Wait returns the callbacks once enough says so.
func (r *Receiver) Wait(ctx context.Context, enough func([]Callback) bool) ([]Callback, error) {
	for {
		r.mu.Lock()
		got, more := append([]Callback(nil), r.got...), r.more
		r.mu.Unlock()
		if enough(got) {
			return got, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return got, fmt.Errorf("waiting for callbacks, %d so far: %w", len(got), ctx.Err())
		}
	}
}

// WaitFor returns the callbacks once there are n.
func (r *Receiver) WaitFor(ctx context.Context, n int) ([]Callback, error) {
	return r.Wait(ctx, func(got []Callback) bool { return len(got) >= n })
}

// Close stops the endpoint.
func (r *Receiver) Close() error {
	err := r.server.Close()
	<-r.done
	return err
}
