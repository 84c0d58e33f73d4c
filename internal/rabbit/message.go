package rabbit

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Limits of a message, in bytes.
const (
	// MaxBody is RabbitMQ 4's default max_message_size; 3.x takes more.
	MaxBody = 16 << 20
	// MaxHeaders leaves room in the one frame (128 KiB by default) that has to hold all headers.
	MaxHeaders = 96 << 10
	// maxShort is the protocol's limit of a short string: names, keys, ids.
	maxShort = 255
)

// ErrTooLarge is wrapped by the error of a message that no broker would take.
var ErrTooLarge = errors.New("message too large")

// Message is what goes over the wire.
type Message struct {
	// Exchange and RoutingKey are where to publish it, or where it was published.
	Exchange   string
	RoutingKey string

	// ID is the message-id property.
	ID              string
	ContentType     string
	ContentEncoding string
	// Headers hold strings, booleans, integers up to int64, floats, []byte, time.Time, nil, and
	// map[string]any and []any of those.
	Headers   map[string]any
	Timestamp time.Time
	Body      []byte
}

// brokerHeaders aren't forwarded. The broker writes the first ones itself and finds routing loops by
// x-death, so that a copy would carry another message's history; the last two would route copies to
// wherever a producer says.
var brokerHeaders = map[string]bool{
	"x-death": true, "x-delivery-count": true, "x-acquired-count": true,
	"x-first-death-exchange": true, "x-first-death-queue": true, "x-first-death-reason": true,
	"x-last-death-exchange": true, "x-last-death-queue": true, "x-last-death-reason": true,
	"CC": true, "BCC": true,
}

// wire is a message as the library publishes it, with its headers in the table given.
func (m *Message) wire(headers amqp.Table) amqp.Publishing {
	clear(headers)
	for k, v := range m.Headers {
		if !brokerHeaders[k] {
			headers[k] = toTable(v)
		}
	}
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     m.ContentType,
		ContentEncoding: m.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		MessageId:       m.ID,
		Timestamp:       m.Timestamp,
		Body:            m.Body,
	}
}

// Check refuses what the library or the broker would answer by closing the connection, which other publishers share. Publish
// checks by itself; who sends several messages learns here which of them it is.
func (m *Message) Check() error {
	if err := m.fault(); err != nil {
		return fmt.Errorf("message %q for exchange %q, key %q: %w", truncate(m.ID, maxShort), truncate(m.Exchange, maxShort), truncate(m.RoutingKey, maxShort), err)
	}
	return nil
}

func (m *Message) fault() error {
	short := [...]struct{ name, value string }{
		{"exchange", m.Exchange}, {"routing key", m.RoutingKey}, {"message id", m.ID},
		{"content type", m.ContentType}, {"content encoding", m.ContentEncoding},
	}
	for _, s := range short {
		if len(s.value) > maxShort {
			return fmt.Errorf("%w: the %s has %d bytes, at most %d are allowed", ErrTooLarge, s.name, len(s.value), maxShort)
		}
	}
	if len(m.Body) > MaxBody {
		return fmt.Errorf("%w: the body has %d bytes, at most %d are allowed", ErrTooLarge, len(m.Body), MaxBody)
	}
	size, err := sizeOfMap(m.Headers)
	if err != nil {
		return err
	}
	if size > MaxHeaders {
		return fmt.Errorf("%w: the headers have about %d bytes, at most %d are allowed", ErrTooLarge, size, MaxHeaders)
	}
	return nil
}

// headerSize is about what a value takes on the wire.
func headerSize(v any) (int, error) {
	const scalar = 9 // a type byte and at most eight more
	switch v := v.(type) {
	case string:
		return scalar + len(v), nil
	case []byte:
		return scalar + len(v), nil
	case []any:
		return sizeOfList(v)
	case map[string]any:
		return sizeOfMap(v)
	case nil, bool, byte, int8, int, int16, int32, int64, uint16, uint32, float32, float64, time.Time:
		return scalar, nil
	default:
		return 0, fmt.Errorf("headers: values of type %T can't be sent", v)
	}
}

func sizeOfList(list []any) (int, error) {
	total := 9
	for _, v := range list {
		n, err := headerSize(v)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func sizeOfMap(m map[string]any) (int, error) {
	total := 9
	for k, v := range m {
		if len(k) > maxShort {
			return 0, fmt.Errorf("%w: header name %q… has %d bytes, at most %d are allowed", ErrTooLarge, truncate(k, 32), len(k), maxShort)
		}
		n, err := headerSize(v)
		if err != nil {
			return 0, err
		}
		total += 1 + len(k) + n
	}
	return total, nil
}

// toTable turns the maps of a header value into the library's.
func toTable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		t := make(amqp.Table, len(v))
		for k, e := range v {
			t[k] = toTable(e)
		}
		return t
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = toTable(e)
		}
		return list
	default:
		return v
	}
}

// fromTable is the way back, in place.
func fromTable(v any) any {
	switch v := v.(type) {
	case amqp.Table:
		return fromHeaders(v)
	case []any:
		for i, e := range v {
			v[i] = fromTable(e)
		}
		return v
	case amqp.Decimal:
		return decimal(v)
	default:
		return v
	}
}

func fromHeaders(t amqp.Table) map[string]any {
	if t == nil {
		return map[string]any{}
	}
	for k, v := range t {
		switch v.(type) {
		case amqp.Table, []any, amqp.Decimal: // few have any
			t[k] = fromTable(v)
		}
	}
	return t
}

func decimal(d amqp.Decimal) float64 {
	f := float64(d.Value)
	for range d.Scale {
		f /= 10
	}
	return f
}

func messageOf(d *amqp.Delivery) Message {
	return Message{
		Exchange:        d.Exchange,
		RoutingKey:      d.RoutingKey,
		ID:              d.MessageId,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		Headers:         fromHeaders(d.Headers),
		Timestamp:       d.Timestamp,
		Body:            d.Body,
	}
}

// truncate cuts s to at most n bytes, between characters.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}
