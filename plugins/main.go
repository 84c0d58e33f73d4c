// Command webhook-runner is the Go side of the gateway: the plugins webhook-subscribe and webhook-callback, which APISIX
// asks over a socket, and the egress, by which callbacks leave.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	runnerlog "github.com/apache/apisix-go-plugin-runner/pkg/log"
	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"
	"github.com/apache/apisix-go-plugin-runner/pkg/runner"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/bearer"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/callbackproxy"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/egress"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/once"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/subscribe"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/telltale"
)

const (
	// drainTimeout is how long calls under way may take after SIGTERM.
	drainTimeout = 20 * time.Second
	// redeemTimeout is how long of it calls with a pass have to reach the egress.
	redeemTimeout = 2 * time.Second
	// usedStatements bounds the statements that are remembered as used: 20,000 callbacks per second, 16 MiB.
	usedStatements = 1 << 20
	// orphanEvery is how often to look whether the gateway still lives.
	orphanEvery = time.Second
)

func main() {
	service.BoundGarbage()
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "webhook-runner: %v\n", err)
		os.Exit(1)
	}
}

// run lasts until SIGTERM or SIGINT. A fault of the environment does not end it: APISIX would start it again and again, and
// the reason would drown. Every call is refused instead.
func run() error {
	env, logging, fault := readEnvironment()
	log := service.Logger(logging.Level, "webhook-runner").WithOptions(zap.WrapCore(sampled))
	defer func() { _ = log.Sync() }() // it never fails
	calls := service.EveryLine(logging.Level, "webhook-runner")
	tracer, exporting := trace(log)
	defer func() { _ = exporting.Close(context.Background()) }() // it never fails, and ends soon
	runnerlog.NewLogger(logging.Level, os.Stderr)                // before its first use: by itself the library logs every call
	socket, err := privateSocket()
	if err != nil {
		return err
	}
	r := assemble(env, fault, log)
	r.watched(tracer, calls.Named("egress"))
	if err := r.register(); err != nil {
		return err
	}
	r.start(env)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		if err := socket.publish(stop); err != nil {
			log.Error("the gateway cannot reach this runner", zap.Error(err))
		}
	}()
	go watchParent(os.Getppid(), stop)
	following := r.follow(env)
	defer following()
	runner.Run(runner.RunnerConfig{LogLevel: logging.Level, LogOutput: os.Stderr})
	return r.drain()
}

// sampled keeps a line that each call would repeat, as while Redis is down, to a few per second.
func sampled(core zapcore.Core) zapcore.Core {
	return zapcore.NewSamplerWithOptions(core, time.Second, 5, 1000)
}

// process is what one runner consists of.
type process struct {
	log      *zap.Logger
	gate     *filter.Gate
	book     *pass.Book
	parts    parts
	tokens   *bearer.Verifier
	server   *egress.Server
	handlers map[string]filter.Handler
	registry *prometheus.Registry
	health   *service.Health
	tracer   *tracing.Tracer
	calls    *zap.Logger      // of each call, none left out
	tells    *telltale.Server // nil: nowhere
}

func assemble(env environment, fault error, log *zap.Logger) *process {
	made, wrong := env.build(log)
	fault = errors.Join(fault, wrong)
	p := &process{log: log, book: pass.NewBook(time.Now), gate: filter.NewGate(log, fault), registry: metrics.NewRegistry(), health: &service.Health{}}
	p.observe(fault)
	if fault != nil {
		p.handlers = map[string]filter.Handler{subscribe.Name: nil, callbackproxy.Name: nil} // never reached: the gate refuses
		return p
	}
	p.parts = made
	if made.keys == nil {
		log.Warn(errNoKeyring.Error())
	}
	p.tokens = bearer.NewVerifier(bearer.Options{AllowHTTP: env.AllowHTTP, Now: time.Now, Log: log})
	p.gate.OnConfig(p.adopt)
	callers := subscribe.New(p.parts.gateway, p.parts.callback, p.parts.store, p.tokens, time.Now, log)
	used := once.New(contract.CallbackLife+2*contract.StatementLeeway, usedStatements, time.Now)
	p.handlers = map[string]filter.Handler{
		subscribe.Name: callers,
		callbackproxy.Name: &callbackproxy.Handler{
			Signer: p.parts.callback, Policy: p.parts.policy, Book: p.book, Log: log, Used: used,
			Ready: func() bool { return p.server.Ready() },
		},
	}
	p.registry.MustRegister(p.parts.store, p.tokens, callers, used, tlsconf.NewCertificates(nil, p.parts.redis))
	if made.keys != nil {
		p.registry.MustRegister(made.keys)
	}
	return p
}

