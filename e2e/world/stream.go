package world

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Collected is a delivery of a subscription that pulls.
type Collected struct {
	ID      string
	Headers map[string]string
	Body    []byte
}

// Stream reads server-sent events of the API.
type Stream struct {
	body   io.Closer
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

// Collect opens a stream of deliveries after one, "" for the oldest. It lasts until it is closed, or its context ends.
func (c Client) Collect(ctx context.Context, path, lastID string) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+path, nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	req.Header = c.Header.Clone()
	req.Header.Set("Accept", "text/event-stream")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		cancel()
		return nil, errors.Join(fmt.Errorf("GET %s: got %d", path, resp.StatusCode), resp.Body.Close())
	}
	s := &Stream{resp.Body, bufio.NewScanner(resp.Body), cancel}
	s.lines.Buffer(nil, 16<<20)
	return s, nil
}

// Next waits for a delivery; io.EOF means that the stream ended in good order.
func (s *Stream) Next() (c Collected, err error) {
	var data []string
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch {
		case s.lines.Text() == "" && data != nil:
			c.Body = []byte(strings.Join(data, "\n"))
			if c.Headers["content-transfer-encoding"] == "base64" {
				c.Body, err = base64.StdEncoding.DecodeString(string(c.Body))
			}
			return c, err
		case name == "id":
			c.ID = value
		case name == "data":
			data = append(data, value)
		case name == "headers":
			if err := json.Unmarshal([]byte(value), &c.Headers); err != nil {
				return c, fmt.Errorf("reading the headers of a delivery: %w", err)
			}
		}
	}
	if err := s.lines.Err(); err != nil {
		return c, fmt.Errorf("reading the stream: %w", err)
	}
	return c, io.EOF
}

// Close hangs up.
func (s *Stream) Close() error {
	s.cancel()
	return s.body.Close()
}
