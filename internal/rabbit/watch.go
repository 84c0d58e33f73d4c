package rabbit

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

// watchEvery is how often the broker is asked how deep queues are.
const watchEvery = 10 * time.Second

// Watch shows in the metrics of the options how much waits in queues, until ctx ends. It asks the broker every ten seconds, on a
// connection of its own: a queue that is not there costs its channel. While the broker can't tell there are no figures, rather
// than old ones, and the log says so once. It fails at once if the URL can't be read.
func Watch(ctx context.Context, url string, o Options, queues ...string) error {
	to, err := endpointOf(url, o.TLS)
	if err != nil {
		return err
	}
	w := &watch{to: to, name: o.Name + " watching queues", log: o.Log, metrics: o.Metrics, names: NamesFor(o.Namespace)}
	defer w.drop()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		w.report(ctx, w.look(ctx, queues))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// watch is one call of Watch.
type watch struct {
	to      endpoint
	name    string
	log     *zap.Logger
	metrics *Metrics
	names   Names
	conn    *amqp.Connection // nil while there is none
	failing bool
}

func (w *watch) look(ctx context.Context, queues []string) error {
	var errs []error
	away := w.connect(ctx)
	for _, queue := range queues {
		found, err := amqp.Queue{}, away
		if away == nil {
			found, err = w.ask(queue)
		}
		label := w.names.label(queue)
		if err != nil {
			w.metrics.messages.DeleteLabelValues(label)
			w.metrics.consumers.DeleteLabelValues(label)
			errs = append(errs, fmt.Errorf("looking at queue %q: %w", queue, err))
			continue
		}
		w.metrics.messages.WithLabelValues(label).Set(float64(found.Messages))
		w.metrics.consumers.WithLabelValues(label).Set(float64(found.Consumers))
	}
	return join(errs)
}

// ask asks on a channel for this question alone: one about a queue that is not there ends it.
func (w *watch) ask(queue string) (found amqp.Queue, err error) {
	ch, err := w.conn.Channel()
	if err != nil {
		return found, fmt.Errorf("opening a channel: %w", err)
	}
	defer func() { _ = ch.Close() }()
	return ch.QueueDeclarePassive(queue, true, false, false, false, nil)
}

// connect sees to it that there is a connection.
func (w *watch) connect(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if w.conn != nil && !w.conn.IsClosed() {
		return nil
	}
	w.conn, err = dialPlain(ctx, w.to, w.name)
	return err
}

func (w *watch) drop() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing is under way
		w.conn = nil
	}
}

func (w *watch) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !w.failing:
		w.log.Warn("broker: the depths of queues are not known", zap.Error(err))
	case err == nil && w.failing:
		w.log.Info("broker: the depths of queues are known again")
	}
	w.failing = err != nil
}
