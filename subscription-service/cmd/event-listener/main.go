// Command event-listener takes events from RabbitMQ and publishes a callback command for each subscription that wants one. It
// does the replays too, which do the same with events of the past.
package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/apisix-webhooks/apisix-webhooks/internal/broker"
	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/stats"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/listener"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/replay"
)

type config struct {
	RedisURL   string        `env:"REDIS_URL,required,notEmpty"`
	AMQPURL    string        `env:"AMQP_URL,required,notEmpty"`
	RedisFiles tlsconf.Files `envPrefix:"WEBHOOK_REDIS_"`
	AMQPFiles  tlsconf.Files `envPrefix:"WEBHOOK_AMQP_"`
	// The listener of health and metrics.
	MetricsListen string        `env:"WEBHOOK_METRICS_LISTEN" envDefault:"127.0.0.1:8083"`
	Shutdown      time.Duration `env:"WEBHOOK_SHUTDOWN_TIMEOUT" envDefault:"20s"`
	// Events per second that one replay takes from the archive.
	ReplayRate float64 `env:"WEBHOOK_REPLAY_RATE" envDefault:"100"`
	// Namespace is the tests' own; production has the default one.
	Namespace string
}

// filtersKept is how many different filters stay compiled; one takes 2 KiB and more.
const filtersKept = 10_000

func main() {
	service.Main(service.Process[config]{
		Name: "event-listener",
		Start: func(ctx context.Context, c config, app *service.App) error {
			_, err := start(ctx, c, app)
			return err
		},
		HealthAddress: func(c config) string { return c.MetricsListen },
	})
}

// start returns the address of health and metrics.
func start(_ context.Context, c config, app *service.App) (address string, err error) {
	redis, amqp, err := c.check(app.Log)
	if err != nil {
		return "", err
	}
	kept, err := store.Open(store.Options{URL: c.RedisURL, Namespace: c.Namespace, TLS: redis})
	if err != nil {
		return "", err
	}
	app.OnStop("redis", func(context.Context) error { return kept.Close() })
	app.Health.Check("redis", kept.Writable)
	app.Metrics.MustRegister(kept, tlsconf.NewCertificates(nil, redis, amqp))
	if address, err = app.Listen("metrics", c.MetricsListen, app.Handler()); err != nil {
		return "", err
	}

	known := catalogue.New(kept, app.Log)
	app.Go("catalogue", known.Run)

	link := broker.New(c.AMQPURL, rabbit.Options{Namespace: c.Namespace, Name: "event-listener", Log: app.Log, TLS: amqp})
	subscriptions := index.New(kept, app.Log)
	app.Go("index", func(ctx context.Context) error { subscriptions.Run(ctx); return nil })
	filters, names := expr.NewCache(filtersKept), rabbit.NamesFor(c.Namespace)
	app.Metrics.MustRegister(link.Metrics(), subscriptions, filters)
	app.Go("queue depths", func(ctx context.Context) error { return link.Watch(ctx, names.OfEvents()...) })
	counter := stats.New(kept, app.Log, time.Now)
	app.Go("statistics", counter.Run)
	events := &listener.Listener{
		Store: kept, Index: subscriptions, Publisher: link, Names: names, Filters: filters, Log: app.Log, Metrics: listener.NewMetrics(app.Metrics),
		Catalogue: known, Stats: counter, Trace: app.Trace, Now: time.Now,
	}
	replays := &replay.Worker{
		Store: kept, Publisher: link, Names: names, Filters: filters, Log: app.Log, Metrics: replay.NewMetrics(app.Metrics), Rate: c.ReplayRate, Now: time.Now,
	}
	app.Health.Check("rabbitmq", link.Ready)
	app.Health.Check("events", events.Ready)
	drain := c.Shutdown * 9 / 10 // the rest is for what stops after it
	app.Go("events", func(ctx context.Context) error {
		return link.Run(ctx, func(ctx context.Context, conn *rabbit.Conn) error {
			both, ctx := errgroup.WithContext(ctx) // neither goes on without the other
			both.Go(func() error { return events.Run(ctx, conn, drain) })
			both.Go(func() error { return replays.Run(ctx, conn, drain) })
			return both.Wait()
		})
	})
	return address, nil
}

// check finds all faults at once.
func (c config) check(log *zap.Logger) (redis, amqp *tlsconf.Client, err error) {
	var errs []error
	if c.Shutdown <= 0 {
		errs = append(errs, errors.New("WEBHOOK_SHUTDOWN_TIMEOUT: must be positive, as in 20s"))
	}
	if !(c.ReplayRate > 0) { // neither is NaN
		errs = append(errs, errors.New("WEBHOOK_REPLAY_RATE: must be positive: deliveries per second, as in 100"))
	}
	redis, redisErr := tlsconf.NewClient(tlsconf.Redis(c.RedisURL), c.RedisFiles, log)
	amqp, amqpErr := tlsconf.NewClient(tlsconf.AMQP(c.AMQPURL), c.AMQPFiles, log)
	return redis, amqp, errors.Join(append(errs, redisErr, amqpErr)...)
}
