// Command devgateway stands in for APISIX where there is no Docker: it reads the same config.yaml and apisix.yaml and
// drives the same plugin runner over the same protocol. It is a tool for development, not a gateway for production.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "devgateway:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("devgateway", flag.ContinueOnError)
	conf := flags.String("conf", "apisix-conf", "directory with config.yaml and apisix.yaml")
	runDir := flags.String("run-dir", "", "directory for the runner's socket (default: a private temporary one)")
	drain := flags.Duration("drain", 20*time.Second, "how long calls in flight may take at the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log, err := newLogger(os.Getenv("WEBHOOK_LOG_LEVEL"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	service.BoundGarbage()
	return serve(gateway.Options{ConfDir: *conf, RunDir: *runDir, Lookup: os.LookupEnv, Log: log}, *drain)
}

// newLogger logs JSON lines to standard error. The level of config.yaml holds for the calls on top of this one.
func newLogger(level string) (*zap.Logger, error) {
	if level == "" {
		level = "info"
	}
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("WEBHOOK_LOG_LEVEL is %q: use debug, info, warn or error", level)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(parsed)
	cfg.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.DisableStacktrace = true
	log, err := cfg.Build(zap.Fields(zap.String("service", "devgateway")))
	if err != nil {
		return nil, fmt.Errorf("building the logger: %w", err)
	}
	return log, nil
}

// serve runs a gateway until SIGTERM or SIGINT. SIGHUP restarts the runner.
func serve(opts gateway.Options, drain time.Duration) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	g, err := gateway.Start(opts)
	if err != nil {
		return err
	}
	ready, cancel := context.WithCancel(context.Background())
	announced := make(chan struct{})
	go func() { defer close(announced); announce(ready, g, opts.Log) }()
	err = wait(g, signals)
	cancel()
	<-announced
	opts.Log.Info("stopping")
	ctx, stop := context.WithTimeout(context.Background(), drain)
	defer stop()
	return errors.Join(err, g.Close(ctx))
}

// announce logs that calls can come.
func announce(ctx context.Context, g *gateway.Gateway, log *zap.Logger) {
	if err := g.Ready(ctx); err != nil {
		return // it is being stopped
	}
	log.Info("listening", zap.String("address", g.Addr()), zap.String("metrics", g.MetricsAddr()),
		zap.Int("runner_pid", g.RunnerPID()))
}

func wait(g *gateway.Gateway, signals <-chan os.Signal) error {
	for {
		select {
		case err := <-g.Failed():
			return err
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return nil
			}
			g.RestartRunner()
		}
	}
}
