// Package gateway makes callbacks through the API gateway: one POST on the callback route, with a signed statement that
// names the target. What the consumer's endpoint answered and what went wrong on the way come back apart.
package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// slack is what the gateway itself may take on top of a callback's own timeout.
const slack = 5 * time.Second

// Call is one callback: where, what for, and the request as the consumer's endpoint will see it.
type Call struct {
	Target       string
	Subscription string
	Delivery     string
	Timeouts     contract.Timeouts
	Header       http.Header
	Body         []byte
}

// Answer is what became of a call. An empty Outcome means that the gateway failed; Status is then the gateway's own, or
// zero if it never answered.
type Answer struct {
	Outcome contract.Outcome
	// Detail is the cause, where the outcome has several; empty where it has none of its own.
	Detail     contract.Detail
	Status     int
	RetryAfter string
}

// Client posts callbacks to one gateway.
type Client struct {
	url    string
	signer *contract.Signer
	http   *http.Client
}

// New makes a client for the gateway at a base URL. most bounds the connections that are kept.
func New(base string, signer *contract.Signer, most int) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the gateway's URL cannot be read: write it as http://host:port")
	}
	transport := &http.Transport{
		MaxIdleConns: most, MaxIdleConnsPerHost: most,
		IdleConnTimeout:    30 * time.Second, // below the gateway's keep-alive of 60 s
		DisableCompression: true,
		WriteBufferSize:    8 << 10, ReadBufferSize: 4 << 10,
	}
	return &Client{
		url: strings.TrimSuffix(u.String(), "/") + contract.CallbackPath, signer: signer,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Post makes the call. The error is only for the log: it says why the gateway could not be asked, and never holds the
// statement, a signature or the target.
func (c *Client) Post(ctx context.Context, call Call) (Answer, error) {
	statement, err := c.signer.SignCallback(contract.Callback{
		Target: call.Target, Subscription: call.Subscription, Delivery: call.Delivery, Timeouts: call.Timeouts,
	})
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(call.Timeouts.Total)+slack)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(call.Body))
	if err != nil {
		return Answer{}, fmt.Errorf("building the request: %w", err)
	}
	req.Header = call.Header
	req.Header.Set(contract.HeaderStatement, statement)
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("asking the gateway: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	// The connection can be used again only if the body was read; the egress sends no more than this.
	_, _ = io.CopyN(io.Discard, resp.Body, 128<<10)
	return Answer{
		Outcome: contract.Outcome(resp.Header.Get(contract.HeaderOutcome)), Detail: contract.Detail(resp.Header.Get(contract.HeaderDetail)),
		Status: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After"),
	}, nil
}

// Close drops the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }
