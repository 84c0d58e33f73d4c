package portal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// client calls the API in somebody's name.
type client struct {
	through http.RoundTripper
	from    string // the address of who uses the browser
}

// problem is an error answer of the API (RFC 9457), or one of the portal's own.
type problem struct {
	Status     int
	Title      string
	Detail     string
	Errors     []fieldFault
	RetryAfter string `json:"-"`
}

// fieldFault is what is wrong with one field, such as body.callback_url.
type fieldFault struct{ Location, Message string }

// Error says all of it, field by field.
func (p *problem) Error() string {
	texts := []string{p.Detail}
	for _, e := range p.Errors {
		texts = append(texts, e.Location+" "+e.Message)
	}
	return strings.Join(texts, "; ")
}

// get reads an answer into a value.
func (c client) get(ctx context.Context, path string, query url.Values, into any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	_, err := c.send(ctx, http.MethodGet, path, nil, into)
	return err
}

// send makes a call with a JSON body, nil for none, and reads the answer into a value unless that is nil. What is no success is a
// *problem.
func (c client) send(ctx context.Context, method, path string, body, into any) (status int, err error) {
	resp, err := c.open(ctx, method, path, body)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("reading an answer of the API: %w", err)
	}
	if into != nil && len(raw) > 0 {
		if err := json.Unmarshal(raw, into); err != nil {
			return 0, fmt.Errorf("reading an answer of the API: %w", err)
		}
	}
	return resp.StatusCode, nil
}

// open makes a call whose answer is read while it comes. Close its body. headers are pairs of a name and a value; without a value one is
// left out.
func (c client) open(ctx context.Context, method, path string, body any, headers ...string) (*http.Response, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("writing a call of the API: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://in.process"+path, bytes.NewReader(raw)) // #nosec G704 -- it goes to a handler, over no network
	if err != nil {
		return nil, fmt.Errorf("writing a call of the API: %w", err)
	}
	r.RemoteAddr = net.JoinHostPort(c.from, "0")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := c.through.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("calling the API: %w", err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, problemIn(resp)
}

func problemIn(resp *http.Response) error {
	p := &problem{RetryAfter: resp.Header.Get("Retry-After")}
	if err := json.NewDecoder(resp.Body).Decode(p); err != nil {
		p.Title, p.Detail = http.StatusText(resp.StatusCode), "the API answered with this status and nothing that can be read"
	}
	p.Status = resp.StatusCode
	return p
}

// Sentence is the detail as a page shows it.
func (p *problem) Sentence() string {
	if p.Detail == "" {
		return p.Title + "."
	}
	return strings.ToUpper(p.Detail[:1]) + p.Detail[1:] + "."
}
