// Command callback-service consumes callback commands, signs the requests and makes them through the gateway.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/consent"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/delivery"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/mailroom"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/token"
	"github.com/apisix-webhooks/apisix-webhooks/internal/broker"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/stats"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

type config struct {
	RedisURL string `env:"REDIS_URL,required,notEmpty"`
	AMQPURL  string `env:"AMQP_URL,required,notEmpty"`
	// Where the gateway takes callbacks.
	GatewayURL string `env:"WEBHOOK_GATEWAY_URL" envDefault:"http://127.0.0.1:9080"`
	// The keys of statements about callbacks, 32 bytes or more each, separated by commas; the first one signs. This or the file is needed.
	CallbackKey string `env:"WEBHOOK_CALLBACK_KEY"`
	// The keys of statements about callbacks, a line each, in a file that is followed while the process runs.
	CallbackKeys string        `env:"WEBHOOK_CALLBACK_KEY_FILE"`
	RedisFiles   tlsconf.Files `envPrefix:"WEBHOOK_REDIS_"`
	AMQPFiles    tlsconf.Files `envPrefix:"WEBHOOK_AMQP_"`
	// The gateway over TLS, where its URL is `https`; an absolute path of a PEM file.
	GatewayFiles  tlsconf.Files `envPrefix:"WEBHOOK_GATEWAY_TLS_"`
	Keyring       string        `env:"WEBHOOK_KEYRING"`
	KeyringFile   string        `env:"WEBHOOK_KEYRING_FILE"`
	MetricsListen string        `env:"WEBHOOK_METRICS_LISTEN" envDefault:"127.0.0.1:8084"`
	// The waits between a delivery's attempts, where neither the subscription nor the resource's policy has any.
	Schedule []time.Duration `env:"WEBHOOK_RETRY_SCHEDULE" envDefault:"5s,30s,2m,10m,1h,3h,6h,12h,24h"`
	// How long an attempt may take, where neither the subscription nor the resource's policy says.
	Timeout time.Duration `env:"WEBHOOK_CALLBACK_TIMEOUT" envDefault:"15s"`
	// How many commands are taken from the broker and not settled, those that wait for their turn included.
	InFlight int `env:"WEBHOOK_MAX_IN_FLIGHT" envDefault:"12000"`
	// Deliveries per second of very large fan-outs that begin in this process; 0 is 125 for each of its CPUs.
	BulkRate float64 `env:"WEBHOOK_BULK_RATE" envDefault:"0"`
	// A subscription with nothing but failures for so long is disabled.
	DisableAfter time.Duration `env:"WEBHOOK_DISABLE_AFTER" envDefault:"120h"`
	AuditEntries int64         `env:"WEBHOOK_AUDIT_ENTRIES" envDefault:"100000"`
	Shutdown     time.Duration `env:"WEBHOOK_SHUTDOWN_TIMEOUT" envDefault:"20s"`
	Origin       string        `env:"WEBHOOK_ORIGIN"`
	PublicURL    string        `env:"WEBHOOK_PUBLIC_URL"`
	// The waits between questions for an endpoint's consent, up to 10.
	Questions []time.Duration `env:"WEBHOOK_VERIFICATION_SCHEDULE" envDefault:"5s,30s,2m,10m"`
	// Which attempts have a line in the log: `all`, or `failed` for those that did not succeed.
	LogAttempts string `env:"WEBHOOK_LOG_ATTEMPTS" envDefault:"all"`
	// Namespace is the tests' own; production has the default one.
	Namespace string
}

// bulkPerCPU deliveries per second cost about an eighth of a CPU: it was measured that other events hardly feel that.
const bulkPerCPU = 125

// transformsKept is how many different transforms stay compiled; one takes 2 KiB and more.
const transformsKept = 10_000

func main() {
	service.Main(service.Process[config]{
		Name: "callback-service",
		Start: func(ctx context.Context, c config, app *service.App) error {
			_, err := start(ctx, c, app)
			return err
		},
		HealthAddress: func(c config) string { return c.MetricsListen },
	})
}

