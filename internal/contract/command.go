package contract

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Headers of a callback command beside the event's attributes.
const (
	commandDelivery     = "x-webhook-delivery"
	commandSubscription = "x-webhook-subscription"
	commandResource     = "x-webhook-resource"
	commandAttempt      = "x-webhook-attempt"
	commandCreated      = "x-webhook-created"
	commandBase64       = "x-webhook-base64"
	commandFirst        = "x-webhook-first"
	commandReplay       = "x-webhook-replay"
	commandOrdered      = "x-webhook-ordered"
	commandPull         = "x-webhook-pull"
	commandPrevious     = "x-webhook-previous"
	// Those of W3C Trace Context, as every AMQP client writes them.
	commandTraceParent = "traceparent"
	commandTraceState  = "tracestate"
	commandPublished   = "x-webhook-published"
)

// maxAttempt is the most attempts of a delivery, all its replays included.
const maxAttempt = 10000

// ErrCommand is what every refused command wraps.
var ErrCommand = errors.New("not a callback command")

// Command asks for one delivery: this event to this subscription. On the wire it is the event in CloudEvents' binary mode,
// the data untouched as the body, with the command's own fields as further headers.
type Command struct {
	Delivery     string
	Subscription string
	Resource     string
	// Attempt counts from 1: the attempt that this command asks for.
	Attempt int
	// First is the attempt at which the retry schedule begins: 1, or more in a replay.
	First int
	// Replay is the id of the replay that asked for this delivery again; empty for an event's own delivery.
	Replay string
	// Ordered says that the delivery has a place in the line of its subject; see LineID.
	Ordered bool
	// Pull says that the subscription collects by itself. It is a hint for who has not read the subscription yet.
	Pull bool
	// Created is when the delivery came to be; milliseconds count.
	Created time.Time
	// Published is when the event was published, as far as that is known and was before Created; milliseconds count.
	Published time.Time
	// TraceParent and TraceState are the W3C trace context that the attempts' spans stand below. Empty: that of the event, whether
	// it has one or not.
	TraceParent, TraceState string
	// Previous is the traceparent of the span of the attempt before; empty where there is none.
	Previous string
	Event    *event.Event
}

// Begun is from when on a consumer waits for the delivery.
func (c Command) Begun() time.Time {
	if !c.Published.IsZero() && c.Published.Before(c.Created) {
		return c.Published
	}
	return c.Created
}

// NewCommand asks for the first attempt of an event's delivery to a subscription.
func NewCommand(e *event.Event, subscription, resource string, created time.Time) Command {
	return Command{
		Delivery: DeliveryID(e.Source(), e.ID(), subscription), Subscription: subscription, Resource: resource,
		Attempt: 1, First: 1, Created: created, Event: e,
	}
}

// Line is the id of the line that the delivery stands in; empty for an unordered one.
func (c Command) Line() string {
	if !c.Ordered {
		return ""
	}
	return LineID(c.Subscription, c.Event.Subject())
}

// Encode returns the command as an AMQP message's content type, headers and body. The body shares the event's bytes.
func (c Command) Encode() (contentType string, headers map[string]any, body []byte) {
	headers = EventHeaders(c.Event)
	maps.Copy(headers, map[string]any{
		commandDelivery:     c.Delivery,
		commandSubscription: c.Subscription,
		commandResource:     c.Resource,
		commandAttempt:      int64(c.Attempt),
		commandCreated:      c.Created.UnixMilli(),
	})
	if c.Event.DataBase64 {
		headers[commandBase64] = true
	}
	if c.First > 1 {
		headers[commandFirst] = int64(c.First)
	}
	if c.Replay != "" {
		headers[commandReplay] = c.Replay
	}
	if c.Ordered {
		headers[commandOrdered] = true
	}
	if c.Pull {
		headers[commandPull] = true
	}
	c.encodeTrace(headers)
	if !c.Published.IsZero() {
		headers[commandPublished] = c.Published.UnixMilli()
	}
	return c.Event.DataContentType(), headers, c.Event.DataEncoded
}

func (c Command) encodeTrace(headers map[string]any) {
	if c.TraceParent != "" {
		headers[commandTraceParent] = c.TraceParent
	}
	if c.TraceState != "" {
		headers[commandTraceState] = c.TraceState
	}
	if c.Previous != "" {
		headers[commandPrevious] = c.Previous
	}
}

// DecodeCommand reads what Encode wrote, or returns an error that wraps ErrCommand.
func DecodeCommand(contentType string, headers map[string]any, body []byte) (Command, error) {
	e, err := binaryEvent(contentType, headers, body)
	if err == nil {
		e.DataBase64, _ = headers[commandBase64].(bool)
		e, err = checked(e)
	}
	if err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	c := Command{
		Delivery: text(headers, commandDelivery), Subscription: text(headers, commandSubscription),
		Resource: text(headers, commandResource), Attempt: int(number(headers, commandAttempt)),
		First: max(1, int(number(headers, commandFirst))), Replay: text(headers, commandReplay),
		Created: moment(headers, commandCreated), Published: moment(headers, commandPublished), Event: e,
		TraceParent: text(headers, commandTraceParent), TraceState: text(headers, commandTraceState), Previous: text(headers, commandPrevious),
	}
	c.Ordered, _ = headers[commandOrdered].(bool)
	c.Pull, _ = headers[commandPull].(bool)
	if c.Delivery == "" || c.Subscription == "" || c.Resource == "" {
		return Command{}, fmt.Errorf("%w: %s, %s and %s are all needed", ErrCommand, commandDelivery, commandSubscription, commandResource)
	}
	if c.Attempt < 1 || c.Attempt > maxAttempt || c.First > c.Attempt {
		return Command{}, fmt.Errorf("%w: %s must be 1 to %d, and %s not more", ErrCommand, commandAttempt, maxAttempt, commandFirst)
	}
	return c, nil
}

func text(headers map[string]any, name string) string {
	s, _ := headers[name].(string)
	return s
}

func number(headers map[string]any, name string) int64 {
	switch n := headers[name].(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	return 0
}

func moment(headers map[string]any, name string) time.Time {
	if ms := number(headers, name); ms > 0 {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

// DeliveryOf is the delivery that a message's headers name; "" where it is no callback command.
func DeliveryOf(headers map[string]any) string { return text(headers, commandDelivery) }
