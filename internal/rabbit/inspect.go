package rabbit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// alarmGrace is how long after a message's return the news of an alarm may come.
const alarmGrace = 200 * time.Millisecond

// Inspection is what a broker has of the topology. Nothing is made and nothing is changed to find it out.
type Inspection struct {
	Product, Version string
	Objects          []Object
	// Bindings are those that there should be. AMQP has no way to ask whether they are there.
	Bindings []Binding
	// Blocked says why the broker takes no messages, "" if it takes them.
	Blocked string
	// Unasked says why Blocked is not known; nil if it is.
	Unasked error
}

// Object is an exchange or a queue.
type Object struct {
	Kind, Name string
	// Messages that are ready, and Consumers: of a queue.
	Messages, Consumers int
	// Err is nil if it is there; see Missing.
	Err error
}

// Binding leads from an exchange to a queue.
type Binding struct{ Exchange, Queue, Key string }

// Missing reports whether the broker says that there is no such thing.
func (o Object) Missing() bool {
	var broker *amqp.Error
	return errors.As(o.Err, &broker) && broker.Code == amqp.NotFound
}

// Inspect looks at a broker, by passive declarations.
func Inspect(ctx context.Context, url string, o Options) (Inspection, error) {
	to, err := endpointOf(url, o.TLS)
	if err != nil {
		return Inspection{}, err
	}
	conn, err := dialPlain(ctx, to, o.Name)
	if err != nil {
		return Inspection{}, fmt.Errorf("connecting to the broker: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	found := Inspection{Product: property(conn, "product"), Version: property(conn, "version")}
	names := NamesFor(o.Namespace)
	exchanges, queues := names.topology()
	for _, e := range exchanges {
		found.Objects = append(found.Objects, look(conn, Object{Kind: "exchange", Name: e.name}, func(ch *amqp.Channel, o *Object) error {
			return ch.ExchangeDeclarePassive(o.Name, e.kind, true, false, false, false, nil)
		}))
	}
	for _, q := range append(queues, names.archive()) {
		found.Objects = append(found.Objects, look(conn, Object{Kind: "queue", Name: q.name}, lookAtQueue))
		if q.exchange != "" {
			found.Bindings = append(found.Bindings, Binding{q.exchange, q.name, q.key})
		}
	}
	found.Blocked, found.Unasked = blockedBy(ctx, conn)
	return found, nil
}

func property(conn *amqp.Connection, name string) string {
	text, _ := conn.Properties[name].(string)
	return text
}

// look asks on a channel of its own: a refusal closes it.
func look(conn *amqp.Connection, o Object, ask func(*amqp.Channel, *Object) error) Object {
	ch, err := conn.Channel()
	if err != nil {
		o.Err = fmt.Errorf("opening a channel: %w", err)
		return o
	}
	defer func() { _ = ch.Close() }() // closed already after a refusal
	o.Err = ask(ch, &o)
	return o
}

func lookAtQueue(ch *amqp.Channel, o *Object) error {
	q, err := ch.QueueDeclarePassive(o.Name, true, false, false, false, nil)
	o.Messages, o.Consumers = q.Messages, q.Consumers
	return err
}

// blockedBy finds out whether the broker takes messages: it says so only to who publishes. The message goes to no queue.
func blockedBy(ctx context.Context, conn *amqp.Connection) (string, error) {
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	ch, err := conn.Channel()
	if err != nil {
		return "", fmt.Errorf("opening a channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return "", fmt.Errorf("asking for confirms: %w", err)
	}
	confirm, err := ch.PublishWithDeferredConfirm("", "webhook.nowhere."+rand.Text(), false, false, amqp.Publishing{})
	if err != nil {
		return "", fmt.Errorf("publishing to no queue: %w", err)
	}
	confirmed := confirm.Done()
	for {
		select {
		case b := <-blocks:
			return b.Reason, nil
		case <-confirmed:
			confirmed = nil
			wait, cancel := context.WithTimeout(ctx, alarmGrace)
			defer cancel()
			ctx = wait
		case <-ctx.Done():
			if confirmed != nil {
				return "", ctx.Err()
			}
			return "", nil
		}
	}
}
