package service

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Bounds are what one client may cost a server.
type Bounds struct {
	// Head bounds the time for a request's head, Read that for all of the request, and Write that until the answer is written,
	// from the head's end. Idle is how long a connection is kept between two calls.
	Head, Read, Write, Idle time.Duration
	// Rest bounds the wait for what is left of a body after the answer, for the sake of the connection.
	Rest time.Duration
	// MaxHead bounds a head, in bytes.
	MaxHead int
	// Connections bounds the connections of each listener.
	Connections int
}

// DefaultBounds suit all of the project's calls: an event's body may take 30 s, and the broker's confirm 10 s.
var DefaultBounds = Bounds{
	Head: 5 * time.Second, Read: 40 * time.Second, Write: 60 * time.Second, Idle: 120 * time.Second, Rest: time.Second,
	MaxHead: 64 << 10, Connections: 10_000,
}

// server is an HTTP server within the bounds.
func (a *App) server(name string, handler http.Handler) *http.Server {
	b := a.Bounds
	c := &crowd{most: b.Connections, cut: a.cut.MustCurryWith(prometheus.Labels{"listener": name}), guests: map[net.Conn]*guest{}}
	return &http.Server{
		Handler: c.serve(handler, b.Rest), ErrorLog: zap.NewStdLog(a.Log.Named(name)), MaxHeaderBytes: b.MaxHead,
		ReadHeaderTimeout: b.Head, ReadTimeout: b.Read, WriteTimeout: b.Write, IdleTimeout: b.Idle,
		ConnState: c.state, ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
}

func newCut() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhook_connections_cut_total",
		Help: "Connections that were ended: head, in the middle of a request's head (too slow, too long, no HTTP); full, to make room for another.",
	}, []string{"listener", "reason"})
}

type connKey struct{}

// crowd bounds a server's connections. When all places are taken, the connection that has waited longest outside of a call gives
// up its own, be it idle or slow to say what it wants: so slow clients keep nobody out.
type crowd struct {
	most int
	cut  *prometheus.CounterVec

	mu      sync.Mutex
	guests  map[net.Conn]*guest
	waiting list.List // of guests outside of a call
}

type guest struct {
	conn  net.Conn
	place *list.Element // nil in a call
	begun bool          // its request has begun
}

// state follows a connection; it is http.Server's ConnState.
func (c *crowd) state(conn net.Conn, state http.ConnState) {
	if full := c.follow(conn, state); full != nil {
		c.cut.WithLabelValues("full").Inc()
		_ = full.Close()
	}
}

// follow returns a connection to close for the sake of a new one.
func (c *crowd) follow(conn net.Conn, state http.ConnState) (full net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.guests[conn]
	switch {
	case state == http.StateNew:
		g = &guest{conn: conn}
		c.guests[conn], g.place = g, c.waiting.PushBack(g)
		return c.tooMany()
	case g == nil: // it has given up its place
	case state == http.StateActive:
		g.begun = true
	case state == http.StateIdle:
		c.leave(g)
		g.begun, g.place = false, c.waiting.PushBack(g)
	default: // closed
		if g.place != nil && g.begun {
			c.cut.WithLabelValues("head").Inc()
		}
		c.leave(g)
		delete(c.guests, conn)
	}
	return nil
}

func (c *crowd) tooMany() net.Conn {
	if len(c.guests) <= c.most {
		return nil
	}
	first := c.waiting.Front().Value.(*guest) // the newcomer, if all others are in calls
	c.leave(first)
	delete(c.guests, first.conn)
	return first.conn
}

func (c *crowd) leave(g *guest) {
	if g.place != nil {
		c.waiting.Remove(g.place)
		g.place = nil
	}
}

// serve keeps the place of a connection while its call is under way.
func (c *crowd) serve(next http.Handler, rest time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		c.mu.Lock()
		if g := c.guests[conn]; g != nil {
			c.leave(g)
		}
		c.mu.Unlock()
		next.ServeHTTP(w, r)
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(rest)) // the server sets another for the next request
	})
}
