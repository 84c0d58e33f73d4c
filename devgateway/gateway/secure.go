package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

// roots reads the authorities of upstreams; nil where there is no file.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the operator's own file
	if err != nil {
		return nil, fmt.Errorf("config.yaml: apisix.ssl.ssl_trusted_certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("config.yaml: apisix.ssl.ssl_trusted_certificate: %s has no certificate in PEM", file)
	}
	return pool, nil
}

// secure looks the certificate up for each connection, in the apisix.yaml of the moment.
func (g *Gateway) secure() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return configFor(g.table.Load().ssls, hello.ServerName)
	}}
}

var errNoName = errors.New("no certificate for the name that the client asks for")

func configFor(ssls []config.SSL, name string) (*tls.Config, error) {
	for i := range ssls {
		if !named(ssls[i].Names, name) {
			continue
		}
		c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ssls[i].Pair}, SessionTicketsDisabled: true}
		if ssls[i].Clients != nil {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ssls[i].Clients
		}
		return c, nil
	}
	return nil, errNoName
}

// named takes a * for one label in front, as APISIX does.
func named(names []string, name string) bool {
	_, rest, _ := strings.Cut(name, ".")
	for _, n := range names {
		if n == name && name != "" || strings.HasPrefix(n, "*.") && n[2:] == rest {
			return true
		}
	}
	return false
}

// secureServer is net/http's: what waits for a socket to become readable does not see what TLS has read already.
func (g *Gateway) secureServer() server {
	errorLog, _ := zap.NewStdLogAt(g.log, zap.WarnLevel)
	return &http.Server{
		Handler: g, ErrorLog: errorLog, ConnContext: func(_ context.Context, c net.Conn) context.Context { return withExchange(c) },
		ReadHeaderTimeout: g.static.HeaderTimeout, IdleTimeout: g.static.Keepalive, MaxHeaderBytes: maxHeaderBytes,
	}
}
