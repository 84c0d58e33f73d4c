// Package service is what every process of the project shares: environment, logger, HTTP servers, health, ordered shutdown.
package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// App owns what one process started. What is registered last stops first, so that a thing stops before what it stands on.
type App struct {
	Log     *zap.Logger
	Metrics *prometheus.Registry
	Health  *Health
	// Trace makes the process's spans; nil unless the environment says where they go.
	Trace *tracing.Tracer
	// Bounds hold for what Listen serves from then on; DefaultBounds unless they are set.
	Bounds Bounds

	cut     *prometheus.CounterVec
	mu      sync.Mutex
	stops   []stop
	failure chan error
}

type stop struct {
	name string
	run  func(context.Context) error
}

// New makes an App. Its metrics start with the process's own, and with what makes it ready.
func New(log *zap.Logger) *App {
	registry := metrics.NewRegistry()
	app := &App{Log: log, Metrics: registry, Health: &Health{}, Bounds: DefaultBounds, cut: newCut(), failure: make(chan error, 1)}
	registry.MustRegister(app.cut, app.Health)
	return app
}

// OnStop registers what ends a resource. Call it the moment the resource exists.
func (a *App) OnStop(name string, run func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stops = append(a.stops, stop{name, run})
}

// Go runs a task until Stop cancels its context, and Stop waits for it. A task that ends with an error of its own ends the
// process.
func (a *App) Go(name string, task func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := task(ctx); err != nil && ctx.Err() == nil {
			a.Fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	a.OnStop(name, func(deadline context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-deadline.Done():
			return deadline.Err()
		}
	})
}

// Fail makes Wait return. Only the first failure counts.
func (a *App) Fail(err error) {
	select {
	case a.failure <- err:
	default:
	}
}

// Listen serves a handler on an address and returns the address it got; port 0 picks a free one.
func (a *App) Listen(name, address string, handler http.Handler) (string, error) {
	return a.ListenTLS(name, address, nil, handler)
}

// ListenTLS is Listen over TLS, unless the configuration is nil.
func (a *App) ListenTLS(name, address string, secure *tls.Config, handler http.Handler) (string, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		return "", fmt.Errorf("listening for %s: %w", name, err)
	}
	if secure != nil {
		listener = tls.NewListener(listener, secure)
	}
	server := a.server(name, handler)
	tellsStopping(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.Fail(fmt.Errorf("serving %s: %w", name, err))
		}
	}()
	a.OnStop(name, func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		<-done
		return err
	})
	a.Log.Info("listening", zap.String("for", name), zap.Stringer("address", listener.Addr()), zap.Bool("tls", secure != nil))
	return listener.Addr().String(), nil
}

// Wait blocks until the context ends or a part of the process fails, and returns that failure.
func (a *App) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-a.failure:
		return err
	}
}

// Stop ends everything, last registered first, all within one timeout. What does not end in time is named in the error.
func (a *App) Stop(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	a.Health.stopping.Store(true)
	a.mu.Lock()
	stops := a.stops
	a.stops = nil
	a.mu.Unlock()
	var errs []error
	for i := len(stops) - 1; i >= 0; i-- {
		if err := stops[i].run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", stops[i].name, err))
		}
	}
	return errors.Join(errs...)
}
