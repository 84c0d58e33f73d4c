// Command subscription-service serves the consumers' API to the gateway and the admins' API on a listener of its own.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/broker"
	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/portal"
)

type config struct {
	// The Redis that keeps everything: `redis://:password@host:6379/0`, or `rediss://` with TLS.
	RedisURL string `env:"REDIS_URL,required,notEmpty"`
	// The RabbitMQ: `amqp://user:password@host:5672/`, or `amqps://` with TLS.
	AMQPURL string `env:"AMQP_URL,required,notEmpty"`
	// The keys of statements about callers, 32 bytes or more each, separated by commas; the first one signs. This or the file is needed.
	GatewayKey string `env:"WEBHOOK_GATEWAY_KEY"`
	// The keys of statements about callers, a line each, in a file that is followed while the process runs.
	GatewayKeys string `env:"WEBHOOK_GATEWAY_KEY_FILE"`
	// The admin's token. This or `WEBHOOK_ADMIN_TOKENS` is needed.
	AdminToken string `env:"WEBHOOK_ADMIN_TOKEN"`
	// Admins with names for the audit log: `alice:TOKEN,bob:sha256:HEX`, HEX as `printf %s TOKEN | sha256sum` prints it.
	AdminTokens []string `env:"WEBHOOK_ADMIN_TOKENS"`
	// Private networks that may be called, as `10.0.0.0/8,fd00::/8`. A cloud's metadata service needs its own `/32` or `/128`.
	AllowCIDRs []string `env:"WEBHOOK_ALLOW_CIDRS"`
	// Whether callbacks may go to `http`.
	AllowHTTP bool `env:"WEBHOOK_ALLOW_HTTP"`
	// Redis over TLS, an absolute path of a PEM file.
	RedisFiles tlsconf.Files `envPrefix:"WEBHOOK_REDIS_"`
	// RabbitMQ over TLS, an absolute path of a PEM file; with a certificate and no user in the URL the certificate signs in (SASL EXTERNAL).
	AMQPFiles tlsconf.Files `envPrefix:"WEBHOOK_AMQP_"`
	// The gateway's listener with TLS, an absolute path of a PEM file.
	TLS tlsconf.ServerFiles `envPrefix:"WEBHOOK_TLS_"`
	// The listener that the gateway calls.
	Listen string `env:"WEBHOOK_LISTEN" envDefault:"127.0.0.1:8081"`
	// The admins' listener, with health and metrics; no route of the gateway leads there.
	AdminListen string `env:"WEBHOOK_ADMIN_LISTEN" envDefault:"127.0.0.1:8082"`
	// The key ring that seals secrets at rest: `id:base64 of 32 bytes`, separated by commas; the first one seals. This or the file is needed, by the runner for client certificates only.
	Keyring string `env:"WEBHOOK_KEYRING"`
	// The key ring, a line for each key, in a file of mode 600 (or 440) that is followed while the process runs.
	KeyringFile string `env:"WEBHOOK_KEYRING_FILE"`
	// The DNS server that looks up the hosts of callbacks, as `10.0.0.53:53`; the system's unless set.
	DNS string `env:"WEBHOOK_DNS"`
	// Calls per second of a consumer that has no limit of its own.
	Rate int `env:"WEBHOOK_CONSUMER_RATE" envDefault:"1000"`
	// Events per second over HTTP of a consumer that has no limit of its own.
	EventRate int `env:"WEBHOOK_CONSUMER_EVENT_RATE" envDefault:"20000"`
	// Subscriptions of a consumer that has no limit of its own.
	Subscriptions int `env:"WEBHOOK_CONSUMER_SUBSCRIPTIONS" envDefault:"50000"`
	// How many audit entries are kept of each kind: what admins, consumers and the service did, and what was refused.
	AuditEntries int64 `env:"WEBHOOK_AUDIT_ENTRIES" envDefault:"100000"`
	// The DNS name in `WebHook-Request-Origin`; the host of `WEBHOOK_PUBLIC_URL` if that is a name, else `apisix-webhooks`.
	Origin string `env:"WEBHOOK_ORIGIN"`
	// The gateway as the world sees it, as `https://hooks.example.com`: for links to it.
	PublicURL string `env:"WEBHOOK_PUBLIC_URL"`
	// Where the portal's pages for admins are: `listener`, the admins' own, or `gateway`, where the world can reach them.
	PortalAdmin string `env:"WEBHOOK_PORTAL_ADMIN" envDefault:"listener"`
	// The admins' listener as a browser finds it, as `https://admin.example.com`; unless set, the address at which a link was asked for.
	PortalAdminURL string `env:"WEBHOOK_PORTAL_ADMIN_URL"`
	// Origins whose pages may embed the portal, as `https://app.example.com`. Embedding wants https.
	PortalFrameAncestors []string `env:"WEBHOOK_PORTAL_FRAME_ANCESTORS"`
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
	made, err := c.check(app.Log)
	if err != nil {
		return at, err
	}
	app.Metrics.MustRegister(made.keyring, tlsconf.NewCertificates(made.listener, made.redis, made.amqp))
	app.Go("key ring", func(ctx context.Context) error { return made.keyring.Run(ctx, app.Log) })
	app.Go("keys", func(ctx context.Context) error { return c.keys().Follow(ctx, made.signer, app.Log) })
	kept, err := store.Open(store.Options{
		URL: c.RedisURL, Namespace: c.Namespace, Service: "subscription-service", AuditEntries: c.AuditEntries, MaxSubscriptions: c.Subscriptions,
		Keyring: made.keyring, TLS: made.redis,
	})
	if err != nil {
		return at, err
	}
	app.OnStop("redis", func(context.Context) error { return kept.Close() })
	app.Health.Check("redis", kept.Writable)
	app.Health.Check("keyring", kept.Unlocks)
	memory := store.NewMemory(kept)
	app.Metrics.MustRegister(kept, memory)
	app.Go("redis memory", func(ctx context.Context) error { return memory.Run(ctx, app.Log) })

	// Subscribing needs no broker, so the service does not wait for it.
	link := broker.New(c.AMQPURL, rabbit.Options{Namespace: c.Namespace, Name: "subscription-service", Log: app.Log, TLS: made.amqp})
	app.Metrics.MustRegister(link.Metrics())
	app.Go("queue depths", func(ctx context.Context) error { return link.Watch(ctx, rabbit.NamesFor(c.Namespace).OfOperators()...) })
	app.Go("rabbitmq", func(ctx context.Context) error { return link.Run(ctx, broker.Hold) })
	app.Health.Check("rabbitmq", link.Ready)

	known := catalogue.New(kept, app.Log)
	app.Go("catalogue", known.Run)

	handlers, err := api.New(api.Options{
		Store: kept, Publisher: link, Archive: link, Queues: link, Names: rabbit.NamesFor(c.Namespace), Catalogue: known, Signer: made.signer,
		Policy: made.policy, Origin: made.sender.Origin, Resolver: made.resolver, Admins: made.admins, Portal: made.portal,
		Limits: contract.Limits{RequestsPerSecond: c.Rate, EventsPerSecond: c.EventRate}, Log: app.Log, Trace: app.Trace, Metrics: app.Metrics, Now: time.Now,
	}, app.Handler())
	if err != nil {
		return at, err
	}
	app.Go("streams", handlers.Run)
	pages, err := portal.New(portal.Options{
		API: handlers, Store: kept, Admins: made.admins, At: made.portal, FrameAncestors: c.PortalFrameAncestors, Log: app.Log, Now: time.Now,
	})
	if err != nil {
		return at, err
	}
	pages.Mount(handlers)
	if at.admin, err = app.Listen("admin", c.AdminListen, handlers.Admin); err != nil {
		return at, err
	}
	at.gateway, err = app.ListenTLS("gateway", c.Listen, made.listener, handlers.Gateway)
	return at, err
}

