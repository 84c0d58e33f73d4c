// Package gateway puts the parts together: it listens, routes, runs plugins and proxies, and keeps the runner alive.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/plugin"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/runner"
	"github.com/apisix-webhooks/apisix-webhooks/internal/hop"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
)

// Options say where a gateway finds its things. Zero values have the defaults of APISIX.
type Options struct {
	ConfDir      string // with config.yaml and apisix.yaml
	RunDir       string // for the runner's socket; default: a private temporary directory
	Lookup       func(string) (string, bool)
	Log          *zap.Logger
	RespawnDelay time.Duration // default 3 s
	Poll         time.Duration // how often apisix.yaml is looked at; default 500 ms
	RunnerStop   time.Duration // between SIGTERM and SIGKILL; default 25 s
}

func (o *Options) defaults() {
	fill := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&o.RespawnDelay, 3*time.Second)
	fill(&o.Poll, 500*time.Millisecond)
	fill(&o.RunnerStop, 25*time.Second)
}

// Gateway is a running gateway.
type Gateway struct {
	opts    Options
	static  *config.Static
	env     *config.Environment
	table   atomic.Pointer[table]
	builder builder
	watcher *config.Watcher
	client  *extplugin.Client
	runner  *runner.Supervisor
	log     *zap.Logger // of the calls, at the level of config.yaml

	listeners []net.Listener
	secured   []net.Listener
	metrics   net.Listener
	servers   []server
	serving   sync.WaitGroup
	failed    chan error
	stop      context.CancelFunc
	cleanup   []func()
}

// Start reads the configuration, starts the runner and listens. What it started is stopped again where it fails.
func Start(opts Options) (*Gateway, error) {
	opts.defaults()
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{opts: opts, stop: cancel, failed: make(chan error, 1), env: config.NewEnvironment(opts.Lookup)}
	if err := g.start(ctx); err != nil {
		return nil, errors.Join(err, g.Close(closed()))
	}
	return g, nil
}

// closed is a context without time: what has not begun need not be waited for.
func closed() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func (g *Gateway) start(ctx context.Context) error {
	if err := g.read(ctx); err != nil {
		return err
	}
	if err := g.listen(); err != nil {
		return err
	}
	if err := g.startRunner(); err != nil {
		return err
	}
	for _, l := range g.listeners {
		g.serve(l, g.server())
	}
	for _, l := range g.secured {
		g.serve(l, g.secureServer())
	}
	g.serve(g.metrics, &http.Server{
		Handler: g.builder.metrics.Handler(), ReadTimeout: g.static.HeaderTimeout, WriteTimeout: metricsTimeout, IdleTimeout: g.static.Keepalive,
		MaxHeaderBytes: maxHeaders,
	})
	g.serving.Add(1)
	go g.follow(ctx)
	return nil
}

func (g *Gateway) read(closing context.Context) error {
	static, err := config.ReadStatic(g.opts.ConfDir, g.env)
	if err != nil {
		return err
	}
	g.static = static
	g.log = g.opts.Log
	if static.LogLevel > zapcore.LevelOf(g.log.Core()) {
		g.log = g.log.WithOptions(zap.IncreaseLevel(static.LogLevel))
	}
	g.builder = builder{enabled: static.Plugins, metrics: plugin.NewMetrics(), now: time.Now, closing: closing, log: g.log}
	if g.builder.transports.Roots, err = roots(static.TrustedCA); err != nil {
		return err
	}
	g.watcher = config.Watch(g.opts.ConfDir)
	rules, err := config.ReadRules(g.opts.ConfDir, g.env)
	if err != nil {
		return err
	}
	t, err := g.builder.build(rules)
	if err := errors.Join(plugin.CheckEnabled(static.Plugins), err); err != nil {
		return err
	}
	g.table.Store(t)
	return nil
}

func (g *Gateway) listen() error {
	var err error
	if g.listeners, err = g.listenAt(g.static.Listen); err != nil {
		return err
	}
	if g.secured, err = g.listenAt(g.static.ListenTLS); err != nil {
		return err
	}
	for i, l := range g.secured {
		g.secured[i] = tls.NewListener(l, g.secure())
	}
	metrics, err := g.listenAt([]string{g.static.Metrics})
	if err != nil {
		return err
	}
	g.metrics = metrics[0]
	return nil
}

func (g *Gateway) listenAt(addresses []string) ([]net.Listener, error) {
	var list []net.Listener
	for _, addr := range addresses {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listening: %w", err)
		}
		g.cleanup = append(g.cleanup, func() { _ = l.Close() })
		list = append(list, l)
	}
	return list, nil
}

// maxSocketPath is what a unix socket address has room for on all systems, less what a runner may append.
const maxSocketPath = 92

