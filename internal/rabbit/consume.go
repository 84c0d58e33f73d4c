package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/batch"
)

// ConsumeOptions of Consume.
type ConsumeOptions struct {
	// Prefetch is how many unsettled messages the broker hands out at most. Default 100.
	Prefetch int
	// MaxBatch is how many messages one call of the handler gets at most. Default Prefetch.
	MaxBatch int
	// Drain is how long the end waits for deliveries that the handler hasn't settled. Default 20 s.
	Drain time.Duration
	// HandOver is for a queue whose order matters across consumers, such as the events queue. At the end nothing is given back
	// before what was handed out is settled; the rest goes back all at once, by closing the connection, so that the next
	// consumer gets it in the old order.
	HandOver bool
	// Pace is how far batches are kept apart at most, so that more messages share what a batch costs; see batch.Pacer. A full
	// batch does not wait. 0: none does.
	Pace time.Duration
}

func (o ConsumeOptions) withDefaults() ConsumeOptions {
	if o.Prefetch <= 0 {
		o.Prefetch = 100
	}
	if o.MaxBatch <= 0 || o.MaxBatch > o.Prefetch {
		o.MaxBatch = o.Prefetch
	}
	if o.Drain <= 0 {
		o.Drain = 20 * time.Second
	}
	return o
}

// ErrDrain is wrapped by the error of a Consume that ended with deliveries unsettled.
var ErrDrain = errors.New("deliveries were not settled in time")

// Delivery is a message that waits for its outcome: exactly one of Ack, Requeue and Reject, from any goroutine,
// also after the handler has returned. Until then it counts against the prefetch.
type Delivery struct {
	Message
	// Redelivered says that the message may have been handed out before.
	Redelivered bool

	tag      uint64
	session  *session
	consumer *consumer
	settled  atomic.Bool
}

// Ack says that the message is done with. If the broker doesn't learn of it, because the connection
// was lost since, it delivers the message again.
func (d *Delivery) Ack() { AckAll([]*Delivery{d}) }

// Requeue gives the message back to its queue.
func (d *Delivery) Requeue() { d.refuse(true) }

// Reject lets the broker itself move the message to the dead queue, as it is: for one that can't be published there with a
// reason. It has the broker's x-death header then, and no HeaderReason.
func (d *Delivery) Reject() { d.refuse(false) }

// Lost says that the connection it came by is gone: the broker hands it out again by itself, and settling it does nothing.
func (d *Delivery) Lost() bool { return !d.session.alive() }

func (d *Delivery) refuse(requeue bool) {
	if d.settled.CompareAndSwap(false, true) {
		d.session.refuse(d.tag, requeue)
		d.consumer.settle(1)
	}
}

// AckAll is Ack for a batch, in as few frames as possible.
func AckAll(batch []*Delivery) { settleAll(batch, (*session).ack) }

// AckSoon is AckAll for what does no harm if it is delivered again: the broker learns of it within 50 ms, together with what
// else is settled by then, and before the end of Consume.
func AckSoon(batch []*Delivery) { settleAll(batch, (*session).ackSoon) }

// Leave ends the wait for deliveries without an outcome: they go back when the connection closes, which with HandOver is soon
// and in their old order.
func Leave(batch []*Delivery) { settleAll(batch, func(*session, []uint64) {}) }

func settleAll(batch []*Delivery, ack func(*session, []uint64)) {
	for len(batch) > 0 {
		s, c := batch[0].session, batch[0].consumer
		var tags []uint64
		n := 0
		for n < len(batch) && batch[n].session == s {
			if batch[n].settled.CompareAndSwap(false, true) {
				tags = append(tags, batch[n].tag)
			}
			n++
		}
		ack(s, tags)
		c.settle(len(tags))
		batch = batch[n:]
	}
}

