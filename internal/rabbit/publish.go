package rabbit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// lanes is how many batches can be on their way at a time.
	lanes = 8
	// window is how many messages of a batch are sent before their confirms are waited for. It also
	// bounds the returns that can come back meanwhile: the library drops those that find no room.
	window = 256
)

// ErrNacked is wrapped by the error of a Publish that the broker refused, as a full queue does.
var ErrNacked = errors.New("the broker refused the message")

// ReturnedError says that no queue takes messages for an address. Nothing was dropped silently, but
// nothing was stored either.
type ReturnedError struct{ Exchange, RoutingKey, Reason string }

func (e *ReturnedError) Error() string {
	return fmt.Sprintf("no queue for exchange %q, key %q: %s", e.Exchange, e.RoutingKey, e.Reason)
}

// Publisher publishes with confirms. It is safe for concurrent use and ends with its Conn.
type Publisher struct {
	link *link
	// free holds the channels no batch is using. One batch has a channel for itself, so that what
	// the broker returns on it is known to belong to it.
	free chan *lane
}

type lane struct {
	ch      *amqp.Channel
	returns chan amqp.Return
}

// Publisher is the connection's publisher.
func (c *Conn) Publisher() *Publisher { return c.publisher }

// newPublisher opens all channels at once and not when they are needed: a broker that blocks
// publishers doesn't open channels either.
func newPublisher(l *link, conn *amqp.Connection) (*Publisher, error) {
	p := &Publisher{link: l, free: make(chan *lane, lanes)}
	for range lanes {
		ln, err := openLane(conn)
		if err != nil {
			return nil, fmt.Errorf("opening a channel to publish on: %w", err)
		}
		p.free <- ln
	}
	return p, nil
}

func openLane(conn *amqp.Connection) (*lane, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return &lane{ch: ch, returns: ch.NotifyReturn(make(chan amqp.Return, window))}, nil
}

// Publish sends messages, persistent and mandatory, and returns nil once the broker has confirmed
// every one. On any error the whole batch counts as not published, though some of it may have been.
//
// It fails at once, wrapping ErrUnavailable, while the broker is away or blocks publishers, and as
// soon as the connection drops with confirms outstanding; the next one works when the connection has
// recovered. An unroutable message is a *ReturnedError, one that can't be sent wraps ErrTooLarge.
//
// Give ctx a deadline: a broker that begins to block publishers confirms when it no longer does. The
// deadline is kept except by a write to a broker that doesn't read, which may take 15 s.
func (p *Publisher) Publish(ctx context.Context, messages ...Message) error {
	for i := range messages {
		if err := messages[i].Check(); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
	}
	begin := time.Now()
	err := p.publish(ctx, messages)
	p.link.metrics.tried(len(messages), time.Since(begin), err)
	if err != nil {
		return fmt.Errorf("publishing %d message(s): %w", len(messages), err)
	}
	return nil
}

func (p *Publisher) publish(ctx context.Context, messages []Message) error {
	if err := p.link.ready(); err != nil {
		return err
	}
	var ln *lane
	select {
	case ln = <-p.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	for part := range slices.Chunk(messages, window) {
		pending, lost, err := p.send(ctx, ln, part)
		if err == nil {
			err = ln.await(ctx, pending, lost, p.link)
		}
		if err != nil {
			go p.recycle(ln, pending)
			return err
		}
	}
	p.free <- ln
	return nil
}

// send writes messages, all to one incarnation of the connection.
func (p *Publisher) send(ctx context.Context, ln *lane, part []Message) (_ []*amqp.DeferredConfirmation, _ <-chan struct{}, err error) {
	l := p.link
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.err(); err != nil {
		return nil, nil, err
	}
	if len(part) > 1 {
		uncork := l.cork()
		defer func() {
			if failed := uncork(); failed != nil && err == nil {
				err = unavailable(failed)
			}
		}()
	}
	pending, err := ln.write(ctx, part)
	return pending, l.lost, err
}

func (ln *lane) write(ctx context.Context, part []Message) ([]*amqp.DeferredConfirmation, error) {
	pending := make([]*amqp.DeferredConfirmation, 0, len(part))
	headers := amqp.Table{} // one for all: the library is done with it when it returns
	for i := range part {
		if err := ctx.Err(); err != nil {
			return pending, err
		}
		m := &part[i]
		confirm, err := ln.ch.PublishWithDeferredConfirm(m.Exchange, m.RoutingKey, true, false, m.wire(headers))
		if err != nil {
			return pending, unavailable(err)
		}
		pending = append(pending, confirm)
	}
	return pending, nil
}

// await returns when all are confirmed. The library alone would keep confirms waiting from the loss
// of a connection to its recovery, hence lost.
func (ln *lane) await(ctx context.Context, pending []*amqp.DeferredConfirmation, lost <-chan struct{}, l *link) error {
	var errs []error
	// The last first: mostly all the others are confirmed by then.
	for _, confirm := range slices.Backward(pending) {
		for waiting := true; waiting; {
			select {
			case r := <-ln.returns:
				errs = append(errs, returned(r))
			case <-confirm.Done():
				waiting = false
			case <-lost:
				return l.lossError()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if confirm.Acked() {
			continue
		}
		select {
		case <-lost: // recovery has answered in the broker's place
			return l.lossError()
		default:
			errs = append(errs, ErrNacked)
		}
	}
	// A return comes before its confirm, so none is still on its way.
	for len(ln.returns) > 0 {
		errs = append(errs, returned(<-ln.returns))
	}
	return join(errs)
}

func (l *link) lossError() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return unavailable(l.cause)
}

// recycle keeps a channel out of use until the broker has nothing left to say on a batch that was
// given up. Every confirm ends at the latest with the recovery or the end of the connection.
func (p *Publisher) recycle(ln *lane, pending []*amqp.DeferredConfirmation) {
	_ = ln.await(context.Background(), pending, nil, p.link)
	for len(ln.returns) > 0 {
		<-ln.returns
	}
	p.free <- ln
}

func returned(r amqp.Return) error {
	return &ReturnedError{Exchange: r.Exchange, RoutingKey: r.RoutingKey, Reason: r.ReplyText}
}

// join keeps an error of many messages readable: the first few, and how many more.
func join(errs []error) error {
	const shown = 3
	if len(errs) > shown {
		errs = append(errs[:shown:shown], fmt.Errorf("and %d more", len(errs)-shown))
	}
	return errors.Join(errs...)
}
