package rabbit

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// deliveryLimit is how often a message may come back before the broker gives it up to the dead
// queue. RabbitMQ 4 does so after 20 times unless told otherwise, and a broker or service that
// restarts often brings a message back that often through no fault of its own.
const deliveryLimit = 1000

// Bounds of the archive. The broker drops whole segments, so that a little more may be there.
const (
	archiveAge     = "7D"
	archiveBytes   = 5_000_000_000
	archiveSegment = 64_000_000
	// archiveTimeout bounds one declaration, archivePatience all that are tried while it does not work.
	archiveTimeout  = 20 * time.Second
	archivePatience = time.Minute
)

// operationsKept is how many operational events the operations queue holds.
const operationsKept = 10_000

// errTopology marks a declaration that will fail the same way however often it is tried.
var errTopology = errors.New("the broker holds something else under this name")

type exchange struct{ name, kind string }

type queue struct {
	name string
	args amqp.Table
	// exchange and key bind it; what is published to by its name alone has none.
	exchange, key string
}

// topology is all there is on the broker.
func (n Names) topology() ([]exchange, []queue) {
	exchanges := []exchange{
		{n.Events, amqp.ExchangeTopic},
		{n.Commands, amqp.ExchangeDirect},
		{n.Dead, amqp.ExchangeFanout},
		{n.Operations, amqp.ExchangeTopic},
	}
	queues := []queue{
		{name: n.Dead, args: quorum(), exchange: n.Dead},
		{name: n.Events, args: eventsArgs(n), exchange: n.Events, key: "#"},
		{name: n.Commands, args: workArgs(n), exchange: n.Commands, key: n.Commands},
		{name: n.Bulk, args: workArgs(n)},
		{name: n.Operations, args: operationsArgs(), exchange: n.Operations, key: "#"},
		{name: n.Replays, args: workArgs(n)},
	}
	for _, step := range delaySteps {
		queues = append(queues, queue{name: n.Delay(step), args: delayArgs(n, step)})
	}
	return exchanges, queues
}

func quorum() amqp.Table { return amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum} }

func workArgs(n Names) amqp.Table {
	args := deadLettering(n.Dead)
	args["x-delivery-limit"] = int64(deliveryLimit)
	return args
}

// eventsArgs lets one consumer at a time have the events, so that their order holds whatever number of listeners there is.
func eventsArgs(n Names) amqp.Table {
	args := workArgs(n)
	args[amqp.SingleActiveConsumerArg] = true
	return args
}

func archiveArgs() amqp.Table {
	return amqp.Table{
		amqp.QueueTypeArg:                 amqp.QueueTypeStream,
		amqp.StreamMaxAgeArg:              archiveAge,
		amqp.StreamMaxLenBytesArg:         int64(archiveBytes),
		amqp.StreamMaxSegmentSizeBytesArg: int64(archiveSegment),
	}
}

// operationsArgs drops the oldest of what nobody reads.
func operationsArgs() amqp.Table {
	args := quorum()
	args["x-delivery-limit"] = int64(deliveryLimit)
	args[amqp.QueueMaxLenArg] = int64(operationsKept)
	args[amqp.QueueOverflowArg] = amqp.QueueOverflowDropHead
	return args
}

func delayArgs(n Names, step time.Duration) amqp.Table {
	args := deadLettering(n.Commands)
	args["x-dead-letter-routing-key"] = n.Commands
	args[amqp.QueueMessageTTLArg] = step.Milliseconds()
	return args
}

// deadLettering makes a queue hand messages on with the target's confirm. Without reject-publish
// the broker would silently fall back to its default, which may lose them.
func deadLettering(to string) amqp.Table {
	args := quorum()
	args["x-dead-letter-exchange"] = to
	args["x-dead-letter-strategy"] = "at-least-once"
	args[amqp.QueueOverflowArg] = amqp.QueueOverflowRejectPublish
	return args
}

// archive is apart from the topology, since nothing but replays needs it: a stream whose node is down refuses to be declared
// as long as that lasts, which on RabbitMQ 3.10 is for ever if the broker was killed while it made the stream. It is bound to
// nothing: the listener writes it, since a broker takes long over a stream's single messages.
func (n Names) archive() queue { return queue{name: n.Archive, args: archiveArgs()} }

// declareArchive uses a connection of its own: a channel that the broker closes would be opened again by the library, and the
// declaration repeated, for ever.
func (n Names) declareArchive(dial func() (*amqp.Connection, error)) error {
	conn, err := dial()
	if err != nil {
		return fmt.Errorf("connecting to the broker to declare queue %q: %w", n.Archive, err)
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("opening a channel to declare queue %q: %w", n.Archive, err)
	}
	q := n.archive()
	if _, err := ch.QueueDeclare(q.name, true, false, false, false, q.args); err != nil {
		return declareError("queue", q.name, err)
	}
	return nil
}

// declare makes the topology. It is harmless to repeat.
func (n Names) declare(ch *amqp.Channel) error {
	exchanges, queues := n.topology()
	for _, e := range exchanges {
		if err := ch.ExchangeDeclare(e.name, e.kind, true, false, false, false, nil); err != nil {
			return declareError("exchange", e.name, err)
		}
	}
	for _, q := range queues {
		if _, err := ch.QueueDeclare(q.name, true, false, false, false, q.args); err != nil {
			return declareError("queue", q.name, err)
		}
		if q.exchange == "" {
			continue
		}
		if err := ch.QueueBind(q.name, q.key, q.exchange, false, nil); err != nil {
			return declareError("binding of queue", q.name, err)
		}
	}
	return nil
}

func declareError(kind, name string, err error) error {
	var broker *amqp.Error
	if !errors.As(err, &broker) || broker.Code != amqp.PreconditionFailed {
		return fmt.Errorf("declaring %s %q: %w", kind, name, err)
	}
	return fmt.Errorf("declaring %s %q: %w: %s; empty and delete it (%s), or use another namespace",
		kind, name, errTopology, broker.Reason, deletion(kind, name))
}

func deletion(kind, name string) string {
	if kind == "exchange" {
		return "rabbitmqadmin delete exchange name=" + name
	}
	return "rabbitmqctl delete_queue " + name
}