// start returns the address of health and metrics.
func start(_ context.Context, c config, app *service.App) (address string, err error) {
	made, err := c.check(app.Log)
	if err != nil {
		return "", err
	}
	client := made.gateway
	client.Trace = app.Trace
	app.OnStop("gateway connections", func(context.Context) error { client.Close(); return nil })
	app.Metrics.MustRegister(made.keyring, tlsconf.NewCertificates(nil, made.redis, made.amqp, made.gateway.TLS))
	app.Go("key ring", func(ctx context.Context) error { return made.keyring.Run(ctx, app.Log) })
	app.Go("keys", func(ctx context.Context) error { return c.keys().Follow(ctx, made.signer, app.Log) })
	kept, err := store.Open(store.Options{
		URL: c.RedisURL, Namespace: c.Namespace, Service: "callback-service", AuditEntries: c.AuditEntries, Keyring: made.keyring, TLS: made.redis,
	})
	if err != nil {
		return "", err
	}
	app.OnStop("redis", func(context.Context) error { return kept.Close() })
	app.Health.Check("redis", kept.Writable)
	app.Health.Check("keyring", kept.Unlocks)
	app.Metrics.MustRegister(kept)
	if address, err = app.Listen("metrics", c.MetricsListen, app.Handler()); err != nil {
		return "", err
	}

	link := broker.New(c.AMQPURL, rabbit.Options{Namespace: c.Namespace, Name: "callback-service", Log: app.Log, TLS: made.amqp})
	app.Health.Check("rabbitmq", link.Ready)
	app.Metrics.MustRegister(link.Metrics())
	names := rabbit.NamesFor(c.Namespace)
	app.Go("queue depths", func(ctx context.Context) error { return link.Watch(ctx, names.OfCallbacks()...) })
	tokens := token.New(client, time.Now)
	transforms := expr.NewCache(transformsKept)
	app.Metrics.MustRegister(tokens, transforms)
	counter := stats.New(kept, app.Log, time.Now)
	app.Go("statistics", counter.Run)
	engine := delivery.New(delivery.Options{
		Store: kept, Gateway: client, Transforms: transforms, Log: app.Log, Metrics: delivery.NewMetrics(app.Metrics), Policy: c.policy(), InFlight: c.InFlight, BulkRate: cmp.Or(c.BulkRate, bulkPerCPU*float64(runtime.GOMAXPROCS(0))),
		DisableAfter: c.DisableAfter, Drain: c.Shutdown * 9 / 10, Now: time.Now, // the rest is for what stops after it
		Origin: made.sender.Origin, Tokens: tokens, Stats: counter, Replica: replica(), Trace: app.Trace, QuietSuccess: c.LogAttempts == logFailed,
	})
	asker := consent.New(consent.Options{
		Store: kept, Gateway: client, Tokens: tokens, Publisher: link, Names: names, Signer: made.signer, Sender: made.sender, Waits: c.Questions,
		Timeouts: c.policy().Timeouts, Log: app.Log, Metrics: consent.NewMetrics(app.Metrics), Now: time.Now,
	})
	app.Go("consents", asker.Run)
	sweeper := mailroom.New(mailroom.Options{Store: kept, Publisher: link, Names: names, Log: app.Log, Metrics: app.Metrics, Now: time.Now})
	app.Go("mailboxes", sweeper.Run)
	app.Health.Check("gateway", engine.Ready)
	app.Go("deliveries", func(ctx context.Context) error {
		return link.Run(ctx, func(ctx context.Context, conn *rabbit.Conn) error { return engine.Run(ctx, conn) })
	})
	return address, nil
}

// replica is this process's name for admins.
func replica() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

// policy is how deliveries are attempted where neither subscription nor resource says otherwise.
func (c config) policy() contract.DeliveryPolicy {
	total := contract.Duration(c.Timeout)
	p := contract.DeliveryPolicy{
		RetrySchedule: []contract.Duration{},
		Timeouts:      contract.Timeouts{Connect: min(total, contract.Duration(connectTimeout)), Header: total, Total: total},
	}
	for _, wait := range c.Schedule {
		p.RetrySchedule = append(p.RetrySchedule, contract.Duration(wait))
	}
	return p
}

