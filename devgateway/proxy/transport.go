// Package proxy carries a request to its upstream and the answer back.
package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
	// Roots are the authorities of upstreams over TLS.
	Roots *x509.CertPool

	mu    sync.Mutex
	pools map[poolKey]*direct
}

type poolKey struct {
	upstream config.Upstream
	timeout  config.Timeout
}

// Get returns the pool of an upstream, made at its first use.
func (t *Transports) Get(upstream config.Upstream, timeout config.Timeout) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := poolKey{upstream, timeout}
	if tr, ok := t.pools[key]; ok {
		return tr
	}
	if t.pools == nil {
		t.pools = map[poolKey]*direct{}
	}
	t.pools[key] = newTransport(upstream, timeout, t.Roots)
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

func newTransport(upstream config.Upstream, timeout config.Timeout, roots *x509.CertPool) *direct {
	dialer := &net.Dialer{Timeout: timeout.Connect}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, fmt.Errorf("connecting to the upstream: %w", err)
		}
		plain := &upstreamConn{Conn: c, send: timeout.Send}
		if !upstream.Secure {
			return plain, nil
		}
		return shakeHands(ctx, plain, upstream, roots, timeout.Connect)
	}
	return &direct{read: timeout.Read, pool: connections(upstream.Node, dial), behind: &http.Transport{
		DialContext:           dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   maxIdlePerNode,
		IdleConnTimeout:       idleTimeout,
		ResponseHeaderTimeout: timeout.Read,
	}}
}

// shakeHands speaks TLS with an upstream, which must be who the node's address says.
func shakeHands(ctx context.Context, c net.Conn, upstream config.Upstream, roots *x509.CertPool, most time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	host, _, _ := net.SplitHostPort(upstream.Node) // it was dialled
	certificates, _ := upstream.Certificates()     // they were read with the file
	secured := tls.Client(c, &tls.Config{ServerName: host, RootCAs: roots, Certificates: certificates, MinVersion: tls.VersionTLS12})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake with the upstream: %w", errors.Join(err, c.Close()))
	}
	return secured, nil
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
