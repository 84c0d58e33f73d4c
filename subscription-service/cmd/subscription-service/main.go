// Command subscription-service serves the consumers' API to the gateway and the admins' API on a listener of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/broker"
	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

type config struct {
	RedisURL    string   `env:"REDIS_URL,required,notEmpty"`
	AMQPURL     string   `env:"AMQP_URL,required,notEmpty"`
	GatewayKey  string   `env:"WEBHOOK_GATEWAY_KEY,required,notEmpty"`
	AdminToken  string   `env:"WEBHOOK_ADMIN_TOKEN"`
	AdminTokens []string `env:"WEBHOOK_ADMIN_TOKENS"`
	Keyring     string   `env:"WEBHOOK_KEYRING"`
	KeyringFile string   `env:"WEBHOOK_KEYRING_FILE"`
	AllowCIDRs  []string `env:"WEBHOOK_ALLOW_CIDRS"`
	AllowHTTP   bool     `env:"WEBHOOK_ALLOW_HTTP"`
	DNS         string   `env:"WEBHOOK_DNS"`
	Listen      string   `env:"WEBHOOK_LISTEN" envDefault:"127.0.0.1:8081"`
	AdminListen string   `env:"WEBHOOK_ADMIN_LISTEN" envDefault:"127.0.0.1:8082"`
	// What a consumer may use that has no limits of its own: calls and events per second, subscriptions.
	Rate          int   `env:"WEBHOOK_CONSUMER_RATE" envDefault:"1000"`
	EventRate     int   `env:"WEBHOOK_CONSUMER_EVENT_RATE" envDefault:"20000"`
	Subscriptions int   `env:"WEBHOOK_CONSUMER_SUBSCRIPTIONS" envDefault:"50000"`
	AuditEntries  int64 `env:"WEBHOOK_AUDIT_ENTRIES" envDefault:"100000"`
	// Origin and PublicURL are what endpoints learn of this installation; see contract.NewSender.
	Origin    string `env:"WEBHOOK_ORIGIN"`
	PublicURL string `env:"WEBHOOK_PUBLIC_URL"`
	// Namespace is the tests' own; production has the default one.
	Namespace string
}

func main() {
	service.Main(service.Process[config]{
		Name: "subscription-service",
		Start: func(ctx context.Context, c config, app *service.App) error {
			_, err := start(ctx, c, app)
			return err
		},
		HealthAddress: func(c config) string { return c.AdminListen },
	})
}

// addresses are where the process listens.
type addresses struct{ gateway, admin string }

func start(_ context.Context, c config, app *service.App) (at addresses, err error) {
	made, err := c.check()
	if err != nil {
		return at, err
	}
	app.Metrics.MustRegister(made.keyring)
	app.Go("key ring", func(ctx context.Context) error { return made.keyring.Run(ctx, app.Log) })
	kept, err := store.Open(store.Options{
		URL: c.RedisURL, Namespace: c.Namespace, Service: "subscription-service", AuditEntries: c.AuditEntries, MaxSubscriptions: c.Subscriptions,
		Keyring: made.keyring,
	})
	if err != nil {
		return at, err
	}
	app.OnStop("redis", func(context.Context) error { return kept.Close() })
	app.Health.Check("redis", kept.Writable)
	app.Health.Check("keyring", kept.Unlocks)
	app.ObserveRedis(kept.Traffic)

	// Subscribing needs no broker, so the service does not wait for it.
	link := broker.New(c.AMQPURL, rabbit.Options{Namespace: c.Namespace, Name: "subscription-service", Log: app.Log})
	app.Go("rabbitmq", func(ctx context.Context) error { return link.Run(ctx, broker.Hold) })
	app.Health.Check("rabbitmq", link.Ready)

	known := catalogue.New(kept, app.Log)
	app.Go("catalogue", known.Run)

	handlers, err := api.New(api.Options{
		Store: kept, Publisher: link, Archive: link, Names: rabbit.NamesFor(c.Namespace), Catalogue: known, Signer: made.signer,
		Policy: made.policy, Origin: made.sender.Origin, Resolver: made.resolver, Admins: made.admins,
		Limits: contract.Limits{RequestsPerSecond: c.Rate, EventsPerSecond: c.EventRate}, Log: app.Log, Metrics: app.Metrics, Now: time.Now,
	}, app.Handler())
	if err != nil {
		return at, err
	}
	if at.admin, err = app.Listen("admin", c.AdminListen, handlers.Admin); err != nil {
		return at, err
	}
	at.gateway, err = app.Listen("gateway", c.Listen, handlers.Gateway)
	return at, err
}

// mostOfAny is the highest limit that can be set.
const mostOfAny = 100_000_000

// parts are what the environment makes.
type parts struct {
	signer   *contract.Signer
	policy   *guard.Policy
	resolver *net.Resolver
	sender   contract.Sender
	admins   api.Admins
	keyring  *keyring.Keyring
}

// check reports every fault of the values at once, without the values.
func (c config) check() (made parts, err error) {
	var errs []error
	made.signer, err = contract.NewSigner([]byte(c.GatewayKey), time.Now)
	if err != nil {
		errs = append(errs, fmt.Errorf("WEBHOOK_GATEWAY_KEY: %w", err))
	}
	made.policy, err = guard.New(c.AllowCIDRs, c.AllowHTTP)
	if err != nil {
		errs = append(errs, fmt.Errorf("WEBHOOK_ALLOW_CIDRS: %w", err))
	}
	made.resolver, err = guard.NewResolver(c.DNS)
	if err != nil {
		errs = append(errs, fmt.Errorf("WEBHOOK_DNS: %w", err))
	}
	made.admins, err = api.ParseAdmins(c.AdminToken, c.AdminTokens)
	if err != nil {
		errs = append(errs, err)
	}
	for name, value := range map[string]int64{
		"WEBHOOK_CONSUMER_RATE": int64(c.Rate), "WEBHOOK_CONSUMER_EVENT_RATE": int64(c.EventRate),
		"WEBHOOK_CONSUMER_SUBSCRIPTIONS": int64(c.Subscriptions), "WEBHOOK_AUDIT_ENTRIES": c.AuditEntries,
	} {
		if value < 1 || value > mostOfAny {
			errs = append(errs, fmt.Errorf("%s: use 1 to %d", name, mostOfAny))
		}
	}
	if made.keyring, err = keyring.Load(c.Keyring, c.KeyringFile); err != nil {
		errs = append(errs, err)
	}
	if made.sender, err = contract.NewSender(c.Origin, c.PublicURL); err != nil {
		errs = append(errs, err)
	}
	return made, errors.Join(errs...)
}
