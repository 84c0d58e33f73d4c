package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/hop"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/bind"
)

const (
	headTimeout  = 5 * time.Second
	bodyTimeout  = 60 * time.Second
	replyTimeout = 30 * time.Second
	// keepAlive is longer than the gateway keeps a connection, so that it is the gateway who hangs up.
	keepAlive = 120 * time.Second
	// maxConns is above maxCalls: a connection that makes no call costs little.
	maxConns = maxCalls + 2000
)

// newFront is the server before the egress.
func newFront(handler http.Handler, log *zap.Logger) *hop.Server {
	return &hop.Server{
		Handler: handler, Log: log, HeadTimeout: headTimeout, BodyTimeout: bodyTimeout, WriteTimeout: replyTimeout,
		IdleTimeout: keepAlive, MaxHead: maxHeaderBytes, MaxConns: maxConns,
	}
}

// Server keeps an Egress on its port.
type Server struct {
	log     *zap.Logger
	address string
	egress  *Egress
	server  *hop.Server
	ready   atomic.Bool
	cancel  context.CancelFunc
	done    chan struct{}
	bound   chan net.Addr
}

// Serve starts to serve an egress on an address. While somebody else holds the port, as a runner does that is about to end
// after a reload, it tries again until it has it or is shut down.
func Serve(address string, egress *Egress, log *zap.Logger) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		log: log, address: address, egress: egress, cancel: cancel, done: make(chan struct{}), bound: make(chan net.Addr, 1),
		server: newFront(egress, log.Named("egress")),
	}
	go s.run(ctx)
	return s
}

// Ready reports whether the egress listens.
func (s *Server) Ready() bool { return s.ready.Load() }

func (s *Server) run(ctx context.Context) {
	defer close(s.done)
	listener, err := bind.Listen(ctx, s.address, func(err error) {
		s.log.Warn("the egress waits for its port: callbacks are refused until then", zap.Error(err))
	})
	if err != nil {
		return // shut down before the port was free
	}
	s.bound <- listener.Addr()
	s.ready.Store(true)
	if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("the egress ended: callbacks are refused", zap.Error(err))
	}
	s.ready.Store(false)
}

// Refuse makes Ready false while the port stays open, so that calls with a pass still get through.
func (s *Server) Refuse() { s.ready.Store(false) }

// Shutdown frees the port and waits for the calls under way. Those that last beyond the context are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.ready.Store(false)
	s.cancel()
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("waiting for callbacks under way: %w", err), s.server.Close())
	}
	<-s.done
	s.egress.Close()
	return err
}
