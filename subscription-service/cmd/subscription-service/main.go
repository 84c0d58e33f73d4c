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
	RedisURL    string        `env:"REDIS_URL,required,notEmpty"`
	AMQPURL     string        `env:"AMQP_URL,required,notEmpty"`
	GatewayKey  string        `env:"WEBHOOK_GATEWAY_KEY"`
	GatewayKeys string        `env:"WEBHOOK_GATEWAY_KEY_FILE"`
	AdminToken  string        `env:"WEBHOOK_ADMIN_TOKEN"`
	AdminTokens []string      `env:"WEBHOOK_ADMIN_TOKENS"`
	AllowCIDRs  []string      `env:"WEBHOOK_ALLOW_CIDRS"`
	AllowHTTP   bool          `env:"WEBHOOK_ALLOW_HTTP"`
	RedisFiles  tlsconf.Files `envPrefix:"WEBHOOK_REDIS_"`
	AMQPFiles   tlsconf.Files `envPrefix:"WEBHOOK_AMQP_"`
	// TLS is that of the gateway's listener.
	TLS         tlsconf.ServerFiles `envPrefix:"WEBHOOK_TLS_"`
	Listen      string              `env:"WEBHOOK_LISTEN" envDefault:"127.0.0.1:8081"`
	AdminListen string              `env:"WEBHOOK_ADMIN_LISTEN" envDefault:"127.0.0.1:8082"`
	Keyring     string              `env:"WEBHOOK_KEYRING"`
	KeyringFile string              `env:"WEBHOOK_KEYRING_FILE"`
	DNS         string              `env:"WEBHOOK_DNS"`
	// What a consumer may use that has no limits of its own: calls and events per second, subscriptions.
	Rate          int   `env:"WEBHOOK_CONSUMER_RATE" envDefault:"1000"`
	EventRate     int   `env:"WEBHOOK_CONSUMER_EVENT_RATE" envDefault:"20000"`
	Subscriptions int   `env:"WEBHOOK_CONSUMER_SUBSCRIPTIONS" envDefault:"50000"`
	AuditEntries  int64 `env:"WEBHOOK_AUDIT_ENTRIES" envDefault:"100000"`
	// Origin and PublicURL are what endpoints learn of this installation; see contract.NewSender.
	Origin    string `env:"WEBHOOK_ORIGIN"`
	PublicURL string `env:"WEBHOOK_PUBLIC_URL"`
	// PortalAdmin is the listener of the admins' pages, "listener" or "gateway"; PortalAdminURL is where a browser finds the former.
	PortalAdmin          string   `env:"WEBHOOK_PORTAL_ADMIN" envDefault:"listener"`
	PortalAdminURL       string   `env:"WEBHOOK_PORTAL_ADMIN_URL"`
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
	app.Metrics.MustRegister(made.keyring)
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
	app.ObserveRedis(kept.Traffic)

	// Subscribing needs no broker, so the service does not wait for it.
	link := broker.New(c.AMQPURL, rabbit.Options{Namespace: c.Namespace, Name: "subscription-service", Log: app.Log, TLS: made.amqp})
	app.Go("rabbitmq", func(ctx context.Context) error { return link.Run(ctx, broker.Hold) })
	app.Health.Check("rabbitmq", link.Ready)

	known := catalogue.New(kept, app.Log)
	app.Go("catalogue", known.Run)

	handlers, err := api.New(api.Options{
		Store: kept, Publisher: link, Archive: link, Names: rabbit.NamesFor(c.Namespace), Catalogue: known, Signer: made.signer,
		Policy: made.policy, Origin: made.sender.Origin, Resolver: made.resolver, Admins: made.admins, Portal: made.portal,
		Limits: contract.Limits{RequestsPerSecond: c.Rate, EventsPerSecond: c.EventRate}, Log: app.Log, Metrics: app.Metrics, Now: time.Now,
	}, app.Handler())
	if err != nil {
		return at, err
	}
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
