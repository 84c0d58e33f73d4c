// Package egress is the one door by which callbacks leave: an HTTP server on loopback that calls exactly the target of a
// one-time pass, and an address only if the policy allows it.
package egress

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

const (
	// maxCalls bounds the calls under way.
	maxCalls = 20000
	// maxAnswer is how much of an endpoint's body goes back, in bytes.
	maxAnswer = 64 << 10
	// maxBuffered is up to which size a body is read before the call. Such a call can be sent on another connection when the
	// kept one turns out to be closed before a byte was written.
	maxBuffered = 64 << 10
	// maxDrained bounds what is read of a body that nobody wants any more, so that the gateway sees the answer.
	maxDrained = 32 << 20
)

// Options of an Egress.
type Options struct {
	Book   *pass.Book
	Policy *guard.Policy
	// Roots are the trusted certificate authorities; nil means the system's.
	Roots *x509.CertPool
	// Resolver replaces the system's; nil means that one.
	Resolver guard.Resolver
	// Proxy is the way out; nil is none.
	Proxy *Proxy
	// MaxCalls bounds the calls under way; zero means 20,000.
	MaxCalls int64
	// Certificates has the client certificates of subscriptions; nil: there are none.
	Certificates Certificates
	// Trace makes a span of each call; nil makes none.
	Trace *tracing.Tracer
	// Log gets a line of each call: at debug of what was answered with 2xx, at info of all else. Nil: none.
	Log *zap.Logger
}

// Egress is the handler. It is safe for concurrent use.
type Egress struct {
	book      *pass.Book
	transport *http.Transport
	clients   *clients
	calls     *semaphore.Weighted
	counts    *counts
	trace     *tracing.Tracer
	log       *zap.Logger
}

// New makes an egress.
func New(o Options) *Egress {
	if o.MaxCalls == 0 {
		o.MaxCalls = maxCalls
	}
	if o.Resolver == nil {
		o.Resolver, _ = guard.NewResolver("") // the system's: nothing to be read wrong
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	dialer := newDialer(o)
	return &Egress{
		book:      o.Book,
		transport: newTransport(dialer),
		clients:   newClients(o.Certificates, dialer),
		calls:     semaphore.NewWeighted(o.MaxCalls),
		counts:    newCounts(),
		trace:     o.Trace,
		log:       o.Log,
	}
}

// Close ends the idle connections to endpoints.
func (e *Egress) Close() {
	e.transport.CloseIdleConnections()
	e.clients.close()
}

// answer is what goes back to the gateway.
type answer struct {
	outcome contract.Outcome
	detail  contract.Detail
	status  int
	header  http.Header
	body    []byte
	// timings and answered are the values of their headers; "" where there are none.
	timings, answered string
}

// ServeHTTP makes one call. Of the request it takes the pass, the headers and the body, and nothing about the target.
func (e *Egress) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := &inbound{from: r.Body}
	a := e.answer(r, body)
	e.counts.end(a)
	_ = body.Close()
	if body.broken.Load() {
		panic(http.ErrAbortHandler) // the gateway hung up: whatever happened is not the endpoint's doing
	}
	// The gateway reads the answer only after it has sent all of the body.
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxDrained))
	a.write(w)
}

func (e *Egress) answer(r *http.Request, body *inbound) answer {
	passes := r.Header.Values(contract.HeaderPass)
	if len(passes) != 1 {
		return failure(contract.OutcomeUnvouched, "")
	}
	grant, ok := e.book.Redeem(passes[0])
	if !ok {
		return failure(contract.OutcomeUnvouched, "")
	}
	if !e.calls.TryAcquire(1) {
		return failure(contract.OutcomeOverloaded, "")
	}
	defer e.calls.Release(1)
	e.counts.inFlight.Inc()
	defer e.counts.inFlight.Dec()
	return e.call(r, body, grant)
}

