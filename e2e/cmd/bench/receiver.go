package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const roleReceiver = "receiver"

// Paths of the endpoints that are not counted: one that hangs, and one that answers.
const (
	pathHang  = "/hang"
	pathOther = "/other"
)

// hangFor is how long an endpoint that hangs does so.
const hangFor = 30 * time.Second

// received is what the receiver has seen since it was told to forget.
type received struct {
	// Count counts events, Duplicates further callbacks of the same ones.
	Count      int     `json:"count"`
	Duplicates int     `json:"duplicates"`
	Last       int64   `json:"last"` // Unix nanoseconds of the last event that was new
	Hanging    int64   `json:"hanging"`
	Latencies  []int64 `json:"latencies,omitempty"` // nanoseconds from publishing, in order of arrival
}

// receiver is the endpoints of all subscriptions: it does as little as it can, so that what is measured is the pipeline.
type receiver struct {
	mu      sync.Mutex
	got     received
	seen    []bool
	more    chan struct{} // closed when count reaches goal
	goal    int
	release chan struct{}

	hanging atomic.Int64
}

func newReceiver() *receiver { return &receiver{release: make(chan struct{})} }

// receiverReady tells where the receiver listens.
type receiverReady struct {
	Control   string   `json:"control"`
	Endpoints []string `json:"endpoints"`
}

func runReceiver(ctx context.Context) error {
	var endpoints int
	ctx, err := readConfig(ctx, &endpoints)
	if err != nil {
		return err
	}
	r := newReceiver()
	var ready receiverReady
	var servers sync.WaitGroup
	defer servers.Wait()
	if ready.Control, err = serve(ctx, &servers, r.control()); err != nil {
		return err
	}
	for range endpoints {
		address, err := serve(ctx, &servers, r)
		if err != nil {
			return err
		}
		ready.Endpoints = append(ready.Endpoints, address)
	}
	return sayReady(ready)
}

// serve serves on a free port until ctx ends.
func serve(ctx context.Context, running *sync.WaitGroup, handler http.Handler) (string, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("starting an endpoint: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	running.Go(func() { _ = server.Serve(listener) }) // ends with Close
	return "http://" + listener.Addr().String(), nil
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// ServeHTTP takes one callback.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(req.Body); err != nil {
		return
	}
	switch req.URL.Path {
	case pathHang:
		r.hang(req.Context())
	case pathOther:
	default:
		r.count(stampOf(body.Bytes()), time.Now().UnixNano())
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) hang(ctx context.Context) {
	r.mu.Lock()
	release := r.release
	r.mu.Unlock()
	r.hanging.Add(1)
	defer r.hanging.Add(-1)
	timer := time.NewTimer(hangFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-release:
	case <-ctx.Done():
	}
}

func (r *receiver) count(s stamp, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s.n >= len(r.seen) {
		r.seen = append(r.seen, make([]bool, 1<<14)...)
	}
	if r.seen[s.n] {
		r.got.Duplicates++
		return
	}
	r.seen[s.n] = true
	r.got.Count++
	r.got.Last = now
	r.got.Latencies = append(r.got.Latencies, now-s.at)
	if r.more != nil && r.got.Count >= r.goal {
		close(r.more)
		r.more = nil
	}
}

// stamp is what an event carries: its number within the round, and when it was published.
type stamp struct {
	n  int
	at int64
}

// appendStamp writes what stampOf reads.
func appendStamp(to []byte, s stamp) []byte {
	to = append(to, `{"at":`...)
	to = strconv.AppendInt(to, s.at, 10)
	to = append(to, `,"n":`...)
	return strconv.AppendInt(to, int64(s.n), 10)
}

// stampOf finds the stamp in a body of any format, without reading all of it as JSON.
func stampOf(body []byte) stamp {
	return stamp{n: int(numberAfter(body, `"n":`)), at: numberAfter(body, `"at":`)}
}

func numberAfter(body []byte, name string) (n int64) {
	at := bytes.Index(body, []byte(name))
	if at < 0 {
		return 0
	}
	for _, c := range body[at+len(name):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// control is how the bench asks.
func (r *receiver) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /forget", func(http.ResponseWriter, *http.Request) { r.forget() })
	mux.HandleFunc("POST /release", func(http.ResponseWriter, *http.Request) { r.releaseAll() })
	mux.HandleFunc("GET /received", func(w http.ResponseWriter, req *http.Request) {
		goal, _ := strconv.Atoi(req.URL.Query().Get("goal"))
		r.wait(req.Context(), goal)
		_ = json.NewEncoder(w).Encode(r.snapshot(goal > 0)) // the bench is gone: so are we
	})
	return mux
}

func (r *receiver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.seen = received{}, nil
}

// releaseAll ends what hangs now.
func (r *receiver) releaseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.release)
	r.release = make(chan struct{})
}

func (r *receiver) wait(ctx context.Context, goal int) {
	r.mu.Lock()
	if r.got.Count >= goal {
		r.mu.Unlock()
		return
	}
	more := make(chan struct{})
	r.more, r.goal = more, goal
	r.mu.Unlock()
	select {
	case <-more:
	case <-ctx.Done():
	}
}

func (r *receiver) snapshot(latencies bool) received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	got.Hanging = r.hanging.Load()
	if !latencies {
		got.Latencies = nil
	}
	return got
}

// receiverClient is the bench's side.
type receiverClient struct {
	*child
	receiverReady
}

func startReceiver(endpoints int) (*receiverClient, error) {
	c := &receiverClient{}
	var err error
	c.child, err = startChild(roleReceiver, endpoints, &c.receiverReady)
	return c, err
}

func (c *receiverClient) forget(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/forget", nil)
}

func (c *receiverClient) releaseAll(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/release", nil)
}

// now tells what came so far, without the latencies.
func (c *receiverClient) now(ctx context.Context) (got received, err error) {
	return got, c.ask(ctx, http.MethodGet, "/received", &got)
}

// wait returns once n events have come.
func (c *receiverClient) wait(ctx context.Context, n int, atMost time.Duration) (got received, err error) {
	waiting, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	err = c.ask(waiting, http.MethodGet, fmt.Sprintf("/received?goal=%d", n), &got)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		got, err = c.now(ctx)
		err = errors.Join(fmt.Errorf("only %d of %d events came within %v", got.Count, n, atMost), err)
	}
	return got, err
}

func (c *receiverClient) ask(ctx context.Context, method, path string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.Control+path, nil)
	if err != nil {
		return fmt.Errorf("asking the receiver: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the receiver: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if answer == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
