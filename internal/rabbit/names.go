package rabbit

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// DefaultNamespace is the prefix of every name where none is given.
const DefaultNamespace = "webhook"

// Headers this package writes and reads on messages.
const (
	// HeaderReason says why a message is in the dead queue.
	HeaderReason = "x-webhook-reason"
	// HeaderDue is the time a delayed message is meant for, in Unix milliseconds.
	HeaderDue = "x-webhook-due"
	// HeaderPublished is the time at which an event was published, in Unix milliseconds. Producers may set it; ours do.
	HeaderPublished = "x-webhook-published"
)

// maxReason bounds HeaderReason, in bytes: headers have to fit into one AMQP frame.
const maxReason = 1024

// Names are the names of the broker's objects. Where there is an exchange, it shares its name with its queue.
type Names struct {
	// Events: topic exchange and queue of what producers publish.
	Events string
	// Commands: direct exchange and queue of the callbacks to make.
	Commands string
	// Bulk: the queue of the callbacks of events that very many want. They begin at a rate of their own, so that those of other
	// events do not wait behind them.
	Bulk string
	// Dead: fanout exchange and queue of what can't be processed.
	Dead string
	// Archive: the stream of packs of events that the listener keeps for replays; see contract.EncodePack and ReadStream.
	Archive string
	// Operations: topic exchange and queue of operational events, for whoever operates the service.
	Operations string
	// Replays: the queue of replays to do.
	Replays string

	delay string
}

// NamesFor returns the names in a namespace; the empty one means DefaultNamespace.
func NamesFor(namespace string) Names {
	if namespace == "" {
		namespace = DefaultNamespace
	}
	return Names{
		Events:     namespace + ".events",
		Commands:   namespace + ".commands",
		Bulk:       namespace + ".commands.bulk",
		Dead:       namespace + ".dead",
		Archive:    namespace + ".archive",
		Operations: namespace + ".operations",
		Replays:    namespace + ".replays",
		delay:      namespace + ".delay.",
	}
}

// Delay is the queue that holds a message for a step of DelaySteps, then hands it to Commands.
func (n Names) Delay(step time.Duration) string {
	return fmt.Sprintf("%s%d", n.delay, step.Milliseconds())
}

// label is a queue's name in metrics: the namespace is the same for all.
func (n Names) label(queue string) string {
	return strings.TrimPrefix(queue, strings.TrimSuffix(n.Events, "events"))
}

// OfEvents are the queues whose depths the listener watches, OfCallbacks those of the callback service, OfOperators those that
// only people empty.
func (n Names) OfEvents() []string { return []string{n.Events, n.Replays, n.Archive} }

// OfCallbacks are the callback service's; see OfEvents.
func (n Names) OfCallbacks() []string {
	queues := []string{n.Commands, n.Bulk}
	for _, step := range delaySteps {
		queues = append(queues, n.Delay(step))
	}
	return queues
}

// OfOperators are those that only people empty; see OfEvents.
func (n Names) OfOperators() []string { return []string{n.Dead, n.Operations} }

// ToEvents addresses a message to the events exchange; the key is the resource, then anything.
func (n Names) ToEvents(key string, m Message) Message {
	m.Exchange, m.RoutingKey = n.Events, key
	return m
}

// EventMessage is an event as a producer would send it in the binary mode, the data untouched as its body.
func EventMessage(e *event.Event) Message {
	return Message{ContentType: e.DataContentType(), Headers: contract.EventHeaders(e), Body: e.DataEncoded}
}

// CommandMessage is a callback command as it goes over the wire.
func CommandMessage(c contract.Command) Message {
	m := Message{ID: c.Delivery, Timestamp: c.Created}
	m.ContentType, m.Headers, m.Body = c.Encode()
	return m
}

// ToOperators makes the message of an operational event: a structured CloudEvent, with the resource and the type as its key.
func (n Names) ToOperators(resource string, operation *event.Event) Message {
	var body bytes.Buffer
	_ = event.WriteJson(operation, &body) // of our own making: never fails
	return n.ToOperations(resource+"."+operation.Type(), Message{
		ID: operation.ID(), ContentType: event.ApplicationCloudEventsJSON, Timestamp: operation.Time(), Body: body.Bytes(),
	})
}