// call ends within the grant's timeouts, the answer's body included.
func (e *Egress) call(r *http.Request, body *inbound, grant pass.Grant) answer {
	ctx, watch, extend, end := begin(r.Context(), limitsOf(grant.Timeouts))
	defer end()
	ctx, span := e.begin(ctx, r.Header, grant)
	a := e.exchange(ctx, r, body, grant, extend)
	spent := watch.read()
	e.counts.timed(spent)
	a.timings = spent.Encode()
	e.end(span, r.Header, grant, a, watch)
	return a
}

func (e *Egress) exchange(ctx context.Context, r *http.Request, body *inbound, grant pass.Grant, extend func()) answer {
	request, err := outgoingRequest(ctx, r, body, grant)
	if err != nil {
		return failure(contract.OutcomeReset, "")
	}
	transport, err := e.transportFor(ctx, grant)
	if err != nil {
		return failure(classify(err))
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return failure(classify(cause(ctx, err)))
	}
	extend()
	defer func() { _ = response.Body.Close() }() // closes the connection unless all of the body was read
	if response.StatusCode < http.StatusOK || response.StatusCode > 999 {
		return failure(contract.OutcomeReset, "") // an upgrade that nobody asked for, or no status at all
	}
	kept, detail := readAnswer(response.Body)
	return answer{
		outcome: contract.OutcomeResponse, detail: detail, status: response.StatusCode,
		header: incoming(response.Header), body: kept, answered: contract.EncodeHeaders(response.Header),
	}
}

// transportFor returns the connections that a call may use: those that show its client certificate, or those that show none.
func (e *Egress) transportFor(ctx context.Context, grant pass.Grant) (*http.Transport, error) {
	if grant.Certificate == "" {
		return e.transport, nil
	}
	if grant.Target.Scheme != "https" {
		return nil, errCertificate // it could not be shown, and without it the call is not the one that was asked for
	}
	return e.clients.transport(ctx, grant.Subscription, grant.Certificate)
}

// cause is why the call was ended, if it was: the transport does not always say so.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

func outgoingRequest(ctx context.Context, r *http.Request, body *inbound, grant pass.Grant) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, cmp.Or(grant.Method, http.MethodPost), "", nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.URL, request.Host, request.Header = grant.Target, grant.Target.Host, outgoing(r.Header)
	return request, setBody(request, r.ContentLength, body)
}

// setBody keeps the length when it is known (-1: it is not).
func setBody(request *http.Request, length int64, body *inbound) error {
	request.ContentLength = length
	switch {
	case length == 0:
		request.Body = http.NoBody
	case length > 0 && length <= maxBuffered:
		whole := make([]byte, length)
		if _, err := io.ReadFull(body, whole); err != nil {
			return fmt.Errorf("reading the body: %w", err)
		}
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(whole)), nil }
		request.Body, _ = request.GetBody()
	default:
		request.Body = body
	}
	return nil
}

// readAnswer returns what can be had of the body, up to its bound. The status is known, so a body that breaks or drips
// beyond the timeout takes nothing from the outcome.
func readAnswer(body io.Reader) ([]byte, contract.Detail) {
	read, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	switch {
	case err != nil:
		return read, contract.DetailAnswerIncomplete
	case len(read) > maxAnswer:
		return read[:maxAnswer], contract.DetailAnswerCut
	}
	return read, ""
}

func failure(outcome contract.Outcome, detail contract.Detail) answer {
	problem := contract.KindOfOutcome(outcome).Problem(sentences[outcome])
	body, _ := json.Marshal(problem) // strings and a number: never fails
	return answer{outcome: outcome, detail: detail, status: problem.Status, header: http.Header{"Content-Type": {contract.MediaProblem}}, body: body}
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"] = nil // no guess where the endpoint said nothing
	for name, values := range a.header {
		h[name] = values
	}
	h.Set(contract.HeaderOutcome, string(a.outcome))
	for name, value := range map[string]string{
		contract.HeaderDetail: string(a.detail), contract.HeaderTimings: a.timings, contract.HeaderAnswered: a.answered,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the gateway hung up, or the status allows no body
}
