// Package listen collects what waits for a subscription that pulls, hands it on, and acknowledges what was taken.
package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// Letter is one event, as an endpoint would get it.
type Letter struct {
	// ID is what is acknowledged; Delivery the webhook-id.
	ID, Delivery string
	Header       http.Header
	Body         []byte
}

// What says in a few words what it is: the event's type and subject as far as its headers or its body tell them, or the media type.
func (l Letter) What() string {
	if kind := l.Header.Get("Ce-Type"); kind != "" {
		return strings.TrimSpace(kind + " " + l.Header.Get("Ce-Subject"))
	}
	var event struct{ Type, Subject string }
	if json.Unmarshal(l.Body, &event) == nil && event.Type != "" {
		return strings.TrimSpace(event.Type + " " + event.Subject)
	}
	return l.Header.Get("Content-Type")
}

// Source is where letters wait, in their order.
type Source interface {
	// Collect returns the letters that were not acknowledged, from the first one on; none after a while without any.
	Collect(ctx context.Context) ([]Letter, error)
	// Acknowledge is about letters that were taken: they come no more.
	Acknowledge(ctx context.Context, letters ...Letter) error
}

// Attempt is how it went with a letter once.
type Attempt struct {
	Letter Letter
	// Number counts the attempts at this letter, from 1.
	Number int
	// Status is what was answered; zero if nothing was, and then Err says why.
	Status int
	Err    error
	Took   time.Duration
}

// Taken reports whether the letter may be acknowledged.
func (a Attempt) Taken() bool { return a.Err == nil && a.Status >= 200 && a.Status < 300 }

// Hand does something with a letter and returns a status; 2xx for one that is taken.
type Hand func(ctx context.Context, l Letter) (status int, err error)

// fresh is for how long a letter's signature is good for an endpoint, by the tolerance of Standard Webhooks, with a margin. Then it is
// collected again, with a new one.
const fresh = 4 * time.Minute

// Listener hands letters on one after the other, each until it is taken, so that their order holds.
type Listener struct {
	Source Source
	Hand   Hand
	// Tell is told of each attempt.
	Tell func(Attempt)
	// Note is told of what is odd, such as a gateway that is away.
	Note func(string)
	// Pause waits after the n-th failure in a row.
	Pause func(ctx context.Context, n int)
	Now   func() time.Time

	attempts map[string]int // at letters that were not taken yet, by their ids
}

// Run goes on until ctx ends, or with an error that no waiting mends.
func (l *Listener) Run(ctx context.Context) error {
	if l.Pause == nil {
		l.Pause = service.Backoff
	}
	l.attempts = map[string]int{}
	for failures := 0; ctx.Err() == nil; {
		letters, err := l.Source.Collect(ctx)
		if err == nil {
			failures = 0
			err = l.handAll(ctx, letters)
		}
		switch {
		case err == nil || ctx.Err() != nil:
		case exit.Of(err) != exit.Unavailable:
			return err
		default:
			failures++
			l.Note(err.Error())
			l.Pause(ctx, failures)
		}
	}
	return nil
}

// What was taken is acknowledged together, so many letters or so long after the first of them at the latest.
const (
	ackAtOnce = 50
	ackWithin = 500 * time.Millisecond
	// ackTime bounds the last acknowledgement, after ctx has ended.
	ackTime = 5 * time.Second
)

// handAll hands on what was collected together, and acknowledges what was taken. It returns early when the rest has to be collected again.
func (l *Listener) handAll(ctx context.Context, letters []Letter) error {
	collected, acked := l.Now(), l.Now()
	var taken []Letter
	for _, letter := range letters {
		if l.Now().Sub(collected) > fresh || !l.hand(ctx, letter, collected, func() error { return l.acknowledge(ctx, &taken) }) {
			break
		}
		taken = append(taken, letter)
		if len(taken) < ackAtOnce && l.Now().Sub(acked) < ackWithin {
			continue
		}
		if err := l.acknowledge(ctx, &taken); err != nil {
			return err
		}
		acked = l.Now()
	}
	return l.acknowledge(ctx, &taken)
}

// acknowledge tells of what was taken, also when ctx has ended.
func (l *Listener) acknowledge(ctx context.Context, taken *[]Letter) error {
	if len(*taken) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTime)
	defer cancel()
	if err := l.Source.Acknowledge(ctx, *taken...); err != nil {
		return fmt.Errorf("acknowledging: %w", err)
	}
	for _, letter := range *taken {
		delete(l.attempts, letter.ID)
	}
	*taken = nil
	return nil
}

// hand tries one letter until it is taken; false if its signature has become too old before, or ctx has ended. Before it waits, what
// was taken so far is acknowledged.
func (l *Listener) hand(ctx context.Context, letter Letter, collected time.Time, acknowledge func() error) bool {
	for ctx.Err() == nil && l.Now().Sub(collected) <= fresh {
		l.attempts[letter.ID]++
		begin := l.Now()
		status, err := l.Hand(ctx, letter)
		if err != nil && ctx.Err() != nil {
			return false
		}
		attempt := Attempt{letter, l.attempts[letter.ID], status, err, l.Now().Sub(begin)}
		l.Tell(attempt)
		if attempt.Taken() {
			return true
		}
		if err := acknowledge(); err != nil {
			l.Note(err.Error())
		}
		l.Pause(ctx, attempt.Number)
	}
	return false
}

// Forward sends letters to an address, exactly as an endpoint would get them.
func Forward(to string, timeout time.Duration) Hand {
	client := &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context, l Letter) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(l.Body))
		if err != nil {
			return 0, fmt.Errorf("the address to forward to: %w", err)
		}
		req.Header = l.Header.Clone()
		resp, err := client.Do(req)
		if err != nil {
			return 0, unwrapped(err)
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection can be used again
		return resp.StatusCode, nil
	}
}

// unwrapped leaves out the address, which stands in the command line.
func unwrapped(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}