func (g *Gateway) startRunner() error {
	dir, err := g.runDir()
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, fmt.Sprintf("apisix-%d.sock", os.Getpid()))
	if len(socket) > maxSocketPath {
		return fmt.Errorf("the socket path %s is longer than %d bytes: choose a shorter run directory", socket, maxSocketPath)
	}
	g.client = extplugin.NewClient(socket, g.log)
	listed := append(append([]string(nil), g.static.RunnerEnv...), g.env.Used()...)
	g.runner, err = runner.Start(runner.Options{
		Command: g.static.RunnerCommand, Socket: socket,
		Env:          runner.Environment(listed, g.opts.Lookup, socket, extplugin.TokenLife),
		RespawnDelay: g.opts.RespawnDelay, StopTimeout: g.opts.RunnerStop,
		OnExit: g.client.Reset, Log: g.opts.Log,
	})
	return err
}

func (g *Gateway) runDir() (string, error) {
	if g.opts.RunDir != "" {
		dir, err := filepath.Abs(g.opts.RunDir)
		if err != nil {
			return "", fmt.Errorf("finding the run directory: %w", err)
		}
		return dir, os.MkdirAll(dir, 0o700)
	}
	dir, err := os.MkdirTemp("", "devgateway-")
	if err != nil {
		return "", fmt.Errorf("making a run directory: %w", err)
	}
	g.cleanup = append(g.cleanup, func() { _ = os.RemoveAll(dir) })
	return dir, nil
}

const (
	metricsTimeout = 30 * time.Second
	// maxConns is worker_connections of APISIX (10,620) for two workers; nginx also closes idle ones to make room.
	maxConns = 2 * 10_620
	// maxHeaderBytes is above what is let through: the gateway itself refuses, with 400 as nginx does.
	maxHeaderBytes = 256 << 10
)

// server is what hop's and net/http's have in common.
type server interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

func (g *Gateway) server() server {
	return &hop.Server{
		Handler: g, Log: g.log, Context: withExchange, HeadTimeout: g.static.HeaderTimeout, BodyTimeout: g.static.BodyTimeout,
		WriteTimeout: g.static.SendTimeout, IdleTimeout: g.static.Keepalive, MaxHead: maxHeaderBytes, MaxConns: maxConns,
	}
}

func (g *Gateway) serve(l net.Listener, s server) {
	g.servers = append(g.servers, s)
	g.serving.Add(1)
	go func() {
		defer g.serving.Done()
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			select {
			case g.failed <- fmt.Errorf("serving %s: %w", l.Addr(), err):
			default:
			}
		}
	}()
}

// follow takes up changes of apisix.yaml. A bad file is logged, and the last good one stays.
func (g *Gateway) follow(ctx context.Context) {
	defer g.serving.Done()
	service.Every(ctx, g.opts.Poll, func(context.Context) { g.reload() })
}

func (g *Gateway) reload() {
	text, err := g.watcher.Changed()
	if err != nil {
		g.opts.Log.Error("the routes stay as they are", zap.Error(err))
		return
	}
	if text == nil {
		return
	}
	rules, err := config.ParseRules(text, config.NewEnvironment(g.opts.Lookup))
	var t *table
	if err == nil {
		t, err = g.builder.build(rules)
	}
	if err != nil {
		g.opts.Log.Error("the routes stay as they are", zap.Error(err))
		return
	}
	g.table.Store(t)
	g.opts.Log.Info("took up new routes", zap.Int("routes", len(t.routes)))
}

// Ready waits until the runner accepts calls.
func (g *Gateway) Ready(ctx context.Context) error { return g.runner.Ready(ctx) }

// Failed tells of a listener that broke.
func (g *Gateway) Failed() <-chan error { return g.failed }

// Addr is where the gateway listens first.
func (g *Gateway) Addr() string { return g.listeners[0].Addr().String() }

// SecureAddr is where it listens first over TLS.
func (g *Gateway) SecureAddr() string { return g.secured[0].Addr().String() }

// MetricsAddr is where the metrics are.
func (g *Gateway) MetricsAddr() string { return g.metrics.Addr().String() }

// RunnerPID is the process id of the runner, 0 while there is none.
func (g *Gateway) RunnerPID() int { return g.runner.PID() }

// RestartRunner replaces the runner, as `nginx -s reload` does; plugin calls in flight get 503.
func (g *Gateway) RestartRunner() { g.runner.Restart() }

// Close stops in the order of the calls' way: it takes no more calls, waits for those in flight until ctx ends, and
// only then stops the runner that they need.
func (g *Gateway) Close(ctx context.Context) error {
	g.stop()
	var errs []error
	for _, s := range g.servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("draining: %w", err), s.Close())
		}
	}
	g.serving.Wait()
	g.builder.transports.Close() // the egress in the runner would wait for idle connections
	if g.runner != nil {
		g.runner.Stop()
	}
	if g.client != nil {
		g.client.Close()
	}
	for i := len(g.cleanup) - 1; i >= 0; i-- {
		g.cleanup[i]()
	}
	return errors.Join(errs...)
}