// adopt makes ready what a configuration needs.
func (p *process) adopt(c filter.Config) error {
	if c.Issuers == nil {
		return nil
	}
	return p.tokens.Adopt(c.Issuers)
}

func (p *process) register() error {
	for name, handler := range p.handlers {
		if err := plugin.RegisterPlugin(p.gate.Plugin(name, handler)); err != nil {
			return fmt.Errorf("registering %s: %w", name, err)
		}
	}
	return nil
}

// start brings the egress up, unless nothing could ever be let out, and tells of the runner.
func (p *process) start(env environment) {
	if p.parts.policy != nil {
		options := egress.Options{
			Book: p.book, Policy: p.parts.policy, Resolver: p.parts.resolver, Proxy: p.parts.proxy, Certificates: certificates{p.parts.store, p.parts.keys != nil},
			Trace: p.tracer, Log: p.calls,
		}
		door := egress.New(options)
		p.registry.MustRegister(door)
		p.server = egress.Serve(env.Egress, door, p.log)
	}
	if env.checkMetrics() == nil && env.Metrics != noMetrics {
		p.tells = telltale.Serve(env.Metrics, service.HandlerOf(p.health, p.registry), p.log)
	}
}

// follow keeps the keys of statements and the key ring as their files are, until the function that it returns is called.
func (p *process) follow(env environment) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for signer, keys := range map[*contract.Signer]service.Keys{p.parts.gateway: env.gatewayKeys(), p.parts.callback: env.callbackKeys()} {
		if signer != nil {
			all.Go(func() { _ = keys.Follow(ctx, signer, p.log) }) // it only ever ends with the context
		}
	}
	if p.parts.keys != nil {
		all.Go(func() { _ = p.parts.keys.Run(ctx, p.log) }) // likewise
	}
	return func() { cancel(); all.Wait() }
}

// drain lets what is under way end: first the plugins' calls and the calls with a pass, then the egress's, then
// the fetching of issuers' keys and Redis.
func (p *process) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if p.tells != nil {
		p.tells.Close() // the next runner waits for its port
	}
	if p.server != nil {
		p.server.Refuse()
	}
	p.settle(ctx)
	var err error
	if p.server != nil {
		err = p.server.Shutdown(ctx)
	}
	if p.tokens != nil {
		p.tokens.Close()
	}
	if p.parts.store != nil {
		_ = p.parts.store.Close() // nobody asks it any more
	}
	return err
}

// settle waits until for a moment no call is inside a plugin and no pass is outstanding. A pass whose caller went away
// holds it up only for redeemTimeout.
func (p *process) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, redeemTimeout)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for quiet := 0; quiet < 5; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		quiet++
		if p.gate.InFlight() > 0 || p.book.Outstanding() > 0 {
			quiet = 0
		}
	}
}

// watchParent ends the process when the gateway that started it is gone: an orphan would hold the egress's port, and the
// next gateway's runner could let nothing out.
func watchParent(parent int, stop <-chan struct{}) {
	ticker := time.NewTicker(orphanEvery)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			if os.Getppid() != parent {
				_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) // ourselves: always allowed
				return
			}
		}
	}
}
