// Package client calls the APIs of the gateway and of the admins.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// mostAnswer bounds an answer, in bytes; no page of the API has as many.
const mostAnswer = 64 << 20

// Client calls one server as somebody. It follows no redirect: the credential is for this server alone.
type Client struct {
	base    string
	header  http.Header
	http    *http.Client
	timeout time.Duration
}

// New makes a client of the server at base. header goes with every call; timeout bounds each, streams apart.
func New(base string, header http.Header, timeout time.Duration) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), header: header, timeout: timeout, http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Base is the server's address.
func (c *Client) Base() string { return c.base }

// Answer is what a call was answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Decode reads the JSON of an answer.
func (a Answer) Decode(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// Path joins segments, each percent-encoded.
func Path(segments ...string) string {
	var path strings.Builder
	for _, segment := range segments {
		path.WriteString("/" + url.PathEscape(segment))
	}
	return path.String()
}

// Request is a call.
type Request struct {
	Method, Path string
	Query        url.Values
	// Body is sent as it is if it is []byte or json.RawMessage, else as JSON; nil sends none.
	Body any
	// ContentType is application/json unless it is set.
	ContentType string
	Header      http.Header
}

// Do makes a call and returns its answer, whatever its status. The error is about a server that can't be reached.
func (c *Client) Do(ctx context.Context, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil {
		return Answer{}, unreachable(ctx, c.base, err)
	}
	return Answer{resp.StatusCode, resp.Header, body}, nil
}

// Stream makes a call whose answer goes on for as long as ctx. The caller closes the body. Any status but 200 is an error.
func (c *Client) Stream(ctx context.Context, r Request) (*http.Response, error) {
	resp, err := c.send(ctx, r)
	if err != nil || resp.StatusCode == http.StatusOK {
		return resp, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, mostAnswer)) // what there is of it will do
	return nil, ProblemOf(Answer{resp.StatusCode, resp.Header, body}, r.Method+" "+r.Path)
}

func (c *Client) send(ctx context.Context, r Request) (*http.Response, error) {
	raw, err := encode(r.Body)
	if err != nil {
		return nil, err
	}
	target := c.base + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(raw))
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("%s %s: %w", r.Method, r.Path, err))
	}
	c.fill(req, r)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, c.base, err)
	}
	return resp, nil
}

func (c *Client) fill(req *http.Request, r Request) {
	req.Header.Set("User-Agent", "webhookctl")
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	for _, header := range []http.Header{c.header, r.Header} {
		for name, values := range header {
			req.Header[name] = values
		}
	}
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	case json.RawMessage:
		return b, nil
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the body: %w", err)
	}
	return raw, nil
}

// unreachable is the error of a server that did not answer. The library's own would repeat the whole URL.
func unreachable(ctx context.Context, base string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time; --timeout allows more")
	}
	return exit.With(exit.Unavailable, fmt.Errorf("%s can't be reached: %w", base, err))
}

// Call makes a call and returns the answer; one that is no success is a *Problem.
func (c *Client) Call(ctx context.Context, r Request) (Answer, error) {
	answer, err := c.Do(ctx, r)
	if err == nil && answer.Status >= 300 {
		err = ProblemOf(answer, r.Method+" "+r.Path)
	}
	return answer, err
}

// Get is Call with GET.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (Answer, error) {
	return c.Call(ctx, Request{Method: http.MethodGet, Path: path, Query: query})
}

// Send is Call with a body; nil for none.
func (c *Client) Send(ctx context.Context, method, path string, body any) (Answer, error) {
	return c.Call(ctx, Request{Method: method, Path: path, Body: body})
}