// connectTimeout bounds DNS, TCP and TLS of an attempt.
const connectTimeout = 5 * time.Second

// keys are those of the statements about callbacks.
func (c config) keys() service.Keys {
	return service.Keys{Variable: "WEBHOOK_CALLBACK_KEY", Value: c.CallbackKey, File: c.CallbackKeys}
}

// parts are what the configuration makes.
type parts struct {
	signer      *contract.Signer
	gateway     *gateway.Client
	sender      contract.Sender
	redis, amqp *tlsconf.Client
	keyring     *keyring.Keyring
}

// check makes the parts, or reports every fault of the values at once, without the values.
func (c config) check(log *zap.Logger) (made parts, err error) {
	var faults [7]error
	made.signer, faults[0] = c.keys().Signer()
	if made.gateway, faults[1] = gateway.New(c.GatewayURL, made.signer, c.InFlight); faults[1] != nil {
		faults[1] = fmt.Errorf("WEBHOOK_GATEWAY_URL: %w", faults[1])
	} else {
		made.gateway.TLS, faults[2] = tlsconf.NewClient(tlsconf.Where{Variable: "WEBHOOK_GATEWAY_URL", URL: c.GatewayURL, Prefix: "WEBHOOK_GATEWAY_TLS_"}, c.GatewayFiles, log)
	}
	made.redis, faults[3] = tlsconf.NewClient(tlsconf.Redis(c.RedisURL), c.RedisFiles, log)
	made.amqp, faults[4] = tlsconf.NewClient(tlsconf.AMQP(c.AMQPURL), c.AMQPFiles, log)
	made.keyring, faults[5] = keyring.Load(c.Keyring, c.KeyringFile)
	made.sender, faults[6] = contract.NewSender(c.Origin, c.PublicURL)
	return made, errors.Join(append(c.bounds(), faults[:]...)...)
}

func (c config) bounds() []error {
	var errs []error
	tooShort := func(wait time.Duration) bool { return wait <= 0 }
	if slices.ContainsFunc(c.Schedule, tooShort) {
		errs = append(errs, errors.New("WEBHOOK_RETRY_SCHEDULE: every wait must be positive, as in 5s,30s,2m"))
	}
	if len(c.Questions) > mostQuestions || slices.ContainsFunc(c.Questions, tooShort) {
		errs = append(errs, fmt.Errorf("WEBHOOK_VERIFICATION_SCHEDULE: use up to %d waits, each positive, as in 5s,30s,2m", mostQuestions))
	}
	if c.Timeout < time.Second || c.Timeout > 55*time.Second {
		errs = append(errs, errors.New("WEBHOOK_CALLBACK_TIMEOUT: use 1s to 55s"))
	}
	if c.InFlight < 1 || c.InFlight > 65535 {
		errs = append(errs, errors.New("WEBHOOK_MAX_IN_FLIGHT: use 1 to 65535"))
	}
	if !(c.BulkRate == 0 || c.BulkRate >= 1) { // neither is NaN
		errs = append(errs, errors.New("WEBHOOK_BULK_RATE: use 1 or more, deliveries per second, or 0 for what suits the CPUs"))
	}
	if c.DisableAfter <= 0 {
		errs = append(errs, errors.New("WEBHOOK_DISABLE_AFTER: must be positive, as in 120h"))
	}
	if !slices.Contains([]string{"", "all", logFailed}, c.LogAttempts) {
		errs = append(errs, errors.New("WEBHOOK_LOG_ATTEMPTS: use all or failed"))
	}
	if c.AuditEntries < 1 {
		errs = append(errs, errors.New("WEBHOOK_AUDIT_ENTRIES: use 1 or more"))
	}
	if c.Shutdown <= 0 {
		errs = append(errs, errors.New("WEBHOOK_SHUTDOWN_TIMEOUT: must be positive, as in 20s"))
	}
	return errs
}

const logFailed = "failed"

// mostQuestions bounds how often an endpoint is asked in one round.
const mostQuestions = 10
