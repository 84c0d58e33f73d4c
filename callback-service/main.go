// Command callback-service consumes callback commands, signs the requests and makes them through the gateway.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/delivery"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

type config struct {
	RedisURL      string          `env:"REDIS_URL,required,notEmpty"`
	AMQPURL       string          `env:"AMQP_URL,required,notEmpty"`
	GatewayURL    string          `env:"WEBHOOK_GATEWAY_URL" envDefault:"http://127.0.0.1:9080"`
	CallbackKey   string          `env:"WEBHOOK_CALLBACK_KEY,required,notEmpty"`
	MetricsListen string          `env:"WEBHOOK_METRICS_LISTEN" envDefault:"127.0.0.1:8084"`
	Schedule      []time.Duration `env:"WEBHOOK_RETRY_SCHEDULE" envDefault:"5s,30s,2m,10m,1h,3h,6h,12h,24h"`
	Timeout       time.Duration   `env:"WEBHOOK_CALLBACK_TIMEOUT" envDefault:"15s"`
	InFlight      int             `env:"WEBHOOK_MAX_IN_FLIGHT" envDefault:"1000"`
	Drain         time.Duration   `env:"WEBHOOK_SHUTDOWN_TIMEOUT" envDefault:"20s"`
}

func main() {
	service.Main(service.Process[config]{
		Name: "callback-service", Start: start,
		HealthAddress: func(c config) string { return c.MetricsListen },
	})
}

func start(ctx context.Context, c config, app *service.App) error {
	if err := c.check(); err != nil {
		return err
	}
	signer, err := contract.NewSigner([]byte(c.CallbackKey), time.Now)
	if err != nil {
		return fmt.Errorf("WEBHOOK_CALLBACK_KEY: %w", err)
	}
	client, err := gateway.New(c.GatewayURL, signer, c.InFlight)
	if err != nil {
		return fmt.Errorf("WEBHOOK_GATEWAY_URL: %w", err)
	}
	app.OnStop("gateway connections", func(context.Context) error { client.Close(); return nil })

	kept, err := store.Open(store.Options{URL: c.RedisURL})
	if err != nil {
		return err
	}
	app.OnStop("redis", func(context.Context) error { return kept.Close() })
	app.Health.Check("redis", kept.Ping)

	// Health first: while the broker is awaited, the process lives and says what it waits for.
	if _, err := app.Listen("metrics", c.MetricsListen, app.Handler()); err != nil {
		return err
	}
	broker, err := rabbit.Open(ctx, c.AMQPURL, rabbit.Options{Name: "callback-service", Log: app.Log})
	if err != nil {
		return err
	}
	app.OnStop("rabbitmq", func(context.Context) error { return broker.Close() })
	app.Health.Check("rabbitmq", broker.Ready)

	engine := &delivery.Engine{
		Store: kept, Gateway: client, Broker: broker, Log: app.Log, Metrics: delivery.NewMetrics(app.Metrics),
		Schedule: c.Schedule, Timeout: c.Timeout, InFlight: c.InFlight, Drain: c.Drain * 9 / 10, Now: time.Now,
	}
	app.Go("deliveries", engine.Run)
	return nil
}

// check reports every fault of the values at once.
func (c config) check() error {
	var errs []error
	for _, wait := range c.Schedule {
		if wait <= 0 {
			errs = append(errs, errors.New("WEBHOOK_RETRY_SCHEDULE: every wait must be positive, as in 5s,30s,2m"))
			break
		}
	}
	if c.Timeout < time.Second || c.Timeout > 55*time.Second {
		errs = append(errs, errors.New("WEBHOOK_CALLBACK_TIMEOUT: use 1s to 55s"))
	}
	if c.InFlight < 1 || c.InFlight > 65535 {
		errs = append(errs, errors.New("WEBHOOK_MAX_IN_FLIGHT: use 1 to 65535"))
	}
	return errors.Join(errs...)
}
