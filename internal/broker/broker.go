// Package broker keeps a service's connection to RabbitMQ. The service starts and serves while the broker is still away.
package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// Link is the connection, or the wait for it. Run makes it; until then it is unavailable.
type Link struct {
	url     string
	options rabbit.Options

	mu        sync.Mutex
	conn      *rabbit.Conn
	publisher *rabbit.Publisher
}

// New makes a link. It does not connect yet: see Run.
func New(url string, options rabbit.Options) *Link {
	if options.Metrics == nil {
		options.Metrics = rabbit.NewMetrics()
	}
	return &Link{url: url, options: options}
}

// Metrics are those of the connection, whether it is there or not.
func (l *Link) Metrics() *rabbit.Metrics { return l.options.Metrics }

// connectedEvery is how often Watch looks whether there is a connection.
const connectedEvery = 250 * time.Millisecond

// Watch shows in the metrics how much waits in queues, until ctx ends; see rabbit.Watch. It begins once Run is connected: before
// that there may be no queues.
func (l *Link) Watch(ctx context.Context, queues ...string) error {
	ticker := time.NewTicker(connectedEvery)
	defer ticker.Stop()
	for l.Ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return rabbit.Watch(ctx, l.url, l.options, queues...)
}

// Run connects, waiting for the broker as long as it takes, lets use work with the connection and closes it. It returns what
// use returns, nil if ctx ends first, or an error that no waiting mends: a malformed URL, another topology on the broker.
func (l *Link) Run(ctx context.Context, use func(context.Context, *rabbit.Conn) error) error {
	conn, err := rabbit.Open(ctx, l.url, l.options)
	if err != nil {
		return unlessOver(ctx, fmt.Errorf("AMQP_URL: %w", err))
	}
	defer conn.Close() // everything that mattered is confirmed or given back by now
	l.set(conn, conn.Publisher())
	defer l.set(nil, nil)
	return use(ctx, conn)
}

// Hold is a use that only publishes.
func Hold(ctx context.Context, _ *rabbit.Conn) error {
	<-ctx.Done()
	return nil
}

// unlessOver drops an error that only says that ctx ended.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (l *Link) set(conn *rabbit.Conn, publisher *rabbit.Publisher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.publisher = conn, publisher
}

func (l *Link) get() (*rabbit.Conn, *rabbit.Publisher, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return nil, nil, fmt.Errorf("%w: not connected yet", rabbit.ErrUnavailable)
	}
	return l.conn, l.publisher, nil
}

// Publish is rabbit.Publisher's; it wraps rabbit.ErrUnavailable while there is no connection.
func (l *Link) Publish(ctx context.Context, messages ...rabbit.Message) error {
	_, publisher, err := l.get()
	if err != nil {
		return err
	}
	return publisher.Publish(ctx, messages...)
}

// ReadStream is rabbit.Conn's; it wraps rabbit.ErrUnavailable while there is no connection.
func (l *Link) ReadStream(ctx context.Context, queue string, from rabbit.StreamOffset, handle func(context.Context, []rabbit.StreamMessage) error) error {
	conn, _, err := l.get()
	if err != nil {
		return err
	}
	return conn.ReadStream(ctx, queue, from, handle)
}

// Depths is rabbit.Conn's; it wraps rabbit.ErrUnavailable while there is no connection.
func (l *Link) Depths(ctx context.Context, queues ...string) (map[string]int, error) {
	conn, _, err := l.get()
	if err != nil {
		return nil, err
	}
	return conn.Depths(ctx, queues...)
}

// Sift is rabbit.Conn's; it wraps rabbit.ErrUnavailable while there is no connection.
func (l *Link) Sift(ctx context.Context, queue string, n int, handle func(context.Context, []rabbit.Message) error) (int, error) {
	conn, _, err := l.get()
	if err != nil {
		return 0, err
	}
	return conn.Sift(ctx, queue, n, handle)
}

// Ready is nil while the broker is connected.
func (l *Link) Ready(ctx context.Context) error {
	conn, _, err := l.get()
	if err != nil {
		return err
	}
	return conn.Ready(ctx)
}
