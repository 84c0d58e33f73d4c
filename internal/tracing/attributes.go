package tracing

import (
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// The names that are our own; all others are of OpenTelemetry's semantic conventions.
const (
	keyResource     = attribute.Key("webhook.resource")
	keySubscription = attribute.Key("webhook.subscription.id")
	keyDelivery     = attribute.Key("webhook.delivery.id")
	keyAttempt      = attribute.Key("webhook.attempt")
	keyReplay       = attribute.Key("webhook.replay.id")
	keyOutcome      = attribute.Key("webhook.outcome")
	keyDetail       = attribute.Key("webhook.outcome.detail")
	keyResult       = attribute.Key("webhook.result")
	keyDeliveries   = attribute.Key("webhook.deliveries")
)

// Operation on a queue, as the conventions for messaging name it.
type Operation string

// The operations.
const (
	Create  Operation = "create"
	Send    Operation = "send"
	Receive Operation = "receive"
	Process Operation = "process"
)

// Message says what was done with a message of a queue or exchange.
func Message(done Operation, destination string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemRabbitMQ, semconv.MessagingOperationTypeKey.String(string(done)), semconv.MessagingOperationName(string(done)),
		semconv.MessagingDestinationName(destination),
	}
}

// Batch says how many messages an operation was about.
func Batch(n int) attribute.KeyValue { return semconv.MessagingBatchMessageCount(n) }

// MessageID is the message's own id.
func MessageID(id string) attribute.KeyValue {
	return semconv.MessagingMessageID(contract.Printable(id))
}

// Event says which event it is about.
func Event(e *event.Event, resource string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.CloudEventsEventID(contract.Printable(e.ID())), semconv.CloudEventsEventSource(contract.Printable(e.Source())),
		semconv.CloudEventsEventType(contract.Printable(e.Type())), keyResource.String(resource),
	}
}

// Attempt says which attempt of which delivery it is.
func Attempt(c contract.Command) []attribute.KeyValue {
	all := append(Event(c.Event, c.Resource), keySubscription.String(c.Subscription), keyDelivery.String(c.Delivery), keyAttempt.Int(c.Attempt))
	if c.Replay != "" {
		all = append(all, keyReplay.String(c.Replay))
	}
	return all
}

// Delivery names a delivery.
func Delivery(subscription, delivery string) []attribute.KeyValue {
	return []attribute.KeyValue{keySubscription.String(subscription), keyDelivery.String(delivery)}
}

// Result is what became of a message or a command.
func Result(result string) attribute.KeyValue { return keyResult.String(result) }

// Deliveries is how many follow from an event.
func Deliveries(n int) attribute.KeyValue { return keyDeliveries.Int(n) }

// Request says what is called over HTTP, and of where no more than the host.
func Request(method, host, port string) []attribute.KeyValue {
	all := []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method), semconv.ServerAddress(host)}
	if n, err := strconv.Atoi(port); err == nil {
		all = append(all, semconv.ServerPort(n))
	}
	return all
}

// Template is the fixed path of a call.
func Template(path string) attribute.KeyValue { return semconv.URLTemplate(path) }

// Route is the pattern of a path that a server answers.
func Route(method, pattern string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method), semconv.HTTPRoute(pattern)}
}

// Status is an HTTP status.
func Status(code int) attribute.KeyValue { return semconv.HTTPResponseStatusCode(code) }

// Outcome says what became of a call to an endpoint, and marks the span as failed unless it was answered with 2xx.
func (s Span) Outcome(outcome contract.Outcome, detail contract.Detail, status int) {
	if !s.Recording() {
		return
	}
	s.Set(keyOutcome.String(string(outcome)))
	if detail != "" {
		s.Set(keyDetail.String(string(detail)))
	}
	if status != 0 {
		s.Set(Status(status))
	}
	switch {
	case outcome != contract.OutcomeResponse:
		s.Fail(string(outcome))
	case status/100 != 2:
		s.Fail(strconv.Itoa(status))
	}
}

// Answered says what a server answered; what begins with 5 is the server's own failure.
func (s Span) Answered(status int) {
	if !s.Recording() {
		return
	}
	s.Set(Status(status))
	if status/100 == 5 {
		s.Fail(strconv.Itoa(status))
	}
}

// Redis says what a command, or a pipeline of n, did.
func Redis(operation string, n int) []attribute.KeyValue {
	all := []attribute.KeyValue{semconv.DBSystemNameRedis, semconv.DBOperationName(operation)}
	if n > 1 {
		all = append(all, semconv.DBOperationBatchSize(n))
	}
	return all
}
