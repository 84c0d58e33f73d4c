// Package rabbit knows every exchange, queue, delay and dead letter of the broker. Publish returns
// when the broker has confirmed; Consume hands messages out in batches and takes one outcome for
// each. Both survive the broker's restart. It is the only importer of amqp091-go.
//
// The semantics are at least once, in both directions: a Publish that fails may have published some
// of its messages, and a message whose acknowledgement the broker never saw is delivered again.
package rabbit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// Options of Open.
type Options struct {
	// Namespace prefixes every name on the broker; see NamesFor.
	Namespace string
	// Name is what the broker's operators see for the connections.
	Name string
	// Log may be nil.
	Log *zap.Logger
	// Guest neither declares the topology nor waits for the broker: for who only publishes, and may not configure. What is not there
	// shows when something is published to it.
	Guest bool
	// TLS makes the connections where the URL says amqps; with the system's authorities unless it is set. Where it shows a
	// certificate and the URL has no user, the broker takes the user from the certificate (SASL EXTERNAL).
	TLS *tlsconf.Client
	// Metrics is what counts, for several connections of a process together; may be nil.
	Metrics *Metrics
}

// Conn is a broker, its topology declared. Publishing and every Consume have a TCP connection of
// their own, because a broker that runs short of memory or disk stops reading from connections that
// publish, and acknowledgements would be stuck behind.
type Conn struct {
	to        endpoint
	guest     bool
	names     Names
	name      string
	log       *zap.Logger
	link      *link // for publishing; keeps the topology
	publisher *Publisher
	metrics   *Metrics

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu        sync.Mutex
	consumers map[*consumer]*link // nil until it is connected
}

// Open connects and declares the topology, unless it is for a guest. While the broker can't be reached it tries until ctx
// ends, for a guest once; an exchange or queue that exists with other properties is an error at once. After that the
// connection recovers by itself, for ever, until Close.
func Open(ctx context.Context, url string, o Options) (*Conn, error) {
	to, err := endpointOf(url, o.TLS)
	if err != nil {
		return nil, err
	}
	c := &Conn{to: to, guest: o.Guest, names: NamesFor(o.Namespace), name: o.Name, log: o.Log, metrics: o.Metrics, consumers: map[*consumer]*link{}}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	if c.metrics == nil {
		c.metrics = NewMetrics()
	}
	l, err := c.connect(ctx, func() (*link, func(*amqp.Connection) error) {
		l := &link{name: c.name, label: publishing, log: c.log, metrics: c.metrics}
		if !c.guest {
			l.restored = func() { c.insistOnArchive(l.ctx) }
		}
		return l, func(conn *amqp.Connection) (err error) {
			if _, err = c.topologyChannel(conn); err != nil {
				return err
			}
			c.publisher, err = newPublisher(l, conn)
			return err
		}
	})
	if err != nil {
		return nil, err
	}
	c.link = l
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if c.guest {
		return c, nil
	}
	switch err := c.declareArchive(ctx); {
	case errors.Is(err, errTopology):
		return nil, errors.Join(err, c.Close())
	case err != nil:
		l.restore()
	}
	return c, nil
}

// insistOnArchive tries for a while: a stream comes back later than its broker. Then it leaves it at that; see Names.archive.
func (c *Conn) insistOnArchive(ctx context.Context) {
	begin := time.Now()
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := c.declareArchive(ctx)
		if err == nil {
			return
		}
		if time.Since(begin) > archivePatience || errors.Is(err, errTopology) {
			c.log.Error("broker: there is no archive to replay from; if it stays away, delete it, and the next connection makes another",
				zap.String("command", deletion("queue", c.names.Archive)), zap.Error(err))
			return
		}
		_ = pause(ctx, attempt)
	}
}

func (c *Conn) declareArchive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	return c.names.declareArchive(func() (*amqp.Connection, error) { return dialPlain(ctx, c.to, c.name+" declaring the archive") })
}

// Names are those of the connection's namespace.
func (c *Conn) Names() Names { return c.names }

// connect tries until it works, ctx ends or the topology is refused. Each attempt gets a link of its own.
func (c *Conn) connect(ctx context.Context, prepare func() (*link, func(*amqp.Connection) error)) (*link, error) {
	for attempt := 0; ; attempt++ {
		l, setup := prepare()
		err := l.dial(ctx, c.to, setup)
		if err == nil {
			return l, nil
		}
		if errors.Is(err, errTopology) || c.guest {
			return nil, err
		}
		c.metrics.failures.WithLabelValues(l.label).Inc()
		c.log.Warn("broker: can't connect, trying again", zap.String("connection", l.name), zap.Error(err))
		if ctxErr := pause(ctx, attempt); ctxErr != nil {
			return nil, fmt.Errorf("%w (%w)", err, ctxErr)
		}
	}
}

// topologyChannel declares on a channel that stays open: closing it would make the library forget
// what to declare again after a recovery.
func (c *Conn) topologyChannel(conn *amqp.Connection) (*amqp.Channel, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("opening a channel: %w", err)
	}
	if c.guest {
		return ch, nil
	}
	return ch, c.names.declare(ch)
}

// Ready is nil while the broker is connected, for publishing and for every Consume, and doesn't
// block publishers; else it says what is missing.
func (c *Conn) Ready(context.Context) error {
	if err := c.link.ready(); err != nil {
		return err
	}
	c.mu.Lock()
	links := maps.Clone(c.consumers)
	c.mu.Unlock()
	for consumer, l := range links {
		if l == nil {
			return fmt.Errorf("consuming %s: %w: not connected yet", consumer.queue, ErrUnavailable)
		}
		if err := l.ready(); err != nil {
			return fmt.Errorf("consuming %s: %w", consumer.queue, err)
		}
	}
	return nil
}

// Close ends everything at once. For an orderly end, end the contexts of Publish and Consume first.
// What Consume handed out and nobody settled goes back to its queue.
func (c *Conn) Close() error {
	c.cancel()
	c.mu.Lock()
	links := maps.Clone(c.consumers)
	c.mu.Unlock()
	var errs []error
	for _, l := range links {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	return errors.Join(append(errs, c.link.close())...)
}

// Frames is how many AMQP frames were sent and received, over all connections.
func (c *Conn) Frames() (sent, received uint64) {
	return c.metrics.frames.sent.Load(), c.metrics.frames.received.Load()
}

func (c *Conn) track(consumer *consumer, l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.consumers[consumer] = l
}

func (c *Conn) untrack(consumer *consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.consumers, consumer)
}