// Consume calls handle with the messages of a queue: whatever is ready, at least one, at most
// MaxBatch. One call at a time; a handler that settles its deliveries later may return before. How
// the deliveries are settled is its only result.
//
// It ends with ctx: the broker is told to stop, what was not handed out goes back to the queue, and
// what was handed out is waited for until Drain is over, which also ends the handler's context. The
// result is nil then, or wraps ErrDrain. Before that it fails only if the topology is refused or the
// Conn is closed. While the broker is away it waits for it, and goes on.
func (c *Conn) Consume(ctx context.Context, queue string, o ConsumeOptions, handle func(context.Context, []*Delivery)) error {
	return c.consume(ctx, newConsumer(queue, o.withDefaults(), c.log), handle)
}

func (c *Conn) consume(ctx context.Context, k *consumer, handle func(context.Context, []*Delivery)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()

	c.track(k, nil)
	defer c.untrack(k)
	l, err := c.connect(ctx, func() (*link, func(*amqp.Connection) error) { return k.link(c) })
	if err != nil {
		return c.consumeError(ctx, k.queue, err)
	}
	defer k.pumps.Wait()
	defer l.close() // all that mattered is settled by now
	c.track(k, l)
	return c.consumeError(ctx, k.queue, k.run(ctx, c.ctx, handle))
}

func (c *Conn) consumeError(ctx context.Context, queue string, err error) error {
	switch {
	case c.ctx.Err() != nil:
		err = ErrClosed
	case err == nil, ctx.Err() != nil && !errors.Is(err, ErrDrain):
		return nil
	}
	return fmt.Errorf("consuming %s: %w", queue, err)
}

// consumer is one call of Consume.
type consumer struct {
	queue string
	o     ConsumeOptions
	args  func() amqp.Table // of each subscription; may be nil
	log   *zap.Logger
	conn  *link
	ch    *amqp.Channel

	taken, redelivered prometheus.Counter

	ready chan *Delivery
	pacer batch.Pacer   // the handler's goroutine alone knows it
	stop  chan struct{} // closed when no more deliveries are wanted
	pumps sync.WaitGroup

	mu          sync.Mutex
	session     *session
	sessions    int
	stopped     bool
	outstanding int
	idle        chan struct{} // closed when outstanding gets zero; nil while nobody waits
}

func newConsumer(queue string, o ConsumeOptions, log *zap.Logger) *consumer {
	return &consumer{queue: queue, o: o, log: log, pacer: batch.Pacer{Most: o.Pace}, ready: make(chan *Delivery, o.Prefetch), stop: make(chan struct{})}
}

// link prepares a connection for the consumer alone.
func (k *consumer) link(c *Conn) (*link, func(*amqp.Connection) error) {
	k.conn = &link{name: c.name + " consuming " + k.queue, label: c.names.label(k.queue), log: c.log, metrics: c.metrics}
	k.taken, k.redelivered = c.metrics.taken.WithLabelValues(k.conn.label), c.metrics.redelivered.WithLabelValues(k.conn.label)
	k.conn.stop, k.conn.before, k.conn.after = k.endSession, k.forget, k.subscribe
	return k.conn, func(conn *amqp.Connection) (err error) {
		// The topology too: the queue may have gone with the broker's disk, and this connection may
		// be the first to come back.
		if k.ch, err = c.topologyChannel(conn); err != nil {
			return err
		}
		if err := k.ch.Qos(k.o.Prefetch, 0, false); err != nil {
			return fmt.Errorf("setting the prefetch: %w", err)
		}
		return k.subscribe()
	}
}

// subscribe starts a session. After a recovery this is done here and not by the library, which would
// keep both the consumer tag and the Go channel: deliveries of the lost connection that are still in
// its buffer would then look like new ones, and their tags would acknowledge other messages.
func (k *consumer) subscribe() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return nil
	}
	k.sessions++
	name := fmt.Sprintf("%s.%d", k.queue, k.sessions)
	var args amqp.Table
	if k.args != nil {
		args = k.args()
	}
	deliveries, err := k.ch.Consume(k.queue, name, false, false, false, false, args)
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", k.queue, err)
	}
	s := newSession(k.ch, name, k.conn.cork)
	k.session = s
	k.pumps.Go(func() { k.pump(s, deliveries) })
	return nil
}

// forget makes the library forget the lost session, so that it doesn't subscribe it again. The
// broker ignores the frame, as the protocol demands for an unknown consumer.
func (k *consumer) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session != nil {
		_ = k.ch.Cancel(k.session.name, true)
	}
}

