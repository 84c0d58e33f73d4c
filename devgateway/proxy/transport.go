// Package proxy carries a request to its upstream and the answer back.
package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
	"github.com/apisix-webhooks/apisix-webhooks/internal/hop"
)

const (
	maxIdlePerNode = 1024
	idleTimeout    = time.Minute // as nginx keeps upstream connections
)

// Transports keeps one connection pool per node and timeouts; pools survive a reload of the routes.
type Transports struct {
	mu    sync.Mutex
	pools map[poolKey]*direct
}

type poolKey struct {
	node    string
	timeout config.Timeout
}

// Get returns the pool of a node, made at its first use.
func (t *Transports) Get(node string, timeout config.Timeout) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := poolKey{node, timeout}
	if tr, ok := t.pools[key]; ok {
		return tr
	}
	if t.pools == nil {
		t.pools = map[poolKey]*direct{}
	}
	t.pools[key] = newTransport(node, timeout)
	return t.pools[key]
}

// Close closes the idle connections of all pools.
func (t *Transports) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tr := range t.pools {
		tr.close()
	}
}

func newTransport(node string, timeout config.Timeout) *direct {
	dialer := &net.Dialer{Timeout: timeout.Connect}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, fmt.Errorf("connecting to the upstream: %w", err)
		}
		return &upstreamConn{Conn: c, send: timeout.Send}, nil
	}
	return &direct{read: timeout.Read, pool: connections(node, dial), behind: &http.Transport{
		DialContext:           dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   maxIdlePerNode,
		IdleConnTimeout:       idleTimeout,
		ResponseHeaderTimeout: timeout.Read,
	}}
}

func connections(node string, dial func(context.Context, string, string) (net.Conn, error)) *hop.Pool {
	return &hop.Pool{
		Most: maxIdlePerNode, Idle: idleTimeout,
		Dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", node) },
	}
}

// upstreamConn bounds the time of one write. Reads can't be bounded here: the transport also reads from idle
// connections.
type upstreamConn struct {
	net.Conn
	send time.Duration
}

func (c *upstreamConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.send)); err != nil {
		return 0, fmt.Errorf("setting a deadline: %w", err)
	}
	return c.Conn.Write(p) //nolint:wrapcheck // net/http looks at the error
}

// SyscallConn is syscall.Conn's.
func (c *upstreamConn) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn() //nolint:wrapcheck // it is a *net.TCPConn
}
