// Package gateway makes callbacks through the API gateway: one POST on the callback route, with a signed statement that
// names the target. What the consumer's endpoint answered and what went wrong on the way come back apart.
package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/hop"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

const (
	// slack is what the gateway itself may take on top of a callback's own timeout.
	slack = 5 * time.Second
	// dialTimeout bounds the way to the gateway, TLS included.
	dialTimeout = 5 * time.Second
	// idleTimeout is below the gateway's keep-alive of 60 s.
	idleTimeout = 30 * time.Second
)

// Call is one callback: where, what for, and the request as the consumer's endpoint will see it.
type Call struct {
	// Method is POST, or OPTIONS to ask whether callbacks are wanted; empty for POST.
	Method       string
	Target       string
	Subscription string
	Delivery     string
	// Certificate is the ID of the subscription's client certificate that the call shows; empty for none.
	Certificate string
	Timeouts    contract.Timeouts
	Header      http.Header
	Body        []byte
	// Keep asks for the header and the beginning of the body of the answer: up to that many bytes, AllOfIt for all that the egress
	// hands on.
	Keep int
}

// AllOfIt is more than the egress sends.
const AllOfIt = 128 << 10

// Answer is what became of a call. An empty Outcome means that the gateway failed; Status is then the gateway's own, or
// zero if it never answered.
type Answer struct {
	Outcome contract.Outcome
	// Detail is the cause, where the outcome has several; empty where it has none of its own.
	Detail     contract.Detail
	Status     int
	RetryAfter string
	// Header and Body are what the endpoint answered, as far as the egress hands it on; nil unless the call asked to Keep them.
	Header http.Header
	Body   []byte
}

// Client posts callbacks to one gateway.
type Client struct {
	// TLS makes the connections where the URL says https. It is set before the first call; unless it is, the system's authorities
	// are believed.
	TLS *tlsconf.Client
	// Trace makes a span of each call; nil makes none.
	Trace *tracing.Tracer

	host, port string
	head       string // the request line and the Host header
	signer     *contract.Signer
	pool       *hop.Pool
}

// New makes a client for the gateway at a base URL. most bounds the connections that are kept.
func New(base string, signer *contract.Signer, most int) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the gateway's URL cannot be read: write it as http://host:port")
	}
	c := &Client{TLS: &tlsconf.Client{}, host: u.Hostname(), port: u.Port(), signer: signer}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), u.Scheme) // the schemes are names of services too
	}
	c.pool = &hop.Pool{Most: most, Idle: idleTimeout, Dial: func(ctx context.Context) (net.Conn, error) { return c.dial(ctx, u.Scheme == "https", address) }}
	path := strings.TrimSuffix(u.EscapedPath(), "/") + contract.CallbackPath
	c.head = "POST " + path + " HTTP/1.1\r\nHost: " + u.Host + "\r\n"
	return c, nil
}

func (c *Client) dial(ctx context.Context, secure bool, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	connect := d.DialContext
	if secure {
		connect = func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.TLS.Dial(ctx, d, network, address)
		}
	}
	conn, err := connect(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return conn, nil
}

// Do makes the call, on the gateway always a POST; the statement says what the endpoint gets. The error is only for the log: it says
// why the gateway could not be asked, and never holds the statement, a signature or the target.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	if !c.Trace.On() {
		return c.do(ctx, call)
	}
	return c.traced(ctx, call)
}

// traced is do within a span of its own. It is apart so that calls without one, which may hang by the thousand, have a small stack.
func (c *Client) traced(ctx context.Context, call Call) (Answer, error) {
	ctx, span := c.Trace.Child(ctx, tracing.Client, "POST "+contract.CallbackPath)
	defer span.End()
	span.Set(append(tracing.Request(http.MethodPost, c.host, c.port), tracing.Template(contract.CallbackPath))...)
	tracing.ToHTTP(span.Context(), call.Header)
	answer, err := c.do(ctx, call)
	switch {
	case err != nil:
		span.Fail("gateway")
	case answer.Outcome == "":
		span.Outcome("gateway", "", answer.Status)
	default:
		span.Outcome(answer.Outcome, answer.Detail, answer.Status)
	}
	return answer, err
}

func (c *Client) do(ctx context.Context, call Call) (Answer, error) {
	statement, err := c.signer.SignCallback(contract.Callback{
		Method: call.Method, Target: call.Target, Subscription: call.Subscription, Delivery: call.Delivery,
		Certificate: call.Certificate, Timeouts: call.Timeouts,
	})
	if err != nil {
		return Answer{}, err
	}
	response, err := c.ask(ctx, Most(call.Timeouts), c.encode(call, statement))
	if err != nil {
		return Answer{}, fmt.Errorf("asking the gateway: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer := answerOf(response)
	if call.Keep > 0 {
		answer.Header = response.Header
		answer.Body, _ = io.ReadAll(io.LimitReader(response.Body, int64(call.Keep))) // of a body that breaks, what came
	}
	// The connection can be used again only if the body was read; the egress sends no more than this. All that counts is in the
	// head, so a body that breaks takes nothing away.
	_, _ = io.CopyN(io.Discard, response.Body, AllOfIt)
	return answer, nil
}

// post is what the answer's parser needs to know of a request.
var post = &http.Request{Method: http.MethodPost}

// ask sends an encoded request. It is apart from Do so that nothing but this waits: a call that hangs holds no request.
func (c *Client) ask(ctx context.Context, most time.Duration, request *bytes.Buffer) (*http.Response, error) {
	send := func(to io.Writer) error {
		_, err := to.Write(request.Bytes())
		release(request)
		if err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		return nil
	}
	return c.pool.Do(ctx, hop.Call{Send: send, Request: post, Deadline: time.Now().Add(most)})
}

// Most is how long a call takes at most: the egress's time, and what the gateway itself may take on top.
func Most(t contract.Timeouts) time.Duration {
	if t.Total <= 0 {
		return contract.MaxTimeout + slack
	}
	return time.Duration(t.Total) + slack
}

var requests = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the largest buffer that is worth keeping.
const maxPooled = 64 << 10

// release is called as soon as a request is written.
func release(request *bytes.Buffer) {
	if request.Cap() <= maxPooled {
		requests.Put(request)
	}
}

// framing are the headers that are not a call's to set.
var framing = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true, "Connection": true, contract.HeaderStatement: true,
}

// encode writes the request as it goes over the wire. The library leaves out what is no header's name and replaces line breaks
// in values.
func (c *Client) encode(call Call, statement string) *bytes.Buffer {
	b := requests.Get().(*bytes.Buffer)
	b.Reset()
	b.WriteString(c.head)
	_ = call.Header.WriteSubset(b, framing) // into memory: never fails
	b.WriteString(contract.HeaderStatement + ": " + statement + "\r\nContent-Length: " + strconv.Itoa(len(call.Body)) + "\r\n\r\n")
	b.Write(call.Body)
	return b
}

func answerOf(resp *http.Response) Answer {
	return Answer{
		Outcome: contract.Outcome(resp.Header.Get(contract.HeaderOutcome)), Detail: contract.Detail(resp.Header.Get(contract.HeaderDetail)),
		Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After"),
	}
}

// Close drops the idle connections.
func (c *Client) Close() { c.pool.Close() }