func (k *consumer) endSession() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session != nil {
		k.session.end()
	}
}

// pump moves a session's deliveries until the library closes the channel.
func (k *consumer) pump(s *session, deliveries <-chan amqp.Delivery) {
	for d := range deliveries {
		if d.Redelivered {
			k.redelivered.Inc()
		}
		m := &Delivery{Message: messageOf(&d), Redelivered: d.Redelivered, tag: d.DeliveryTag, session: s, consumer: k}
		select {
		case <-s.over: // the broker delivers it again
		case <-k.stop:
			s.refuse(m.tag, true)
		case k.ready <- m:
		}
	}
	if s.alive() && !k.isStopped() {
		k.conn.fault(fmt.Errorf("the broker cancelled the consumer of %s, as when its queue is deleted", k.queue))
	}
}

func (k *consumer) run(ctx, closed context.Context, handle func(context.Context, []*Delivery)) error {
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	halted := make(chan struct{})
	context.AfterFunc(ctx, func() { defer close(halted); k.halt() })
	for batch := k.next(ctx); batch != nil; batch = k.next(ctx) {
		handle(work, batch)
	}
	<-halted
	if !k.o.HandOver {
		k.giveBack()
	}
	defer k.flush()
	return k.drain(closed)
}

// flush tells the broker of what it was to be told soon.
func (k *consumer) flush() {
	k.mu.Lock()
	s := k.session
	k.mu.Unlock()
	if s != nil {
		s.ack(nil)
	}
}

// next waits for a message and takes what else is ready. It returns nil when ctx has ended.
func (k *consumer) next(ctx context.Context) []*Delivery {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case d := <-k.ready:
			if len(k.ready)+1 < k.o.MaxBatch {
				k.pacer.Wait(ctx.Done(), nil)
			}
			batch := k.fill(d)
			k.pacer.Taken(len(batch))
			if len(batch) > 0 {
				k.hand(len(batch))
				return batch
			}
		}
	}
	return nil
}

// fill leaves out what the broker delivers again anyway.
func (k *consumer) fill(d *Delivery) []*Delivery {
	batch := make([]*Delivery, 0, min(k.o.MaxBatch, len(k.ready)+1))
	for {
		if d.session.alive() {
			batch = append(batch, d)
		}
		if len(batch) == k.o.MaxBatch {
			return batch
		}
		select {
		case d = <-k.ready:
		default:
			return batch
		}
	}
}

// halt tells the broker to stop delivering, save where closing the connection will do.
func (k *consumer) halt() {
	k.mu.Lock()
	k.stopped = true
	s := k.session
	k.mu.Unlock()
	if k.o.HandOver {
		return
	}
	close(k.stop)
	if s == nil || !s.alive() {
		return
	}
	stuck := time.AfterFunc(closeTimeout, k.conn.dropSocket)
	defer stuck.Stop()
	if err := k.ch.Cancel(s.name, false); err != nil {
		k.log.Debug("broker: cancelling the consumer", zap.Error(err))
	}
}

// giveBack requeues what was delivered and not handed out.
func (k *consumer) giveBack() {
	for {
		select {
		case d := <-k.ready:
			d.session.refuse(d.tag, true)
		default:
			return
		}
	}
}

func (k *consumer) drain(closed context.Context) error {
	k.mu.Lock()
	if k.outstanding == 0 {
		k.mu.Unlock()
		return nil
	}
	k.idle = make(chan struct{})
	idle := k.idle
	k.mu.Unlock()

	timeout := time.NewTimer(k.o.Drain)
	defer timeout.Stop()
	select {
	case <-idle:
		return nil
	case <-timeout.C:
	case <-closed.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return fmt.Errorf("%w: %d go back to the queue", ErrDrain, k.outstanding)
}

func (k *consumer) hand(n int) {
	k.taken.Add(float64(n))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.outstanding += n
}

func (k *consumer) settle(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.outstanding -= n
	if k.outstanding == 0 && k.idle != nil {
		close(k.idle)
		k.idle = nil
	}
}

func (k *consumer) isStopped() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stopped
}
