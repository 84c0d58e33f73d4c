package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// Process is one of the project's services.
type Process[C any] struct {
	Name string
	// Start brings everything up and returns; the App keeps it running.
	Start func(ctx context.Context, config C, app *App) error
	// HealthAddress tells where /readyz is served, for the argument "healthcheck".
	HealthAddress func(config C) string
}

// base is what every service reads beside its own configuration.
type base struct {
	// `debug`, `info`, `warn` or `error`.
	LogLevel zapcore.Level `env:"WEBHOOK_LOG_LEVEL" envDefault:"info"`
	// How long a stop may take: what is under way is finished, what is not begun is left to others.
	ShutdownTimeout time.Duration `env:"WEBHOOK_SHUTDOWN_TIMEOUT" envDefault:"20s"`
	// Where profiles are served; nowhere unless set.
	PprofListen string `env:"WEBHOOK_PPROF_LISTEN"`
	// The connections of each listener; when all are taken, whoever waits longest without a request makes room.
	MaxConnections int            `env:"WEBHOOK_MAX_CONNECTIONS" envDefault:"10000"`
	Tracing        tracing.Config `envPrefix:"OTEL_"`
}

// Main runs a service until SIGTERM or SIGINT and exits: 0 after a clean stop, 1 otherwise. With the argument "healthcheck"
// it asks a running one whether it is ready, for containers without a shell.
func Main[C any](p Process[C]) {
	config, common, err := environments[C]()
	if err == nil && len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		err = healthcheck(p.HealthAddress(config))
	} else if err == nil {
		err = p.run(config, common)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
		os.Exit(1)
	}
}

// environments reads a service's own configuration and the common one, and reports the faults of both at once.
func environments[C any]() (config C, common base, err error) {
	config, err = Environment[C]()
	common, commonErr := Environment[base]()
	if commonErr == nil && common.MaxConnections < 1 {
		commonErr = errors.New("WEBHOOK_MAX_CONNECTIONS: use 1 or more")
	}
	if err != nil && commonErr != nil {
		return config, common, fmt.Errorf("%w; %w", err, commonErr)
	}
	return config, common, errors.Join(err, commonErr)
}

func (p Process[C]) run(config C, common base) error {
	BoundGarbage()
	log := EveryLine(common.LogLevel, p.Name) // every request has its line, so none is left out
	defer func() { _ = log.Sync() }()         // it never fails
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	app := New(log)
	app.Bounds.Connections = common.MaxConnections
	err := app.trace(common.Tracing, p.Name)
	if err == nil && common.PprofListen != "" {
		_, err = app.Listen("profiles", common.PprofListen, profiles())
	}
	if err == nil {
		err = p.Start(ctx, config, app)
	}
	if err == nil {
		log.Info("started")
		err = app.Wait(ctx)
	}
	if err != nil {
		log.Error("failed", zap.Error(err))
	}
	log.Info("stopping")
	return errors.Join(err, app.Stop(common.ShutdownTimeout))
}

// trace comes first of all, so that what happens while the process ends is still told.
func (a *App) trace(c tracing.Config, process string) error {
	tracer, exporting, err := tracing.Open(c, process, a.Log)
	if err != nil {
		return err
	}
	a.Trace = tracer
	a.OnStop("tracing", exporting.Close)
	return nil
}

// Environment reads a configuration from environment variables and reports all faults at once, without the values.
func Environment[C any]() (C, error) {
	config, err := env.ParseAs[C]()
	var all env.AggregateError
	if !errors.As(err, &all) {
		return config, err
	}
	texts := make([]string, len(all.Errors))
	for i, fault := range all.Errors {
		texts[i] = describe(fault, reflect.TypeFor[C]())
	}
	return config, errors.New(strings.Join(texts, "; "))
}

// describe names the variable and leaves out the value: it may be a secret.
func describe(fault error, config reflect.Type) string {
	var parse env.ParseError
	if errors.As(fault, &parse) {
		return fmt.Sprintf("%s cannot be read as a %s", variableOf(config, parse.Name), parse.Type)
	}
	return fault.Error()
}

// variableOf returns the variable that a field is read from; the library's errors know the field's name only.
func variableOf(config reflect.Type, field string) string {
	f, ok := config.FieldByName(field)
	if !ok {
		return field
	}
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	return name
}

// Logger writes JSON lines to stderr. Of many equal lines within a second it writes the first hundred and every hundredth. Sync it
// at the end: lines wait for a moment to be written together.
func Logger(level zapcore.Level, name string) *zap.Logger {
	return logger(zapcore.NewSamplerWithOptions(core(level), time.Second, 100, 100), name)
}

// EveryLine is a Logger that leaves nothing out.
func EveryLine(level zapcore.Level, name string) *zap.Logger { return logger(core(level), name) }

func core(level zapcore.Level) zapcore.Core {
	format := zap.NewProductionEncoderConfig()
	format.EncodeTime = zapcore.ISO8601TimeEncoder
	return zapcore.NewCore(zapcore.NewJSONEncoder(format), stderr, level)
}

func logger(core zapcore.Core, name string) *zap.Logger {
	return zap.New(core, zap.AddCaller(), zap.ErrorOutput(stderr)).Named(name)
}

// profiles serves what `go tool pprof` reads.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func healthcheck(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.Replace(address, "0.0.0.0", "127.0.0.1", 1)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", address, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking %s: %w", address, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", address, resp.StatusCode)
	}
	return nil
}
