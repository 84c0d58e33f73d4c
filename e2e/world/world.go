// Package world is the outside of a running stack: an administrator, consumers with their endpoints, and producers. It knows
// the public contract and nothing else.
package world

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// Stack is what `make up` wrote into its env file.
type Stack struct {
	GatewayURL, AdminURL, AdminToken, AMQPURL, RedisURL            string
	CallbackMetricsURL, ListenerMetricsURL, SubscriptionMetricsURL string
	RunnerMetricsURL                                               string
}

// ReadStack reads an env file of KEY=value lines.
func ReadStack(path string) (Stack, error) {
	file, err := os.Open(path) // #nosec G304 -- the caller's own file
	if err != nil {
		return Stack{}, fmt.Errorf("reading the stack's env file: %w", err)
	}
	defer func() { _ = file.Close() }()
	values := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[name] = strings.Trim(value, `'"`)
		}
	}
	s := Stack{
		GatewayURL: values["GATEWAY_URL"], AdminURL: values["ADMIN_URL"], AdminToken: values["ADMIN_TOKEN"],
		AMQPURL: values["AMQP_URL"], RedisURL: values["REDIS_URL"], CallbackMetricsURL: values["CALLBACK_METRICS_URL"],
		ListenerMetricsURL: values["LISTENER_METRICS_URL"], SubscriptionMetricsURL: values["SUBSCRIPTION_METRICS_URL"], RunnerMetricsURL: values["RUNNER_METRICS_URL"],
	}
	if s.GatewayURL == "" || s.AdminURL == "" || s.AMQPURL == "" {
		return Stack{}, fmt.Errorf("%s lacks GATEWAY_URL, ADMIN_URL or AMQP_URL: run make up", path)
	}
	return s, nil
}

// Answer of an HTTP call.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Field returns a top-level string of a JSON answer, "" if there is none.
func (a Answer) Field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(a.Body, &fields) // no JSON has no fields
	text, _ := fields[name].(string)
	return text
}

// Decode reads the JSON of an answer.
func (a Answer) Decode(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// Client calls one server with fixed headers.
type Client struct {
	Base   string
	Header http.Header
}

// Admin is the administrator's client.
func (s Stack) Admin() Client {
	return Client{s.AdminURL, http.Header{"Authorization": {"Bearer " + s.AdminToken}}}
}

// Consumer is a client of the gateway with an API key; "" sends none.
func (s Stack) Consumer(key string) Client {
	header := http.Header{}
	if key != "" {
		header.Set("apikey", key)
	}
	return Client{s.GatewayURL, header}
}

// Do makes a call; a problem that the catalogue of errors does not know is an error. A body that is no []byte or string is sent as JSON; nil sends none.
func (c Client) Do(ctx context.Context, method, path string, body any) (Answer, error) {
	raw, err := encode(body)
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(raw))
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range c.Header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	answer := Answer{resp.StatusCode, resp.Header, content}
	if err := answer.known(); err != nil {
		return answer, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

// Want is Do for a call that must be answered with a status.
func (c Client) Want(ctx context.Context, status int, method, path string, body any) (Answer, error) {
	answer, err := c.Do(ctx, method, path, body)
	if err == nil && answer.Status != status {
		err = fmt.Errorf("%s %s: got %d, want %d: %s", method, path, answer.Status, status, answer.Body)
	}
	return answer, err
}

// With returns the client with one more header.
func (c Client) With(name, value string) Client {
	header := http.Header{}
	maps.Copy(header, c.Header)
	c.Header = header
	c.Header.Set(name, value)
	return c
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	case string:
		return []byte(b), nil
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the body: %w", err)
	}
	return raw, nil
}

// Grant is what a consumer may do.
type Grant struct {
	Resource string   `json:"resource"`
	Actions  []string `json:"actions"`
}

// NewConsumer creates a consumer with a key for the gateway and returns its client.
func (s Stack) NewConsumer(ctx context.Context, name string, grants ...Grant) (Client, error) {
	made, err := s.Admin().Want(ctx, http.StatusCreated, http.MethodPost, "/admin/v1/consumers",
		map[string]any{"name": name, "grants": grants})
	if err != nil {
		return Client{}, err
	}
	key, err := s.Admin().Want(ctx, http.StatusCreated, http.MethodPost, "/admin/v1/consumers/"+made.Field("id")+"/keys", nil)
	if err != nil {
		return Client{}, err
	}
	return s.Consumer(key.Field("key")), nil
}

// NewResource creates a resource.
func (s Stack) NewResource(ctx context.Context, name string) error {
	_, err := s.Admin().Want(ctx, http.StatusCreated, http.MethodPut, "/admin/v1/resources/"+name,
		map[string]any{"types": []map[string]string{{"name": "order.created"}, {"name": "order.paid"}}})
	return err
}

// Producer publishes on RabbitMQ.
type Producer struct{ conn *rabbit.Conn }

// NewProducer connects a producer.
func (s Stack) NewProducer(ctx context.Context) (*Producer, error) {
	conn, err := rabbit.Open(ctx, s.AMQPURL, rabbit.Options{Name: "producer", Log: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("connecting a producer: %w", err)
	}
	return &Producer{conn}, nil
}

// Close ends the producer.
func (p *Producer) Close() error { return p.conn.Close() }

// Event is a CloudEvent to publish in the binary mode.
type Event struct {
	Resource, ID, Type, Subject string
	Source                      string // "/e2e" unless it is set
	ContentType                 string // "application/json" unless it is set
	Data                        []byte
}

// Message is the event as an AMQP message for the exchange webhook.events.
func (p *Producer) Message(e Event) rabbit.Message {
	headers := map[string]any{
		"cloudEvents_specversion": "1.0", "cloudEvents_id": e.ID, "cloudEvents_source": cmp.Or(e.Source, "/e2e"), "cloudEvents_type": e.Type,
	}
	if e.Subject != "" {
		headers["cloudEvents_subject"] = e.Subject
	}
	return p.conn.Names().ToEvents(e.Resource+"."+e.Type, rabbit.Message{ContentType: cmp.Or(e.ContentType, "application/json"), Headers: headers, Body: e.Data})
}

// Publish sends messages and waits for the broker's confirms.
func (p *Producer) Publish(ctx context.Context, messages ...rabbit.Message) error {
	return p.conn.Publisher().Publish(ctx, messages...)
}

// PublishEvents sends events and waits for the broker's confirms.
func (p *Producer) PublishEvents(ctx context.Context, events ...Event) error {
	messages := make([]rabbit.Message, len(events))
	for i, e := range events {
		messages[i] = p.Message(e)
	}
	return p.Publish(ctx, messages...)
}

// DeadLetter waits for a dead letter that fits and takes it from the queue; all others stay there.
func (p *Producer) DeadLetter(ctx context.Context, fits func(rabbit.Message) bool) (rabbit.Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var found *rabbit.Message
	err := p.conn.Consume(ctx, p.conn.Names().Dead, rabbit.ConsumeOptions{Prefetch: 1000, Drain: time.Millisecond},
		func(_ context.Context, batch []*rabbit.Delivery) {
			for _, d := range batch {
				if found == nil && fits(d.Message) {
					found = &d.Message
					d.Ack()
					cancel()
				}
			}
		})
	if found == nil {
		return rabbit.Message{}, fmt.Errorf("no such dead letter: %w", err)
	}
	return *found, nil
}
