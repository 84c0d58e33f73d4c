package hop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// goneEvery is how often to look whether callers have hung up on calls under way.
const goneEvery = time.Second

// Server answers on one listener. Its fields are not changed once it serves; all of them are needed but Context.
type Server struct {
	Handler http.Handler
	Log     *zap.Logger
	// Context prepares a new connection for its calls.
	Context func(net.Conn) context.Context

	// HeadTimeout bounds the time from a head's first byte to its last, and the wait for the first request.
	HeadTimeout time.Duration
	// BodyTimeout bounds the time for a body, unless the handler sets a read deadline of its own.
	BodyTimeout time.Duration
	// WriteTimeout bounds each write of an answer.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection is kept between two calls.
	IdleTimeout time.Duration
	// MaxHead bounds the bytes of a head.
	MaxHead int
	// MaxConns bounds the connections; zero: any number. When all are taken, one that is idle makes room for a new one, and where
	// none is, the new one is closed.
	MaxConns int

	mu       sync.Mutex
	listener net.Listener
	peers    map[*peer]struct{}
	closing  bool
	serving  sync.WaitGroup
	stop     chan struct{} // of the watch, which lasts as long as there are calls
	watching sync.WaitGroup
}

// Serve takes connections until the server is shut down, which it returns http.ErrServerClosed for.
func (s *Server) Serve(l net.Listener) error {
	s.open(l)
	for wait := 5 * time.Millisecond; ; {
		c, err := l.Accept()
		var refused net.Error
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			s.take(c)
		case s.isClosing():
			return http.ErrServerClosed
		case errors.As(err, &refused) && refused.Temporary(): //nolint:staticcheck // as net/http: at the limit of open files it passes
			<-time.After(wait)
			wait = min(2*wait, time.Second)
		default:
			return fmt.Errorf("accepting: %w", err)
		}
	}
}

func (s *Server) open(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers == nil {
		s.peers = map[*peer]struct{}{}
	}
	if s.listener = l; s.closing {
		_ = l.Close()
		return
	}
	stop := make(chan struct{})
	s.stop = stop
	s.watching.Go(func() { s.watch(stop) })
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) take(c net.Conn) {
	socket, err := socketOf(c)
	p := &peer{Conn: c, server: s, socket: socket, ctx: context.Background(), address: c.RemoteAddr().String()}
	if s.Context != nil {
		p.ctx = s.Context(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.closing || !s.hasRoom() {
		_ = c.Close()
		return
	}
	s.peers[p] = struct{}{}
	s.serving.Go(func() { s.serve(p) })
}

// hasRoom makes room for one more connection, if it can.
func (s *Server) hasRoom() bool {
	if s.MaxConns == 0 || len(s.peers) < s.MaxConns {
		return true
	}
	for p := range s.peers {
		if p.call == nil {
			delete(s.peers, p)
			_ = p.Close()
			return true
		}
	}
	return false
}

func (s *Server) serve(p *peer) {
	defer func() {
		_ = p.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.peers, p); p.call != nil {
			p.call()
		}
	}()
	for wait := s.HeadTimeout; p.wait(wait); wait = s.IdleTimeout {
		ctx, begun := s.begin(p)
		if !begun || !p.exchange(ctx) || !s.end(p) {
			return
		}
	}
}

// begin makes a peer busy: a shutdown waits for it.
func (s *Server) begin(p *peer) (context.Context, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithCancel(p.ctx)
	if p.call = cancel; s.closing {
		cancel()
	}
	return ctx, !s.closing
}

func (s *Server) end(p *peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.call()
	p.call = nil
	return !s.closing
}

// watch ends the calls whose caller has hung up: nobody reads their connections meanwhile.
func (s *Server) watch(stop <-chan struct{}) {
	ticker := time.NewTicker(goneEvery)
	defer ticker.Stop()
	var busy []*peer
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		busy = s.busy(busy[:0])
		for _, p := range busy {
			if gone(p.socket) {
				s.cut(p)
			}
		}
		clear(busy)
	}
}

func (s *Server) busy(busy []*peer) []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.peers {
		if p.call != nil {
			busy = append(busy, p)
		}
	}
	return busy
}

func (s *Server) cut(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.call != nil {
		p.call()
	}
}

// Shutdown takes no more calls and waits for those under way, until the context ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for p := range s.peers {
		if p.call == nil {
			_ = p.Close()
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); s.ended() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts the calls under way and waits for their handlers.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for p := range s.peers {
		if _ = p.Close(); p.call != nil {
			p.call()
		}
	}
	s.mu.Unlock()
	s.ended()
	return nil
}

// ended returns once no connection is left.
func (s *Server) ended() {
	s.serving.Wait()
	s.mu.Lock()
	if s.stop != nil {
		close(s.stop)
		s.stop = nil
	}
	s.mu.Unlock()
	s.watching.Wait()
}

// peer is a connection of a caller.
type peer struct {
	net.Conn
	server  *Server
	socket  syscall.RawConn
	ctx     context.Context
	address string
	left    *reading           // has what was read beyond the last request; nil: nothing was
	call    context.CancelFunc // of the call under way; nil while idle
}