// mostOfAny is the highest limit that can be set.
const mostOfAny = 100_000_000

// keys are those of the statements about callers.
func (c config) keys() service.Keys {
	return service.Keys{Variable: "WEBHOOK_GATEWAY_KEY", Value: c.GatewayKey, File: c.GatewayKeys}
}

// parts are what the configuration makes.
type parts struct {
	signer      *contract.Signer
	policy      *guard.Policy
	resolver    *net.Resolver
	sender      contract.Sender
	admins      api.Admins
	portal      api.PortalOptions
	keyring     *keyring.Keyring
	redis, amqp *tlsconf.Client
	listener    *tls.Config // nil: without TLS
}

// check reports every fault of the values at once, without the values.
func (c config) check(log *zap.Logger) (made parts, err error) {
	var errs [11]error
	made.signer, errs[0] = c.keys().Signer()
	if made.policy, err = guard.New(c.AllowCIDRs, c.AllowHTTP); err != nil {
		errs[1] = fmt.Errorf("WEBHOOK_ALLOW_CIDRS: %w", err)
	}
	made.admins, errs[2] = api.ParseAdmins(c.AdminToken, c.AdminTokens)
	if made.resolver, err = guard.NewResolver(c.DNS); err != nil {
		errs[6] = fmt.Errorf("WEBHOOK_DNS: %w", err)
	}
	made.keyring, errs[7] = keyring.Load(c.Keyring, c.KeyringFile)
	made.sender, errs[8] = contract.NewSender(c.Origin, c.PublicURL)
	made.portal, errs[9] = portal.Where(made.sender.URL, c.PortalAdminURL, c.PortalAdmin)
	errs[10] = portal.CheckAncestors(c.PortalFrameAncestors)
	made.redis, errs[3] = tlsconf.NewClient(tlsconf.Redis(c.RedisURL), c.RedisFiles, log)
	made.amqp, errs[4] = tlsconf.NewClient(tlsconf.AMQP(c.AMQPURL), c.AMQPFiles, log)
	made.listener, errs[5] = tlsconf.NewServer("WEBHOOK_TLS_", c.TLS, log)
	return made, errors.Join(append(errs[:], c.checkLimits())...)
}

func (c config) checkLimits() error {
	var errs []error
	for name, value := range map[string]int64{
		"WEBHOOK_CONSUMER_RATE": int64(c.Rate), "WEBHOOK_CONSUMER_EVENT_RATE": int64(c.EventRate),
		"WEBHOOK_CONSUMER_SUBSCRIPTIONS": int64(c.Subscriptions), "WEBHOOK_AUDIT_ENTRIES": c.AuditEntries,
	} {
		if value < 1 || value > mostOfAny {
			errs = append(errs, fmt.Errorf("%s: use 1 to %d", name, mostOfAny))
		}
	}
	return errors.Join(errs...)
}
