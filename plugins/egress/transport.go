package egress

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
)

const (
	// idleTimeout is less than the five seconds after which Node.js and Apache hang up by default: a call that is sent just
	// as the endpoint hangs up would be lost, and a POST must not be sent twice.
	idleTimeout    = 4 * time.Second
	maxHeaderBytes = 64 << 10
	// Each call in flight holds both buffers: room for a usual request in one write, and for the head of a usual answer.
	writeBuffer     = 2 << 10
	readBuffer      = 1 << 10
	maxIdle         = 4096
	maxIdlePerHost  = 256
	tlsSessions     = 1024
	clientSessions  = 8 // of each client certificate, which knows a host or two
	pingAfter       = 10 * time.Second
	pingTimeout     = 5 * time.Second
	maxReadChunkH2  = 64 << 10
	streamWindowH2  = 128 << 10
	connectionWinH2 = 1 << 20
)

// dialer connects to endpoints, directly or by way of a proxy. Either way it is the policy that says to which addresses.
type dialer struct {
	policy   *guard.Policy
	resolver guard.Resolver
	connect  guard.DialFunc
	tls      *tls.Config
}

func newDialer(o Options) *dialer {
	d := &dialer{
		policy: o.Policy, resolver: o.Resolver, connect: directly(o.Policy),
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: o.Roots, NextProtos: []string{"h2", "http/1.1"},
			ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
		},
	}
	if o.Proxy != nil {
		d.connect = o.Proxy.connect
	}
	return d
}

// showing is the same dialer with a client certificate. It resumes its own sessions only: a session speaks for the certificate
// that it began with.
func (d *dialer) showing(certificate *tls.Certificate) *dialer {
	config := d.tls.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(clientSessions)
	// Whatever authorities the endpoint names: it is told which certificate there is, and decides.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	return &dialer{policy: d.policy, resolver: d.resolver, connect: d.connect, tls: config}
}

// directly has the policy look once more at the very address that the system is about to connect to.
func directly(policy *guard.Policy) guard.DialFunc {
	d := &net.Dialer{Control: policy.Control, Timeout: contract.MaxTimeout}
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", to.String())
	}
}

func (d *dialer) dial(ctx context.Context, _, address string) (net.Conn, error) {
	return connecting(ctx, func(ctx context.Context) (net.Conn, error) { return d.reach(ctx, address) })
}

func (d *dialer) reach(ctx context.Context, address string) (net.Conn, error) {
	return d.policy.Dial(ctx, timedResolver{d.resolver}, address, timed(d.connect))
}

// dialTLS is the transport's own way, but for the type of a handshake's error.
func (d *dialer) dialTLS(ctx context.Context, _, address string) (net.Conn, error) {
	return connecting(ctx, func(ctx context.Context) (net.Conn, error) { return d.handshake(ctx, address) })
}

func (d *dialer) handshake(ctx context.Context, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := d.reach(ctx, address)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName = host
	conn := tls.Client(raw, config)
	enter(ctx, phaseTLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error is the one that counts
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// newTransport knows no proxy by itself: HTTP_PROXY of the environment must not lead callbacks elsewhere. It follows no redirect, as
// no transport does.
func newTransport(d *dialer) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        writeBuffer,
		ReadBufferSize:         readBuffer,
		// Without pings a dead HTTP/2 connection would swallow call after call. The buffers are small since all but the start
		// of an answer is cut.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, MaxReadFrameSize: maxReadChunkH2,
			MaxReceiveBufferPerStream: streamWindowH2, MaxReceiveBufferPerConnection: connectionWinH2,
		},
	}
}