// ToCommands addresses a message to the commands queue.
func (n Names) ToCommands(m Message) Message {
	m.Exchange, m.RoutingKey = n.Commands, n.Commands
	return m
}

// ToBulk addresses a command to the bulk queue.
func (n Names) ToBulk(m Message) Message {
	m.Exchange, m.RoutingKey = "", n.Bulk
	return m
}

// ToDelay addresses a message to the delay queue that brings it to the commands queue at due or,
// where the way is longer than one step, before it: the consumer delays it again until Message.Due
// has come.
func (n Names) ToDelay(due, now time.Time, m Message) Message {
	m = m.With(HeaderDue, due.UnixMilli())
	// The default exchange routes by queue name, so the delay queues need no binding.
	m.Exchange, m.RoutingKey = "", n.Delay(DelayStep(due.Sub(now)))
	return m
}

// ToDead addresses a message to the dead queue, with the reason. It keeps its routing key, so that
// it can be published again once the fault is mended.
func (n Names) ToDead(reason string, m Message) Message {
	m = m.With(HeaderReason, truncate(reason, maxReason))
	m.Exchange = n.Dead
	return m
}

// HeaderRoutingKey keeps the original routing key of a dead event where tools show it.
const HeaderRoutingKey = "x-webhook-routing-key"

// StillDead addresses a message of the dead queue to its end. The broker's own account of why it is there does not go along, and so
// becomes the reason where there is none.
func (n Names) StillDead(m Message) Message {
	if reason, ok := m.Headers[HeaderReason].(string); ok {
		return n.ToDead(reason, m)
	}
	why, _ := m.Headers["x-first-death-reason"].(string)
	return n.ToDead("the broker gave it up: "+why, m)
}

// Again addresses a message of the dead queue to the events exchange, as it was published.
func (n Names) Again(m Message) Message {
	headers := maps.Clone(m.Headers)
	delete(headers, HeaderReason)
	delete(headers, HeaderRoutingKey)
	m.Headers = headers
	return n.ToEvents(m.RoutingKey, m)
}

// ToOperations addresses a message to the operations exchange; the key is the kind of operation.
func (n Names) ToOperations(key string, m Message) Message {
	m.Exchange, m.RoutingKey = n.Operations, key
	return m
}

// ToReplays addresses a message to the replays queue.
func (n Names) ToReplays(m Message) Message {
	m.Exchange, m.RoutingKey = "", n.Replays
	return m
}

// ToArchive addresses a message to the archive alone, past the events queue.
func (n Names) ToArchive(m Message) Message {
	m.Exchange, m.RoutingKey = "", n.Archive
	return m
}

// Due is when a delayed message is meant to be handled; false if it was never delayed.
func (m Message) Due() (time.Time, bool) {
	ms, ok := m.Headers[HeaderDue].(int64)
	return time.UnixMilli(ms), ok
}

const (
	// coarse is by how much the property timestamp, which has whole seconds, may be off for all that is measured with it.
	coarse = 2 * time.Second
	// oldest is the age from which on a time of publishing is taken for something else.
	oldest = 7 * 24 * time.Hour
)

// Published is when a message that was taken now was published: by HeaderPublished, or by the property timestamp where that was
// long enough ago for its whole seconds; false if nobody said so, or it can't be.
func (m Message) Published(now time.Time) (time.Time, bool) {
	if ms, ok := m.Headers[HeaderPublished].(int64); ok {
		at := time.UnixMilli(ms)
		return at, !at.After(now) && now.Sub(at) < oldest
	}
	age := now.Sub(m.Timestamp)
	return m.Timestamp, !m.Timestamp.IsZero() && age >= coarse && age < oldest
}

// With returns the message with one more header, leaving the original's map alone.
func (m Message) With(header string, value any) Message {
	headers := make(map[string]any, len(m.Headers)+1)
	maps.Copy(headers, m.Headers)
	headers[header] = value
	m.Headers = headers
	return m
}
