package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// endpoints is the consumers' side: one server with a path for each subscription, and the log that the account is made of.
type endpoints struct {
	URL string

	server *http.Server
	served chan struct{}
	start  time.Time
	all    []*endpoint
	steps  atomic.Int64 // requests and answers, in one order

	mu        sync.Mutex
	log       []call
	delivered map[pair]bool
}

// endpoint is one subscription's.
type endpoint struct {
	subscription int
	manner       manner
	hook         *standardwebhooks.Webhook

	mu    sync.Mutex
	seen  int
	began time.Time // of the outage
}

func newEndpoints(ctx context.Context, subs []subscription) (*endpoints, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the endpoints: %w", err)
	}
	e := &endpoints{URL: "http://" + listener.Addr().String(), start: time.Now(), served: make(chan struct{}), delivered: map[pair]bool{}}
	for i, sub := range subs {
		e.all = append(e.all, &endpoint{subscription: i, manner: sub.manner})
	}
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(e.served)
		_ = e.server.Serve(listener) // ends with Close
	}()
	return e, nil
}

func (e *endpoints) Close() error {
	err := e.server.Close()
	<-e.served
	return err
}

// of is the URL of a subscription's endpoint.
func (e *endpoints) of(subscription int) string { return e.URL + "/" + strconv.Itoa(subscription) }

// trust gives an endpoint the secret that its callbacks must be signed with.
func (e *endpoints) trust(subscription int, secret string) error {
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return errors.New("the secret that subscribing returned cannot be read")
	}
	e.all[subscription].hook = hook
	return nil
}

// ServeHTTP answers in the manner of the endpoint, and logs.
func (e *endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := e.step()
	at, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil || at < 0 || at >= len(e.all) {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the request was cut off: nothing was asked
	}
	to := e.all[at]
	c := call{pair: pair{eventOf(body), at}, id: r.Header.Get(standardwebhooks.HeaderWebhookID), began: began}
	c.badlySigned = to.hook.Verify(body, r.Header) != nil
	c.status = to.answer(r.Context(), c.event)
	// Logged before it is sent: a success that is cut off on its way is still one.
	c.answered, c.at = e.step(), time.Since(e.start)
	e.keep(c)
	if c.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(c.status)
}

func (e *endpoints) step() int { return int(e.steps.Add(1)) }

func (e *endpoints) keep(c call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, c)
	if c.succeeded() {
		e.delivered[c.pair] = true
	}
}

// progress returns how many requests came so far, and how many pairs they have delivered.
func (e *endpoints) progress() (calls, delivered int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.log), len(e.delivered)
}

// calls returns the log so far, in the order of the answers.
func (e *endpoints) calls() []call {
	e.mu.Lock()
	defer e.mu.Unlock()
	log := slices.Clone(e.log)
	slices.SortFunc(log, func(a, b call) int { return cmp.Compare(a.answered, b.answered) })
	return log
}

// answer waits as the endpoint does and returns its status, 0 for none.
func (e *endpoint) answer(ctx context.Context, event int) int {
	how, failing := e.mood(event, time.Now())
	if failing && how == failHang {
		<-ctx.Done()
		return 0
	}
	select {
	case <-time.After(e.manner.delay):
	case <-ctx.Done():
		return 0
	}
	switch {
	case failing && how == failHangsUp:
		return 0
	case failing:
		return int(how)
	}
	return http.StatusNoContent
}

// mood says whether and how this request fails.
func (e *endpoint) mood(event int, now time.Time) (how failure, failing bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen++
	if out := e.manner.outage; out != nil {
		if e.began.IsZero() && event >= out.from {
			e.began = now
		}
		if !e.began.IsZero() && now.Sub(e.began) < out.lasts {
			return out.how, true
		}
	}
	every := e.manner.failEvery
	return http.StatusInternalServerError, every > 0 && e.seen%every == 0
}

// eventData is the data of an event; eventOf finds its number in whatever format a callback has.
func eventData(number int) []byte { return fmt.Appendf(nil, `{"chaos":%d}`, number) }

func eventOf(body []byte) int {
	_, rest, _ := bytes.Cut(body, []byte(`{"chaos":`))
	digits, _, _ := bytes.Cut(rest, []byte("}"))
	number, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1
	}
	return number
}
