package rabbit

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Depths returns how many messages wait in each of the queues, by its name. It has a connection of its own for as long as it takes.
func (c *Conn) Depths(ctx context.Context, queues ...string) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialPlain(ctx, c.to, c.name+" counting")
	if err != nil {
		return nil, fmt.Errorf("%w: connecting to count messages: %w", ErrUnavailable, err)
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("%w: opening a channel to count messages: %w", ErrUnavailable, err)
	}
	depths := make(map[string]int, len(queues))
	for _, queue := range queues {
		found, err := ch.QueueDeclarePassive(queue, true, false, false, false, amqp.Table{})
		if err != nil {
			return nil, fmt.Errorf("%w: counting the messages of %s: %w", ErrUnavailable, queue, err)
		}
		depths[queue] = found.Messages
	}
	return depths, nil
}

// mostSifted is how many messages Sift takes at a time.
const mostSifted = 200

// Sift takes up to n messages from the head of a queue, a batch at a time, and acknowledges each batch once handle has returned nil
// for it: what is to be kept handle publishes before, confirmed. A batch that handle fails on goes back, and ends it. It ends with ctx
// too, which is no error. It returns how many messages are gone from the queue as they were.
func (c *Conn) Sift(ctx context.Context, queue string, n int, handle func(context.Context, []Message) error) (taken int, err error) {
	sifting, done := context.WithCancel(ctx)
	defer done()
	var failed error
	o := ConsumeOptions{Prefetch: min(mostSifted, max(n, 1)), Drain: time.Second}
	err = c.Consume(sifting, queue, o, func(_ context.Context, batch []*Delivery) {
		mine := batch[:min(len(batch), n-taken)]
		for _, d := range batch[len(mine):] {
			d.Requeue()
		}
		if failed == nil && len(mine) > 0 {
			failed = handle(sifting, messagesOf(mine))
		}
		if failed != nil {
			for _, d := range mine {
				d.Requeue()
			}
			done()
			return
		}
		AckAll(mine)
		if taken += len(mine); taken == n {
			done()
		}
	})
	if failed != nil && ctx.Err() != nil && errors.Is(failed, ctx.Err()) {
		failed = nil // it was told to end in the middle of a batch, which went back
	}
	return taken, errors.Join(failed, err)
}

func messagesOf(batch []*Delivery) []Message {
	messages := make([]Message, len(batch))
	for i, d := range batch {
		messages[i] = d.Message
	}
	return messages
}
