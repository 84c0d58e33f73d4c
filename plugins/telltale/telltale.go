// Package telltale serves what the runner tells of itself: /healthz, /readyz and /metrics, on a listener of its own.
package telltale

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/plugins/bind"
)

// Bounds of what a client may cost.
const (
	headTimeout  = 5 * time.Second
	callTimeout  = 10 * time.Second
	idleTimeout  = 60 * time.Second
	maxHeadBytes = 16 << 10
)

// Server keeps the listener.
type Server struct {
	log    *zap.Logger
	server *http.Server
	cancel context.CancelFunc
	done   chan struct{}
}

// Serve starts to serve on an address. While the runner before this one holds the port, it tries again until it has it or is
// closed: no call waits for it.
func Serve(address string, handler http.Handler, log *zap.Logger) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{log: log, cancel: cancel, done: make(chan struct{}), server: &http.Server{
		Handler: handler, ErrorLog: zap.NewStdLog(log.Named("metrics")), ReadHeaderTimeout: headTimeout, ReadTimeout: callTimeout,
		WriteTimeout: callTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeadBytes,
	}}
	go s.run(ctx, address)
	return s
}

func (s *Server) run(ctx context.Context, address string) {
	defer close(s.done)
	listener, err := bind.Listen(ctx, address, func(err error) { s.log.Warn("the metrics wait for their port", zap.Error(err)) })
	if err != nil {
		return // closed before the port was free
	}
	if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("the metrics are not served any more", zap.Error(err))
	}
}

// Close frees the port, so that the next runner has it, and ends what is under way.
func (s *Server) Close() {
	s.cancel()
	_ = s.server.Close() // what is cut off is asked for again
	<-s.done
}
